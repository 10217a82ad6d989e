"""The stream on real servers: positions, pauses, cuts, and everything that the server may refuse."""

import asyncio

import pytest
from psycopg.conninfo import make_conninfo

from cdcd.embedded.postgres import PostgresServer
from cdcd.replication import publication, slot
from cdcd.replication.errors import ConnectionLost, NotPermitted, PublicationMissing, SlotActive, SlotLost, SlotMissing
from cdcd.replication.frames import KEEPALIVE, PrimaryKeepalive, parse_frame
from cdcd.replication.messages import Commit, Insert
from cdcd.replication.pgoutput import Decoder
from cdcd.replication.stream import ReplicationStream
from cdcd.replication.walsender import identify_system
from tests.integration.replication.reading import PATIENCE, Reading, eventually, new_slot, prepare, reading
from tests.postgres import Database, OwnServer, Postgres, chosen_majors
from tests.proxy import Proxy

TABLE = "CREATE TABLE t (id int PRIMARY KEY, a text)"


def on(server: PostgresServer) -> Database:
    """The database `postgres` of a private server."""
    return Database("postgres", Postgres(chosen_majors()[-1], server))


def confirmed(name: str, than: str) -> str:
    return f"SELECT confirmed_flush_lsn >= {than} FROM pg_replication_slots WHERE slot_name = '{name}'"


async def follow(stream: ReplicationStream) -> int:
    """Confirm every keepalive, as an idle source does, until cancelled or the stream ends."""
    while True:
        for frame in await stream.read():
            if frame[0] == KEEPALIVE:
                keepalive = parse_frame(frame)
                assert isinstance(keepalive, PrimaryKeepalive)
                stream.confirm(keepalive.wal_end)


@pytest.mark.matrix
async def test_an_idle_stream_lets_the_wal_go(database: Database) -> None:
    """WAL of what is not published is let go as the keepalives tell of it."""
    database.execute(TABLE + "; CREATE TABLE other (a text)")
    async with reading(database, ["public.t"]) as found:
        following = asyncio.create_task(follow(found.stream))
        found.execute("INSERT INTO other SELECT repeat('x', 100) FROM generate_series(1, 10000)")
        ((lsn,),) = database.execute("SELECT pg_current_wal_flush_lsn()")
        await eventually(database, confirmed(found.slot, f"'{lsn}'"))
        following.cancel()


async def test_a_stale_position_causes_no_storm(database: Database) -> None:
    """While nothing is confirmed, keepalives stay few, however much WAL goes by."""
    database.execute(TABLE + "; CREATE TABLE other (a text)")
    async with reading(database, ["public.t"]) as found:
        keepalives = 0

        async def count() -> None:
            nonlocal keepalives
            while True:
                keepalives += len(await found.stream.read())

        counting = asyncio.create_task(count())
        async with await database.aconnect() as connection:
            for _ in range(200):
                await connection.execute("INSERT INTO other VALUES (repeat('x', 1000))")
        lsn = found.stream.received
        await eventually(database, f"SELECT write_lsn >= pg_lsn '0/0' + {lsn} FROM pg_stat_replication")
        counting.cancel()
        assert keepalives < 2 * 200 + 50
        assert found.stream.confirmed == 0


@pytest.mark.matrix(ends=True)
async def test_a_paused_reader_is_not_timed_out(database: Database) -> None:
    """With wal_sender_timeout 2 s a reader that does not read for 4 s stays, and then gets every row."""
    database.execute(TABLE)
    name = await prepare(database)
    dsn = make_conninfo(database.dsn, options="-c wal_sender_timeout=2s")
    stream = await ReplicationStream.connect(dsn, name, ["cdcd"])
    await asyncio.to_thread(database.execute, "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) i")
    await eventually(database, "SELECT reply_time > backend_start + interval '4 s' FROM pg_stat_replication")
    found = Reading(database, name, "cdcd", stream)
    assert len(await found.changes()) == 50_000
    await stream.close()


async def test_reads_are_bounded(database: Database) -> None:
    """`max_frames` and `max_bytes` bound what one read returns; nothing is lost between reads."""
    database.execute(TABLE)
    async with reading(database) as found:
        found.execute("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 1000) i")
        rows = 0
        decoder = Decoder(strict=True)
        ended = False
        while not ended:
            frames = await found.stream.read(max_frames=7, max_bytes=3000)
            assert 1 <= len(frames) <= 7
            assert sum(map(len, frames[:-1])) < 3000
            for frame in frames:
                if frame[0] != KEEPALIVE:
                    message = decoder.decode(frame, 25)
                    rows += isinstance(message, Insert)
                    ended = isinstance(message, Commit) and rows > 0
        assert rows == 1000


