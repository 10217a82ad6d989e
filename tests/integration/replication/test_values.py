"""Values against the server's own output: what it streams, converted by us, equals what its to_json says.

Where we differ on purpose (bytea is base64, oid a number, composites text) the expectation is SQL as well.
"""

import json
from collections.abc import Sequence
from decimal import Decimal

import pytest

from cdcd.replication.messages import Insert, Relation
from cdcd.replication.tables import type_map
from cdcd.replication.values import SETTINGS, RowCodec
from tests.integration.replication.reading import reading
from tests.postgres import Database

pytestmark = pytest.mark.matrix

TO_JSON = "to_json(v)"
AS_TEXT = "to_json(v::text)"

TYPES = """
CREATE TYPE mood AS ENUM ('glad', 'très triste', '悪い "x"', 'a,b{c}\\d');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN more_positive AS positive CHECK (VALUE > 1);
CREATE DOMAIN amounts AS numeric[];
CREATE DOMAIN doc AS jsonb;
CREATE TYPE stretch AS RANGE (subtype = float8);
"""

STRANGE = [
    "",
    " ",
    "a",
    "NULL",
    "null",
    '"',
    "\\",
    "\\\\",
    "'",
    "{",
    "}",
    ",",
    ";",
    "\t\n\r\x08\x0c\x1f\x7f",
    "é",
    "日本",
    "😀",
    "\u2028",
    "a b",
    "</script>",
]
QUOTED = ", ".join("E'" + text.replace("\\", "\\\\").replace("'", "''") + "'" for text in STRANGE)
STAMPS = [
    "2026-11-23 18:00:00.123456", "2026-11-23 18:00:00", "2026-11-23 18:00:00.1", "infinity", "-infinity", "0044-03-15 12:00 BC",
    "4713-01-01 00:00 BC", "12026-01-01 00:00", "99999-12-31 23:59:59.999999", "0001-01-01", "1970-01-01", "9999-12-31 23:59:60",
]  # fmt: skip

