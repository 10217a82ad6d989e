"""The event log's filter as an address writes it, as values and in words."""

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.admin.asking import plain_filter
from cdcd.admin.deliveries import Filter, Status
from cdcd.server.console.filters import NAMES, asked, is_plain, kept_filter, pairs_of, sentence
from cdcd.server.problems import Problem

NOW = 1_795_500_000.0  # 2026-11-24T06:00:00Z
DAY = "2026-11-24"


def read(query: str) -> Filter:
    wanted = asked(parse_qsl(query, keep_blank_values=True), NOW)
    wanted.check()
    return wanted.filter


def test_everything() -> None:
    wanted = asked([("cursor", "x"), ("more", "1"), ("trigger", ""), ("text", "  ")], NOW)
    assert (wanted.filter, wanted.query, wanted.chips()) == (Filter(), "", [])
    assert sentence(wanted.filter) == "All deliveries"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("status=failed&status=staged", Filter(status=(Status.FAILED, Status.STAGED))),
        ("status=failed,staged&status=failed", Filter(status=(Status.FAILED, Status.STAGED))),
        ("trigger=a,+b&trigger=c&trigger=", Filter(trigger=("a", "b", "c"))),
        ("type=DB_INSERT", Filter(type=("DB_INSERT",))),
        ("source=shop&source=queue", Filter(source="queue")),
        ("key=7&text=a,b&error=503", Filter(key="7", text="a,b", error="503")),
        ("since=1h&until=30m+ago", Filter(since=NOW - 3600, until=NOW - 1800)),
        ("since=2026-11-24", Filter(since=NOW - 6 * 3600)),
        ("since=2026-11-24T05:00", Filter(since=NOW - 3600)),
        ("since=2026-11-24+05:00:00.5", Filter(since=NOW - 3599.5)),
        ("since=2026-11-24T05:00:00Z&until=2026-11-24T08:00%2B02:00", Filter(since=NOW - 3600, until=NOW)),
    ],
)
def test_what_an_address_means(query: str, wanted: Filter) -> None:
    assert read(query) == wanted


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("status=broken", "status must be one of staged, processed, failed, cancelled"),
        ("since=yesterday", "since must be how long ago (30m, 24h, 7d) or a time in UTC (2026-11-24T10:00)"),
        ("until=2026-13-01", "until must be how long ago"),
        ("until=1", "until must be how long ago"),
        ("trigger=" + ",".join(f"t{n}" for n in range(51)), "trigger has more than 50 values"),
        ("text=" + "x" * 2001, "more than 2000 characters"),
    ],
)
def test_what_cannot_be_read_is_told_and_kept_as_it_was_typed(query: str, reason: str) -> None:
    wanted = asked(parse_qsl(query), NOW)
    (found,) = wanted.reasons
    assert reason in found.detail
    name, _, value = query.partition("=")
    assert ",".join(wanted.all(name)) == value
    with pytest.raises(Problem):
        wanted.check()


def test_every_reason_is_told() -> None:
    assert len(asked(parse_qsl("status=x&since=y&until=z"), NOW).reasons) == 3


def test_an_address_is_written_in_one_way() -> None:
    wanted = asked(parse_qsl("until=&key=7&trigger=b,a&status=failed&error=&cursor=c", keep_blank_values=True), NOW)
    assert wanted.query == "status=failed&trigger=b&trigger=a&key=7"
    assert asked(parse_qsl(wanted.query), NOW) == wanted
    assert is_plain(parse_qsl(wanted.query), wanted)
    assert is_plain(parse_qsl("key=7&cursor=c&trigger=b&trigger=a&status=failed", keep_blank_values=True), wanted)
    assert not is_plain(parse_qsl("status=failed&trigger=b,a&key=7"), wanted)
    assert not is_plain(parse_qsl("status=failed&trigger=b&trigger=a&key=7&text=", keep_blank_values=True), wanted)


def test_times_that_stay() -> None:
    wanted = asked(parse_qsl("status=failed&since=1h&until=2026-11-24T05:30"), NOW)
    assert wanted.query == "status=failed&since=1h&until=2026-11-24T05%3A30"
    assert wanted.fixed_query == urlencode(
        [("status", "failed"), ("since", f"{DAY}T05:00:00.000Z"), ("until", f"{DAY}T05:30:00.000Z")]
    )
    assert asked(parse_qsl(wanted.fixed_query), NOW + 7200).filter == wanted.filter


