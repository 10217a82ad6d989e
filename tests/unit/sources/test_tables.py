"""Which table goes into which publication, and what is refused."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from cdcd.config.model import TriggerConfig, Webhook
from cdcd.replication.publication import ALL_KINDS, INSERT_KINDS
from cdcd.replication.tables import Partition, TableInfo
from cdcd.sources.tables import sort_tables
from cdcd.triggers.trigger import Trigger, compile_trigger

EVERY = frozenset({"DB_INSERT", "DB_UPDATE", "DB_DELETE"})
INSERTS = frozenset({"DB_INSERT"})


def info(name: str, **more: Any) -> TableInfo:
    return replace(
        TableInfo("public", name, 1, "table", ("id",), (23,), frozenset(), "d", ("id",), ("id",), True, "permanent", None),
        **more,
    )


def keyless(name: str, **more: Any) -> TableInfo:
    return info(name, primary_key=(), identity_columns=(), identity_usable=False, **more)


def trigger(*tables: str, types: Iterable[str] = EVERY, name: str = "t") -> Trigger:
    return compile_trigger(TriggerConfig(name, frozenset(types), "main", tables, Webhook("http://a/", "http://a")))


def test_each_publication_has_its_tables_and_both_are_always_there() -> None:
    found = [info("a"), keyless("b"), info("other")]
    captured = sort_tables("cdcd_shop", found, [trigger("a"), trigger("b", types=INSERTS)])
    assert captured.problems == []
    assert captured.publications == {
        "cdcd_shop": ([("public", "a")], ALL_KINDS),
        "cdcd_shop_insert": ([("public", "b")], INSERT_KINDS),
    }
    assert [each.name for each in captured.tables] == ["a", "b"]
    assert list(sort_tables("cdcd_shop", [info("a")], [trigger("a")]).publications) == ["cdcd_shop", "cdcd_shop_insert"]


def test_updates_of_a_table_without_identity_are_refused_with_the_sql() -> None:
    captured = sort_tables("p", [keyless("odd Name")], [trigger("*", name="first"), trigger("*", types=INSERTS, name="second")])
    (problem,) = captured.problems
    assert "odd Name has no primary key" in problem.what
    assert "(trigger first)" in problem.what
    assert 'ALTER TABLE "public"."odd Name" REPLICA IDENTITY FULL' in problem.fix
    assert captured.insert_only == [("public", "odd Name")]


def test_the_leaves_of_a_partitioned_table_are_named() -> None:
    leaves = (Partition("public", "p1", 2, "n", False), Partition("public", "p2", 3, "f", True))
    captured = sort_tables("p", [info("root", kind="partitioned", identity_usable=False, leaves=leaves)], [trigger("root")])
    (problem,) = captured.problems
    assert "public.p1 has no primary key" in problem.what
    assert "p2" not in problem.what + problem.fix


def test_what_is_not_there_and_what_never_reaches_the_wal() -> None:
    captured = sort_tables("p", [info("cache", persistence="unlogged")], [trigger("cache", "gone", "sales.*")])
    assert [(problem.what, problem.missing) for problem in captured.problems] == [
        ("public.cache is unlogged: its changes never reach the WAL (trigger t)", False),
        ("no table is named gone (trigger t)", True),
        ("no table is named sales.* (trigger t)", True),
    ]
    assert "SET LOGGED" in captured.problems[0].fix
    assert captured.tables == []
    assert captured.full == captured.insert_only == []
