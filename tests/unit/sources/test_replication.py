"""The bookkeeping of the database source that no server can be made to show at will: frames that are malformed or do not come."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from cdcd.config.model import Capture, Config, Database, Eventing, Kind, TriggerConfig, Webhook
from cdcd.event import Delivery, Position
from cdcd.lifecycle import Supervisor
from cdcd.replication.errors import DecodeError
from cdcd.replication.messages import Begin, Commit, Insert, LogicalMessage, Truncate
from cdcd.replication.progress import Progress
from cdcd.replication.stream import ReplicationStream
from cdcd.replication.tuples import Tuple
from cdcd.sources.opening import Opened
from cdcd.sources.replication import ReplicationSource
from cdcd.sources.tables import Captured
from cdcd.store.reads import Reads
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import compile_trigger
from tests.unit.sources.rows import relation, row

DATABASE = Database("main", "", Capture.REPLICATION, "cdcd_shop_main", "cdcd_shop_main")
IDENTITY = {"system": "7", "timeline": "1", "slot": "cdcd_shop_main", "publications": "1,2"}
ITEMS = relation(("id", "name"))


class Pipeline:
    """Takes nothing; positions are asked for by the tests themselves."""

    full = False

    def offer(self, deliveries: object) -> None: ...

    async def room(self) -> None: ...

    def relieve(self) -> None: ...

    def position_moved(self) -> None: ...


def source() -> ReplicationSource:
    """One that has begun to read at 0/64."""
    config = Config("shop", (), {"main": DATABASE}, Eventing(None, "cdcd", 1, Path()), {})
    trigger = compile_trigger(
        TriggerConfig("t", frozenset({"DB_INSERT", "DB_TRUNCATE"}), "main", ("products",), Webhook("http://a/", "http://a"))
    )
    paid = compile_trigger(TriggerConfig("p", frozenset({"PAID"}), "", (), Webhook("http://a/", "http://a"), kind=Kind.CUSTOM))
    pipeline = Pipeline()
    made = ReplicationSource(
        config, DATABASE, [trigger], Index([trigger, paid]), pipeline, pipeline, Reads("", "cdcd"), Supervisor()
    )
    made._opened = Opened(cast(ReplicationStream, None), 100, 7, IDENTITY, Captured("cdcd_shop_main", []), 0)
    made._begin_at(100, None)
    made._matching.described(ITEMS, (), lambda _: None)
    return made


def connected_again(of: ReplicationSource) -> None:
    """What a new connection resets."""
    of._begun = False
    of._ordinal = 0


def waiting(of: ReplicationSource) -> list[Delivery]:
    return of._matching.waiting


def inside(of: ReplicationSource) -> bool:
    """Whether a transaction is being read."""
    return of._transaction is not None


def unsettled(of: ReplicationSource) -> bool:
    return of._unsettled


def insert(number: int) -> Insert:
    return Insert(ITEMS, row(str(number), "a"))


def test_a_row_that_cannot_be_decoded_is_not_passed_over() -> None:
    """What was matched before it stays, and the next connection tries it again."""
    it = source()
    it._boundary(Begin(200, 0, 5))
    it._row(insert(1))
    with pytest.raises(DecodeError):
        it._row(Insert(ITEMS, Tuple("Insert", b"t\0\0\0\xff", 0, 2)))
    connected_again(it)
    it._boundary(Begin(200, 0, 5))
    it._row(insert(1))
    it._row(insert(2))
    assert [each.event.subject for each in waiting(it)] == ["public.products/1", "public.products/2"]


@pytest.mark.parametrize("begins", [True, False])
def test_a_transaction_that_does_not_come_again_is_closed(begins: bool) -> None:
    """The server is past it, or brings another: what was matched of it can settle, and the position moves on."""
    it = source()
    it._boundary(Begin(200, 0, 5))
    it._row(insert(1))
    connected_again(it)
    it._keepalive(200)
    assert inside(it)
    if begins:
        it._boundary(Begin(300, 0, 6))
        it._boundary(Commit(300, 310, 0))
    else:
        it._keepalive(310)
        it._keepalive(310)
    assert not inside(it)
    (delivery,) = waiting(it)
    assert delivery.checkpoint is not None
    delivery.checkpoint.settle()
    it._keepalive(310)
    assert it._progress.settled == 310


def test_a_keepalive_inside_a_transaction_moves_nothing() -> None:
    it = source()
    it._boundary(Begin(200, 0, 5))
    it._keepalive(1000)
    assert inside(it)
    it._row(insert(1))
    it._boundary(Commit(200, 210, 0))
    it._keepalive(1000)
    assert it._progress.settled == 100


def test_a_position_of_a_history_that_has_ended_confirms_nothing() -> None:
    it = source()
    it._progress = Progress(500)
    position = it.position_to_record()
    assert position is not None
    it.position_recorded(replace(position, identity=IDENTITY | {"timeline": "2"}, settled=900))
    assert it.position_to_record() == position
    it.position_recorded(position)
    assert it.position_to_record() is None


def test_a_new_history_begins_at_the_stored_position() -> None:
    """Also when that lies before what the former one had settled."""
    it = source()
    it._newest = 950
    it._recorded = 900
    it._begin_at(400, Position("main", 800, 850, 0, IDENTITY))
    assert it._progress.settled == it._end == it._recorded == 400
    assert it._look_up_to == 950
    assert it._arrived().settled == 400


def test_where_a_new_connection_goes_on() -> None:
    """Behind the last whole transaction, or behind what the server had sent without any; never inside one."""
    it = source()
    it._keepalive(150)
    assert it._arrived().settled == 150
    it._boundary(Begin(200, 0, 5))
    it._row(insert(1))
    assert it._arrived().settled == 150
    it._boundary(Commit(200, 210, 0))
    assert it._arrived().settled == 210
    assert unsettled(it)
    (delivery,) = waiting(it)
    assert delivery.checkpoint is not None
    delivery.checkpoint.settle()
    assert not unsettled(it)
    it._boundary(Begin(300, 0, 6))
    assert not unsettled(it)
    it._row(insert(2))
    assert unsettled(it)


def test_a_transaction_that_is_read_again_goes_on_behind_what_was_emptied() -> None:
    """Truncations are counted apart from rows, and each is matched once."""
    it = source()
    for _ in range(2):
        connected_again(it)
        it._boundary(Begin(200, 0, 5))
        it._row(insert(1))
        it._boundary(Truncate((ITEMS,), False, False))
    it._boundary(Truncate((ITEMS,), False, False))
    it._row(insert(2))
    assert [each.event.subject for each in waiting(it)] == [
        "public.products/1",
        "public.products",
        "public.products",
        "public.products/2",
    ]
    assert len({each.id for each in waiting(it)}) == 4


def test_a_transaction_that_is_read_again_goes_on_behind_the_messages_of_it() -> None:
    """They are counted apart from rows and truncations, those that are somebody else's too; each is matched once and settled with
    its transaction."""
    it = source()
    for _ in range(2):
        connected_again(it)
        it._boundary(Begin(200, 0, 5))
        it._boundary(LogicalMessage(True, 190, "other", b"x"))
        it._boundary(LogicalMessage(True, 191, "cdcd:PAID", b"1"))
        it._row(insert(1))
    it._boundary(LogicalMessage(True, 193, "cdcd:PAID", b"2"))
    it._boundary(LogicalMessage(True, 194, "cdcd:NOBODY", b"3"))
    it._boundary(Commit(200, 210, 0))
    it._boundary(LogicalMessage(False, 220, "cdcd:PAID", b"4"))
    assert [each.event.data for each in waiting(it) if each.trigger == "p"] == [b"1", b"2"]
    assert len({each.id for each in waiting(it)}) == len(waiting(it)) == 3
    assert unsettled(it)
    for each in waiting(it):
        assert each.checkpoint is not None
        each.checkpoint.settle()
    assert not unsettled(it)