def test_another_value() -> None:
    wanted = asked(parse_qsl("status=failed&since=1h&until=5m&text=x"), NOW)
    assert wanted.but(since="24h", until=None) == "status=failed&since=24h&text=x"
    assert wanted.but(status=None) == "since=1h&until=5m&text=x"


def test_chips() -> None:
    wanted = asked(parse_qsl(f"status=failed&trigger=a&trigger=b&since=1h&until=2026-11-24T05:00&text={'x' * 100}"), NOW)
    chips = wanted.chips()
    assert [(chip.name, chip.value) for chip in chips] == [
        *(("status", "failed"), ("trigger", "a"), ("trigger", "b"), ("since", "1h ago"), ("until", f"{DAY} 05:00 UTC")),
        ("text", "x" * 80 + "…"),
    ]
    assert chips[3].exact == f"{DAY}T05:00:00.000Z"
    assert chips[5].exact == "x" * 100
    for at, chip in enumerate(chips):  # each takes itself away, and nothing else
        left = asked(parse_qsl(chip.query), NOW)
        assert left.written == wanted.written[:at] + wanted.written[at + 1 :]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("status=failed", "Failed deliveries"),
        ("status=failed,cancelled,staged&trigger=a", "Failed, cancelled or staged deliveries of trigger a"),
        ("trigger=a,b&type=DB_INSERT", "All deliveries of triggers a or b, of type DB_INSERT"),
        ("source=shop&key=7", "All deliveries, from shop, with the key 7"),
        ("text=x&error=503", "All deliveries, with “x” in the payload, with “503” in the error"),
        ("since=1h", f"All deliveries, of events since {DAY} 05:00 UTC"),
        ("until=2026-11-24T05:00:01.5Z", f"All deliveries, of events before {DAY} 05:00:01 UTC"),
        ("since=2h&until=1h", f"All deliveries, of events between {DAY} 04:00 UTC and {DAY} 05:00 UTC"),
        ("trigger=" + ",".join("abcdefghijkl"), "All deliveries of triggers a, b, c, d, e, f, g, h, i, j or 2 more"),
    ],
)
def test_words(query: str, words: str) -> None:
    assert sentence(read(query)) == words


TEXT = st.text(st.characters(codec="utf-8", exclude_characters=",\0"), max_size=20).map(str.strip)
MOMENT = st.none() | st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
FILTERS = st.builds(
    Filter,
    status=st.lists(st.sampled_from(Status), unique=True).map(tuple),
    trigger=st.lists(TEXT.filter(bool), unique=True, max_size=5).map(tuple),
    type=st.lists(TEXT.filter(bool), unique=True, max_size=5).map(tuple),
    source=TEXT,
    key=st.none() | TEXT.filter(bool),
    since=MOMENT,
    until=MOMENT,
    text=TEXT,
    error=TEXT,
)


@given(FILTERS)
def test_every_filter_has_an_address_and_words(wanted: Filter) -> None:
    found = asked(parse_qsl(urlencode(pairs_of(wanted)), keep_blank_values=True), NOW)
    assert not found.reasons
    for name in NAMES:
        was, now = getattr(wanted, name), getattr(found.filter, name)
        assert now == (pytest.approx(was, abs=0.0011) if name in ("since", "until") and was is not None else was)
    assert sentence(wanted)
    assert kept_filter(plain_filter(wanted)) == wanted
    assert found.query == urlencode(pairs_of(found.filter))


@given(st.lists(st.tuples(st.sampled_from([*NAMES, "cursor"]), st.text(max_size=30)), max_size=12))
def test_whatever_is_in_an_address_it_is_read(pairs: list[tuple[str, str]]) -> None:
    wanted = asked(pairs, NOW)
    assert len(wanted.chips()) == len(wanted.written) == len(wanted.fixed)
    assert asked(wanted.written, NOW).written == wanted.written
    assert sentence(wanted.filter)
