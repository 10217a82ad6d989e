"""Whatever a file holds, an import ends with triggers and remarks, and never with a traceback; what it writes is YAML."""

import json
from contextlib import suppress
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd.errors import ConfigError
from cdcd.imports import hasura, space_cloud, sql, supabase
from cdcd.imports.document import read
from cdcd.imports.found import Found
from cdcd.imports.supabase import DatabaseTrigger
from cdcd.imports.templates import NoEqual
from cdcd.imports.writing import written

GIVEN = (
    "DB_INSERT FILE_CREATE ping http://u:p@x/${a}?token=1 {{$base_url}}/{{$body.event.data.new.id}} {{A}}/x and match == args.data.doc.a"
    " {{.args.data.doc.a}} postgres public transform GET {{ ]["
)
TEXTS = st.one_of(st.text(max_size=12), st.sampled_from(GIVEN.split()), st.just("* * * * *"))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**6), st.floats(allow_nan=False, allow_infinity=False), TEXTS)


def documents(names: str) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(names.split())
    return st.recursive(
        SCALARS,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=6)),
        max_leaves=25,
    )


SPACE_CLOUD = documents(
    "api type meta spec id project projects modules eventing triggers rules schemas options db col url retries timeout filter rule"
    " clauses f1 f2 eval requestTemplate claims result x"
)
HASURA = documents(
    "name kind configuration connection_info database_url from_env table schema event_triggers definition insert update columns webhook"
    " headers value retry_conf num_retries interval_sec request_transform body action template method query_params request_headers"
    " add_headers remove_headers payload schedule"
)


def reads(found: Found) -> None:
    text = written(found, "x")
    assert isinstance(yaml.safe_load(text), dict)
    assert all(str(remark) for remark in found.remarks)


@given(SPACE_CLOUD)
@settings(max_examples=150, deadline=None)
def test_space_cloud(value: Any) -> None:
    for whole in (
        [value],
        {"type": "eventing-triggers", "meta": {"id": "t"}, "spec": value},
        {
            "projects": {
                "p": {"eventingTriggers": {"t": value}, "eventingRules": value, "eventingSchemas": value, "dbConfigs": value}
            }
        },
    ):
        reads(space_cloud.translate(read("f", json.dumps(whole))))


@given(HASURA)
@settings(max_examples=150, deadline=None)
def test_hasura(value: Any) -> None:
    for whole in (
        {"metadata": value},
        {"sources": value, "cron_triggers": value},
        {
            "sources": [{"name": "default", "tables": [{"table": {"name": "t"}, "event_triggers": [value]}]}],
            "cron_triggers": [value],
        },
    ):
        reads(hasura.translate(read("f", json.dumps(whole))[0]))


SQL = (
    "new . a old = 'x' :: text ( ) AND OR NOT IS NULL DISTINCT FROM ANY ARRAY [ ] , 5 - < * perform net.http_post := url"
    " jsonb_build_object ; begin end return \" ' $"
)


@given(st.lists(st.sampled_from(SQL.split()), max_size=14).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_sql(text: str) -> None:
    for what in (sql.condition, supabase.called):
        with suppress(NoEqual):
            assert what(text)


@given(st.lists(TEXTS, max_size=6), st.integers(0, 127), TEXTS, TEXTS)
@settings(max_examples=100, deadline=None)
def test_supabase(arguments: list[str], kind: int, name: str, source: str) -> None:
    for function in (supabase.HTTP_REQUEST, "public.f"):
        trigger = DatabaseTrigger(name, "public", "t", kind, True, tuple(arguments), "", False, function, source)
        reads(supabase.translate([trigger], "main", known=False))


@given(st.text(max_size=60))
@settings(deadline=None)
def test_any_text_is_a_document_or_told(text: str) -> None:
    with suppress(ConfigError):
        assert isinstance(read("f", text), list)


def test_a_line_break_in_a_name_does_not_end_the_comment() -> None:
    trigger = DatabaseTrigger("a\n  b: c", "s", "t", 5, True, ("http://x/",), "", False, supabase.HTTP_REQUEST)
    found = supabase.translate([trigger], "main", known=True)
    assert list(yaml.safe_load(written(found, "x\ny"))["triggers"]) == ["a-b-c"]
