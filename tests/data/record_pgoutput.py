"""Record what real servers of each major say: `python -m tests.data.record_pgoutput` writes tests/data/pgoutput.json.

One frame a line, in order: major, the frame's bytes in hexadecimal. The tests hold what the frames mean.
"""

import asyncio
import json
from pathlib import Path

import psycopg

from cdcd.replication.frames import XLOG_DATA
from cdcd.replication.stream import ReplicationStream
from tests.postgres import MAJORS, Servers

RECORDED = Path(__file__).parent / "pgoutput.json"

SETUP = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE item (id int PRIMARY KEY, name varchar(40), mood mood, big text);
ALTER TABLE item ALTER big SET STORAGE EXTERNAL;
CREATE TABLE whole (a int, b text);
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE SCHEMA "Ö x";
CREATE TABLE "Ö x"."t""t" ("ä b" numeric(10, 2));
CREATE PUBLICATION recorded FOR TABLE item, whole, "Ö x"."t""t" WITH (publish_via_partition_root = true);
SELECT pg_create_logical_replication_slot('recorded', 'pgoutput');
SELECT pg_replication_origin_create('elsewhere');
"""

STEPS = """
INSERT INTO item VALUES (1, 'é', 'glad', NULL);
UPDATE item SET name = NULL;
UPDATE item SET id = 2;
UPDATE item SET big = repeat('x', 3000);
UPDATE item SET name = 'n';
DELETE FROM item;
INSERT INTO whole VALUES (1, '');
UPDATE whole SET b = NULL;
DELETE FROM whole;
INSERT INTO "Ö x"."t""t" VALUES (1.50);
SELECT pg_logical_emit_message(true, 'pre', 'text');
SELECT pg_logical_emit_message(false, '', '');
TRUNCATE item, whole RESTART IDENTITY CASCADE;
SELECT pg_replication_origin_session_setup('elsewhere');
BEGIN;
SELECT pg_replication_origin_xact_setup('0/AB', '2020-01-01');
INSERT INTO whole VALUES (2, 'o');
COMMIT
"""


async def run(connection: psycopg.AsyncConnection, script: str) -> None:
    """Run statement after statement: sent together they would be one transaction."""
    for statement in filter(None, map(str.strip, script.split(";"))):
        await connection.execute(statement.encode())


async def record(dsn: str) -> list[str]:
    """Take the steps and return every frame of them, one keepalive first, in hexadecimal."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await run(connection, SETUP)
        stream = await ReplicationStream.connect(dsn, "recorded", ["recorded"], messages=True)
        await run(connection, STEPS)
        frames: list[bytes] = []
        origin = ended = False
        while not ended:
            for frame in await stream.read():
                if frame[0] == XLOG_DATA or frame[0] not in {other[0] for other in frames}:
                    frames.append(frame)
                origin = origin or frame[25:26] == b"O"
                ended = ended or (origin and frame[25:26] == b"C")
        await stream.close()
    return [frame.hex() for frame in sorted(frames, key=lambda frame: frame[0] == XLOG_DATA)]


def main() -> None:
    servers = Servers()
    rows = []
    try:
        for major in MAJORS:
            server = servers.new(major)
            try:
                rows += [[major, frame] for frame in asyncio.run(record(server.dsn()))]
            finally:
                server.remove()
    finally:
        servers.close()
    RECORDED.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


if __name__ == "__main__":
    main()