@pytest.mark.matrix
async def test_what_was_confirmed_is_not_sent_again(database: Database) -> None:
    """A new stream goes on behind the confirmed end of a commit; from an older position the server sends again what it may."""
    database.execute(TABLE)
    name = await prepare(database)
    first = await ReplicationStream.connect(database.dsn, name, ["cdcd"])
    database.execute("INSERT INTO t VALUES (1)")
    found = Reading(database, name, "cdcd", first)
    end = 0
    while not end:
        for frame in await first.read():
            if frame[0] != KEEPALIVE and isinstance(message := found.decoder.decode(frame, 25), Commit):
                end = message.end_lsn
    await first.close()

    again = Reading(database, name, "cdcd", await ReplicationStream.connect(database.dsn, name, ["cdcd"], 0))
    (insert,) = await again.changes()
    assert isinstance(insert, Insert)
    assert insert.new.columns()[0] == b"1"
    again.stream.confirm(end)
    await again.stream.close()
    await eventually(database, confirmed(name, f"pg_lsn '0/0' + {end}"))

    database.execute("INSERT INTO t VALUES (2)")
    later = Reading(database, name, "cdcd", await ReplicationStream.connect(database.dsn, name, ["cdcd"], end))
    (insert,) = await later.changes()
    assert isinstance(insert, Insert)
    assert insert.new.columns()[0] == b"2"
    await later.stream.close()


async def test_a_cut_connection_ends_the_read(database: Database) -> None:
    """A waiting read raises ConnectionLost when the connection is cut, and again when called again."""
    database.execute(TABLE)
    name = await prepare(database)
    async with Proxy.to_postgres(database.tcp_dsn) as proxy:
        for harm in (proxy.reset, proxy.cut):
            stream = await connect_when_free(proxy.dsn(database.tcp_dsn), name)
            harm()
            with pytest.raises(ConnectionLost):
                await follow(stream)
            with pytest.raises(ConnectionLost):
                await stream.read()
            await stream.close()
            await stream.close()


