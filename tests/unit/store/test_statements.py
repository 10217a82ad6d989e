"""SQL lives in files: every statement has a name and a sentence, and every name that the code uses exists."""

import re
from pathlib import Path

import pytest

import cdcd.store
from cdcd.errors import StoreRefused
from cdcd.store.connection import quoted
from cdcd.store.migrate import drop_sql, migration_sql, migrations
from cdcd.store.statements import SQL, parse

ROOM = Path(cdcd.store.__path__[0])


def test_parse_takes_names_and_leaves_comments_out() -> None:
    text = "-- About.\n\n-- name: one\n-- Says one.\nSELECT 1\n  -- why\n  , 2;\n\n-- name: two\n-- Says two.\nSELECT 2;\n"
    assert parse(text) == {"one": "SELECT 1\n  , 2", "two": "SELECT 2"}


def test_every_statement_has_a_sentence_and_is_used() -> None:
    text = (ROOM / "queries.sql").read_text("utf-8")
    for part in text.split("\n-- name: ")[1:]:
        name, sentence, *_ = part.splitlines()
        assert sentence.startswith("-- "), name
        assert sentence[3].isupper(), name
    code = "".join(path.read_text("utf-8") for path in ROOM.glob("*.py"))
    assert {name for name in SQL if f'"{name.partition(".")[0]}"' not in code} == set()


def test_no_statement_stands_in_the_code() -> None:
    for path in ROOM.glob("*.py"):
        if path.name not in ("migrate.py", "standing.py"):  # which must work where there is no schema yet
            assert not re.search(r'"(SELECT|INSERT|UPDATE|DELETE|TRUNCATE|CREATE|DROP) ', path.read_text("utf-8")), path.name


def test_migrations_are_numbered_without_gaps() -> None:
    assert [number for number, _, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_names_are_quoted_in_what_is_printed() -> None:
    printed = migration_sql('a"b', "it's", "the owner")
    assert 'CREATE SCHEMA IF NOT EXISTS "a""b" AUTHORIZATION "the owner";' in printed
    assert "VALUES ('it''s')" in printed
    assert drop_sql('a"b') == 'DROP SCHEMA IF EXISTS "a""b" CASCADE;\n'
    with pytest.raises(StoreRefused):
        quoted("")