CASES: list[tuple[str, Sequence[str], str]] = [
    ("int2", ["0", "-32768", "32767"], TO_JSON),
    ("int4", ["0", "-2147483648", "2147483647"], TO_JSON),
    ("int8", ["0", "-9223372036854775808", "9223372036854775807", "9007199254740993"], TO_JSON),
    ("oid", ["0", "4294967295"], "v::text::json"),
    ("bool", ["true", "false"], TO_JSON),
    ("numeric", ["0", "1.50", "-0.001", "1e100", "1e-50", "123456789012345678901234567890.123456789", "NaN"], TO_JSON),
    ("numeric(6,2)", ["1", "9999.99", "NaN"], TO_JSON),
    ("float4", ["0", "-0", "0.1", "1e30", "1.17549e-38", "3.4028235e38", "NaN", "Infinity", "-Infinity", "16777217"], TO_JSON),
    ("float8", ["0", "-0", "0.1", "1e20", "1e15", "5e-324", "1.7976931348623157e308", "NaN", "Infinity", "-Infinity"], TO_JSON),
    ("money", ["1.5", "-1000"], AS_TEXT),
    ("text", STRANGE, TO_JSON),
    ("varchar(30)", STRANGE, TO_JSON),
    ("char(5)", ["", "a", "é"], TO_JSON),
    ('"char"', ["a"], TO_JSON),
    ("name", ["a", "Z z"], TO_JSON),
    ("bytea", ["", "\\x00", "\\xdeadbeef", "\\xffff", "abc"], "to_json(replace(encode(v, 'base64'), E'\\n', ''))"),
    ("uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"], TO_JSON),
    ("json", ['{"a": [1, 2.50, null, "é\\n"], "a": 2}', " [ ] ", "1e400", "null", '"x"', "12345678901234567890123", '"\\ud800"'], TO_JSON),
    ("jsonb", ['{"b": {"c": [true, 1.10]}, "a": null}', "[]", '"\\u00e9"', "1e5", "-0.0"], TO_JSON),
    ("date", ["2026-11-23", "infinity", "-infinity", "0044-03-15 BC", "12026-01-01", "0001-01-01"], TO_JSON),
    ("time", ["00:00", "24:00", "12:34:56.789"], TO_JSON),
    ("timetz", ["12:34:56.789+02", "00:00-05:30"], TO_JSON),
    ("timestamp", STAMPS, TO_JSON),
    ("timestamp(0)", STAMPS[:3], TO_JSON),
    ("timestamptz", [*STAMPS[:5], *STAMPS[7:], "2026-11-23 18:00:00-05:30", "0044-03-15 12:00+00 BC"], TO_JSON),
    ("interval", ["0", "1 year 2 mons 3 days 04:05:06.7", "-1 day +01:00", "1000 hours", "-3 months"], TO_JSON),
    ("inet", ["10.0.0.1", "::1/64"], TO_JSON),
    ("cidr", ["10.0.0.0/8"], TO_JSON),
    ("macaddr", ["08:00:2b:01:02:03"], TO_JSON),
    ("bit varying", ["", "101"], TO_JSON),
    ("point", ["(1,2.5)"], TO_JSON),
    ("box", ["((1,2),(0,0))"], TO_JSON),
    ("tsvector", ["a fat cat"], TO_JSON),
    ("pg_lsn", ["1/AB"], TO_JSON),
    ("regclass", ["pg_class"], AS_TEXT),
    ("int4range", ["[1,5)", "empty", "(,)"], TO_JSON),
    ("tstzrange", ["[2026-01-01 00:00+00, infinity)"], TO_JSON),
    ("int4multirange", ["{[1,2),[5,9)}"], TO_JSON),
    ("stretch", ["[0.5,1e20)"], TO_JSON),
    ("mood", ["glad", "très triste", '悪い "x"', "a,b{c}\\d"], TO_JSON),
    ("pair", ["(1,)", '(,"a,b ""c""")'], AS_TEXT),
    ("positive", ["5"], TO_JSON),
    ("more_positive", ["6"], TO_JSON),
    ("amounts", ["{1.50,NULL,NaN}", "{}"], TO_JSON),
    ("doc", ['{"a": 1}'], TO_JSON),
    ("int4[]", ["{}", "{1,2,NULL}", "{{1,2},{3,4}}", "[0:1]={7,8}", "[-1:0][2:3]={{1,2},{3,4}}", "{{{1}}}"], TO_JSON),
    ("bool[]", ["{t,f,NULL}"], TO_JSON),
    ("numeric[]", ["{1.50,NaN,-0.001}"], TO_JSON),
    ("float8[]", ["{1e20,Infinity,-0}"], TO_JSON),
    ("text[]", ["{}", '{"",NULL,"NULL",null,"a b","\\"","\\\\","{","}",","}', '{{"é"},{"日本"}}'], TO_JSON),
    ("json[]", ['{"{\\"a\\": [1, \\"x\\"]}","null",NULL}'], TO_JSON),
    ("jsonb[]", ['{"{\\"a\\": [1, \\"x\\"]}","[]"}'], TO_JSON),
    ("timestamp[]", ["{2026-11-23 18:00,infinity}"], TO_JSON),
    ("timestamptz[]", ["{2026-11-23 18:00:00.5+02}"], TO_JSON),
    ("date[]", ["{2026-11-23}"], TO_JSON),
    ("interval[]", ["{1 day 2 hours}"], TO_JSON),
    ("uuid[]", ["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"], TO_JSON),
    ("box[]", ["{(1,1),(0,0);(2,2),(1,1)}"], TO_JSON),
    ("int4range[]", ['{"[1,5)",empty}'], TO_JSON),
    ("mood[]", ['{glad,"très triste",NULL,"a,b{c}\\\\d"}'], TO_JSON),
    ("positive[]", ["{1,2}"], TO_JSON),
    ("more_positive[]", ["{2,NULL}"], TO_JSON),
    ("pair[]", ['{"(1,x)","(,)"}'], "to_json(v::text[])"),
    ("stretch[]", ['{"[0.5,1)"}'], TO_JSON),
    ("bytea[]", ['{"\\\\x00ff"}'], """CASE WHEN v IS NOT NULL THEN '["AP8="]'::json END"""),
    ("oid[]", ["{1,2}"], "to_json(v::text[]::int[])"),
]  # fmt: skip


