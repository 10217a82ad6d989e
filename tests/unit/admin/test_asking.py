"""Orders and filters: what can be meant, and that the store gives back what it was given."""

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.admin.asking import Order, check_url, plain_filter, plain_options, read_order, shown_url
from cdcd.admin.deliveries import Filter, Status, Unfit, check
from cdcd.store.walks import BEYOND, DAY, EARLIEST, LATEST, Span, first_id, spans, time_of, whole

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
MOMENTS = st.none() | st.floats(-1e9, 4e9)
FILTERS = st.builds(
    Filter,
    st.lists(st.sampled_from(list(Status)), unique=True).map(tuple),
    st.lists(TEXTS).map(tuple),
    st.lists(TEXTS).map(tuple),
    TEXTS,
    st.none() | TEXTS,
    MOMENTS,
    MOMENTS,
    TEXTS,
    TEXTS,
)


@given(FILTERS, st.none() | st.floats(0.1, 100), TEXTS, st.booleans())
def test_an_order_comes_back_from_the_store(wanted: Filter, rate: float | None, to: str, today: bool) -> None:
    order = Order("replay", wanted, rate, to, today)
    kept = orjson.loads(orjson.dumps([plain_filter(wanted), plain_options(order)]))
    assert read_order("replay", *kept) == order


@pytest.mark.parametrize(
    "order",
    [
        Order("shred", Filter()),
        Order("retry", Filter(), rate=0.0),
        Order("retry", Filter(), rate=math.inf),
        Order("retry", Filter(), rate=math.nan),
        Order("cancel", Filter(), rate=1.0),
        Order("retry", Filter(), to="http://a/"),
        Order("cancel", Filter(), today=True),
        Order("cancel", Filter(status=(Status.FAILED,))),
        Order("replay", Filter(), to="a"),
        Order("replay", Filter(since=2.0, until=2.0)),
        Order("replay", Filter(since=math.nan)),
        Order("replay", Filter(text="\0")),
        Order("replay", Filter(key="\ud800")),
    ],
)
def test_what_cannot_be_meant(order: Order) -> None:
    with pytest.raises(Unfit):
        order.check()


def test_what_happens_later_is_not_meant() -> None:
    assert Order("retry", Filter()).bounded(5.0).wanted.until == 5.0
    assert Order("retry", Filter(until=3.0)).bounded(5.0).wanted.until == 3.0


def test_what_there_is_nothing_to_be_done_for_is_not_read() -> None:
    assert Order("cancel", Filter()).bounded(5.0).wanted.status == (Status.STAGED,)
    both = Filter(status=(Status.FAILED, Status.STAGED))
    assert Order("cancel", both).bounded(5.0).wanted.status == (Status.STAGED,)
    assert Status.PROCESSED not in Order("retry", Filter()).bounded(5.0).wanted.status
    assert Order("retry", Filter(status=(Status.PROCESSED,))).bounded(5.0).wanted.status == (Status.PROCESSED,)
    assert Status.STAGED not in Order("replay", Filter()).bounded(5.0).wanted.status


def test_urls() -> None:
    check_url("https://a.example/x?y=1")
    for wrong in ("", "a", "ftp://a/", "http://u@a/", "http://u:p@a/", "http://a/${ new.id }", "http://a b/"):
        with pytest.raises(Unfit):
            check_url(wrong)
    assert shown_url("https://a.example:1/x?token=secret") == "https://a.example:1/x?…"
    assert shown_url("https://a.example/x") == "https://a.example/x"
    assert (
        shown_url("https://hooks.example.com/services/T01ABC/x1Y2z3A4b5C6d7E8f9G0h1I2")
        == "https://hooks.example.com/services/T01ABC/***"
    )


@given(
    st.sets(st.integers(-5, 30_000), max_size=8),
    st.floats(0, 2.5e9) | st.none(),
    st.floats(0, 2.5e9) | st.none(),
    st.integers(0, 2_500_000_000_000_000),
    st.booleans(),
)
def test_spans_cover_everything_once_and_in_order(
    days: set[int], since: float | None, until: float | None, moment: int, newest: bool
) -> None:
    """Whatever the partitions: a delivery of any time within the bounds lies in one span, by its id and by its time."""
    parts = list(spans(days, whole(since, until), newest=newest))
    identity = first_id(moment) + 12345
    found = [part for part in parts if part.low <= identity < part.high and part.since <= moment < part.until]
    inside = (since is None or moment >= round(since * 1e6)) and (until is None or moment < round(until * 1e6))
    assert len(found) == int(inside)
    times = [part.since for part in parts]
    assert times == sorted(times, reverse=newest)
    for part in parts:  # none lies across a partition's edge
        assert not any(part.since < edge * DAY < part.until for day in days for edge in (day, day + 1))


def test_spans_of_everything() -> None:
    assert list(spans([], Span(0, BEYOND, EARLIEST, LATEST), newest=True)) == [Span(0, BEYOND, EARLIEST, LATEST)]
    assert time_of(first_id(1_700_000_000_123_456)) == 1_700_000_000_123_000


@pytest.mark.parametrize(
    ("wanted", "walk", "indexed"),
    [
        (Filter(), "by_id", True),
        (Filter(key=""), "by_id", False),
        (Filter(key="1"), "by_key", True),
        (Filter(key="1", trigger=("a",)), "by_key", False),
        (Filter(trigger=("a",)), "by_trigger", True),
        (Filter(trigger=("a",), key=""), "by_trigger", False),
        (Filter(trigger=("a",), status=(Status.PROCESSED,)), "by_trigger", False),
        (Filter(status=(Status.FAILED,)), "by_status", True),
        (Filter(status=(Status.FAILED, Status.PROCESSED)), "by_id", False),
        (Filter(status=(Status.FAILED,), trigger=("a",)), "by_status_and_trigger", True),
        (Filter(status=(Status.FAILED,), text="x"), "by_status", False),
        (Filter(error="x"), "by_status", False),
    ],
)
def test_which_walk_serves_a_filter(wanted: Filter, walk: str, indexed: bool) -> None:
    check(wanted)
    assert (wanted.walk, wanted.indexed) == (walk, indexed)


def test_what_was_processed_has_no_error() -> None:
    assert Filter(error="x", status=(Status.PROCESSED,)).impossible
    assert Filter(error="x", status=(Status.PROCESSED, Status.FAILED)).statuses == (Status.FAILED,)