async def connect_when_free(dsn: str, name: str) -> ReplicationStream:
    """Connect as soon as the server has noticed that the last reader is gone."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await ReplicationStream.connect(dsn, name, ["cdcd"])
            except SlotActive:
                continue


async def test_silence_ends_the_read(database: Database) -> None:
    """When nothing at all comes for `silence` seconds, though it was asked for, the connection counts as lost."""
    database.execute(TABLE)
    name = await prepare(database)
    async with Proxy.to_postgres(database.tcp_dsn) as proxy:
        stream = await ReplicationStream.connect(proxy.dsn(database.tcp_dsn), name, ["cdcd"], silence=1.5)
        proxy.black_hole()
        with pytest.raises(ConnectionLost, match="no sign of life"):
            await follow(stream)
        await stream.close()


async def test_an_idle_connection_is_not_silent(database: Database) -> None:
    """Before `silence` has passed the server is asked, and its answer counts."""
    database.execute(TABLE)
    name = await prepare(database)
    stream = await ReplicationStream.connect(database.dsn, name, ["cdcd"], silence=2.5)
    following = asyncio.create_task(follow(stream))
    await eventually(database, "SELECT reply_time > backend_start + interval '5 s' FROM pg_stat_replication")
    assert not following.done()
    following.cancel()
    await stream.close()


@pytest.mark.matrix
async def test_a_slot_in_use_tells_by_whom(database: Database) -> None:
    """SlotActive carries the pid of the other's server process; when that closes, the slot is free at once."""
    database.execute(TABLE)
    async with reading(database) as found:
        ((pid,),) = database.execute(f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{found.slot}'")
        with pytest.raises(SlotActive) as caught:
            await ReplicationStream.connect(database.dsn, found.slot, ["cdcd"])
        assert caught.value.pid == pid
        await found.stream.close()
        stream = await ReplicationStream.connect(database.dsn, found.slot, ["cdcd"])
        await stream.close()


@pytest.mark.matrix
async def test_what_is_missing_is_named(database: Database) -> None:
    """A missing slot, and a missing publication, are refused at the start."""
    database.execute(TABLE)
    name = await prepare(database)
    with pytest.raises(SlotMissing):
        await ReplicationStream.connect(database.dsn, "nowhere", ["cdcd"])
    with pytest.raises(PublicationMissing, match="no such"):
        await ReplicationStream.connect(database.dsn, name, ["cdcd", "no such"])


@pytest.mark.matrix
async def test_a_publication_made_after_the_slot_is_healed_by_advancing(database: Database) -> None:
    """What was committed before the publication cannot be decoded (14 to 17) or is skipped (18): the slot moves past it."""
    database.execute(TABLE)
    async with await database.aconnect() as connection:
        await slot.create(connection, name := new_slot())
        await connection.execute("INSERT INTO t VALUES (1)")
        await publication.ensure(connection, "cdcd", [("public", "t")])
        if database.postgres.major < 18:
            stream = await ReplicationStream.connect(database.dsn, name, ["cdcd"])
            with pytest.raises(PublicationMissing):
                await follow(stream)
            await stream.close()
            await eventually(database, f"SELECT NOT active FROM pg_replication_slots WHERE slot_name = '{name}'")
        to = await slot.flushed_lsn(connection)
        assert await slot.advance(connection, name, to) <= to
        await connection.execute("INSERT INTO t VALUES (2)")
    found = Reading(database, name, "cdcd", await ReplicationStream.connect(database.dsn, name, ["cdcd"]))
    (insert,) = await found.changes()
    assert isinstance(insert, Insert)
    assert insert.new.columns()[0] == b"2"
    await found.stream.close()


async def test_a_lost_slot(own_server: OwnServer) -> None:
    """A slot whose WAL is gone is SlotLost, and its state says so."""
    server = own_server({"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"})
    database = on(server)
    database.execute(TABLE)
    name = await prepare(database)
    for _ in range(4):
        database.execute(
            "INSERT INTO t SELECT (SELECT coalesce(max(id), 0) FROM t) + i, repeat('x', 900) FROM generate_series(1, 20000) i"
        )
        database.execute("SELECT pg_switch_wal()")
        database.execute("CHECKPOINT")
    with pytest.raises(SlotLost):
        await ReplicationStream.connect(database.dsn, name, ["cdcd"])
    async with await database.aconnect() as connection:
        state = await slot.inspect(connection, name)
        assert state is not None
        assert state.lost
        assert state.wal_status == "lost"
        await slot.drop(connection, name)
        assert await slot.inspect(connection, name) is None
        with pytest.raises(SlotMissing):
            await slot.drop(connection, name)


async def test_a_fast_shutdown_waits_for_what_is_confirmed(own_server: OwnServer) -> None:
    """The server stops once all that it sent is confirmed, and the slot then stands at its end."""
    server = own_server()
    database = on(server)
    database.execute(TABLE)
    name = await prepare(database)
    stream = await ReplicationStream.connect(database.dsn, name, ["cdcd"])
    database.execute("INSERT INTO t VALUES (1)")
    following = asyncio.create_task(follow(stream))
    await asyncio.to_thread(server.stop)
    with pytest.raises(ConnectionLost):
        await following
    await stream.close()
    await asyncio.to_thread(server.start)
    ((behind,),) = database.execute(
        f"SELECT pg_current_wal_flush_lsn() - confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{name}'"
    )
    assert behind < 10_000


async def test_a_fast_shutdown_is_not_held_up_for_ever(own_server: OwnServer) -> None:
    """When what the server waits for is never confirmed, the stream ends by itself after `stop_grace`."""
    server = own_server()
    database = on(server)
    database.execute(TABLE)
    name = await prepare(database)
    ((start,),) = database.execute("SELECT pg_current_wal_flush_lsn() - pg_lsn '0/0'")
    stream = await ReplicationStream.connect(database.dsn, name, ["cdcd"], int(start), stop_grace=0.5)
    database.execute("INSERT INTO t VALUES (1)")
    await stream.read()
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    frames = 0

    async def read_on() -> None:
        nonlocal frames
        while True:
            frames += len(await stream.read())

    with pytest.raises(ConnectionLost, match="shutting down"):
        await read_on()
    assert stream.stopping
    assert frames < 100
    await stream.close()
    await stopping


async def test_a_crashed_server_ends_the_read(own_server: OwnServer) -> None:
    """kill -9 of the server is ConnectionLost; so is connecting to it while it is down."""
    server = own_server()
    database = on(server)
    database.execute(TABLE)
    name = await prepare(database)
    stream = await ReplicationStream.connect(database.dsn, name, ["cdcd"])
    await asyncio.to_thread(server.crash)
    with pytest.raises(ConnectionLost):
        await follow(stream)
    await stream.close()
    with pytest.raises(ConnectionLost):
        await ReplicationStream.connect(database.dsn, name, ["cdcd"])


@pytest.mark.matrix
async def test_permission_is_found_by_trying(database: Database) -> None:
    """A role without REPLICATION is NotPermitted for the stream and for a temporary slot; with it, both work."""
    role = f"plain_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT ALL ON DATABASE {database.name} TO {role}")
    try:
        dsn = make_conninfo(database.dsn, user=role, password="p")
        other = Database(database.name, database.postgres)
        async with await other.aconnect() as connection:
            await slot.try_temporary_slot(connection)
            await connection.execute(f"SET SESSION AUTHORIZATION {role}")
            with pytest.raises(NotPermitted):
                await slot.try_temporary_slot(connection)
        with pytest.raises(NotPermitted):
            await identify_system(dsn)
        identity = await identify_system(database.dsn)
        ((known,),) = database.execute("SELECT system_identifier::text FROM pg_control_system()")
        assert (identity.system_identifier, identity.timeline, identity.database) == (known, 1, database.name)
    finally:
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