def exactly(text: str | bytes) -> object:
    """JSON's meaning with every digit kept, and -0 told from 0."""
    return json.loads(
        text, parse_float=lambda digits: ("number", Decimal(digits)), parse_int=lambda digits: ("number", Decimal(digits))
    )


async def test_every_type(database: Database) -> None:
    """Every value of every type, with nulls, streamed and converted, is what the server's own conversion gives."""
    database.execute(TYPES)
    for number, (kind, _, _) in enumerate(CASES):
        database.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY, v {kind})")
    differences = []
    compared = 0
    async with reading(database) as found, await database.aconnect() as connection:
        for name, value in SETTINGS.items():
            await connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        for number, (kind, literals, expected) in enumerate(CASES):
            values: list[str | None] = [*literals, None]
            if kind == "numeric":
                values += ["Infinity", "-Infinity"]
            async with connection.transaction():
                for place, literal in enumerate(values):
                    await connection.execute(
                        f"INSERT INTO t{number} SELECT {place}, (%s::text)::{kind}".encode(),
                        [literal],
                    )
            rows = await (await connection.execute(f"SELECT ({expected})::text FROM t{number} ORDER BY id".encode())).fetchall()
            messages = await found.transaction()
            (relation,) = [message for message in messages if isinstance(message, Relation)]
            types = await type_map(connection, [column.type_oid for column in relation.columns if column.type_oid >= 16384])
            codec = RowCodec(relation, types.get)
            inserts = [message for message in messages if isinstance(message, Insert)]
            assert len(inserts) == len(rows) == len(values)
            for literal, insert, (oracle,) in zip(values, inserts, rows, strict=True):
                compared += 1
                ours = codec.json(insert.new.columns())
                wanted = None if oracle is None else exactly(oracle)
                if (got := dict(exactly(ours))["v"]) != wanted:  # type: ignore[call-overload]  # an object by construction
                    differences.append((kind, literal, got, wanted))
                raw = insert.new.column(1)
                codec.python(1, raw)
                if isinstance(raw, bytes):
                    assert exactly(codec.codec(1).json(raw)) == got
    assert not differences
    assert compared > 250


async def test_settings_of_others_do_not_matter(database: Database) -> None:
    """However database and role are set up, the stream's text is in its own settings."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY, a timestamptz, b interval, c bytea, d float8, e date)")
    for setting in (
        "DateStyle = 'German'",
        "IntervalStyle = 'sql_standard'",
        "TimeZone = 'Asia/Tokyo'",
        "bytea_output = 'escape'",
    ):
        database.execute(f"ALTER DATABASE {database.name} SET {setting}")
    database.execute(f"ALTER DATABASE {database.name} SET extra_float_digits = -10")
    async with reading(database) as found:
        found.execute("INSERT INTO t VALUES (1, '2026-11-23 18:00Z', '1 day', 'a', 0.1::float8 + 0.2, '2026-11-23')")
        (insert,) = await found.changes()
        assert isinstance(insert, Insert)
        row = json.loads(RowCodec(insert.relation).json(insert.new.columns()))
    assert row == {
        "id": 1, "a": "2026-11-23T18:00:00+00:00", "b": "P1D", "c": "YQ==", "d": 0.30000000000000004, "e": "2026-11-23",
    }  # fmt: skip
