"""A trigger's WHEN is true in CEL exactly where SQL says it is, null included; functions that call out are read or refused."""

import sqlite3
from contextlib import closing
from typing import Any

import cel
import pytest

from cdcd.imports import sql
from cdcd.imports.supabase import DatabaseTrigger, called, translate, when_clause
from cdcd.imports.templates import NoEqual


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(new.status = 'paid'::text)", 'new.status == "paid"'),
        ("((new.status = 'paid'::text) AND (old.status <> 'paid'::text))",
         'new.status == "paid" && (old.status != null && old.status != "paid")'),
        ("(old.status IS DISTINCT FROM new.status)", "old.status != new.status"),
        ("(old.* IS DISTINCT FROM new.*)", "old != new"),
        ("((new.email)::text ~~ 'x'::text)", None),
        ("(NOT (new.total > 100))", "new.total != null && new.total <= 100"),
        ("(NOT (new.a = new.b))", "new.a != null && new.b != null && new.a != new.b"),
        ("(new.paid)", "new.paid == true"),
        ("((NOT new.paid) OR (new.note IS NOT NULL))", "new.paid == false || new.note != null"),
        ("((new.status)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))", 'new.status in ["a", "b"]'),
        ("(new.status <> ALL (ARRAY['a'::text]))", 'new.status != null && !(new.status in ["a"])'),
        ("(new.total >= '5'::numeric)", "new.total != null && new.total >= 5"),
        ("(new.\"order no\" = 3)", 'new["order no"] == 3'),
        ("(new.kind = 'it''s'::public.kind)", None),
        ("(new.created_at > now())", None),
        ("(lower(new.email) = 'x'::text)", None),
        ("(pg_trigger_depth() = 0)", None),
        ("(new.data -> 'a' = 'x')", None),
    ],
)  # fmt: skip
def test_conditions(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(NoEqual):
            sql.condition(text)
    else:
        assert sql.condition(text) == expected


VALUES = [None, "paid", "open"]


@pytest.mark.parametrize("text", [
    "(new.s = 'paid'::text)", "(new.s <> 'paid'::text)", "(NOT (new.s = 'paid'::text))", "(NOT (new.s <> 'paid'::text))",
    "(old.s IS DISTINCT FROM new.s)", "(NOT (old.s IS DISTINCT FROM new.s))", "(new.s = old.s)", "(new.s <> old.s)",
    "(NOT ((new.s = 'paid'::text) OR (old.s = 'open'::text)))", "(NOT ((new.s = 'paid'::text) AND (old.s IS NULL)))",
    "(new.s = ANY (ARRAY['paid'::text, 'x'::text]))", "(NOT (new.s = ANY (ARRAY['paid'::text])))", "(new.s > 'm'::text)",
])  # fmt: skip
def test_null_is_what_it_is_in_sql(text: str) -> None:
    """Against SQL's three-valued logic, evaluated here by hand."""
    made = sql.condition(text)
    for new in VALUES:
        for old in VALUES:
            facts = {"new": {"s": new}, "old": {"s": old}}
            assert cel.evaluate(made, facts) is (_truth(text, new, old) is True), (made, facts)


def _truth(text: str, new: Any, old: Any) -> bool | None:
    """SQLite knows the same logic, and is at hand."""
    plain = text.replace("::text", "").replace("IS DISTINCT FROM", "IS NOT").replace("new.s", ":new").replace("old.s", ":old")
    plain = plain.replace("= ANY (ARRAY[", "IN (").replace("])", ")")
    with closing(sqlite3.connect(":memory:")) as connection:
        (value,) = connection.execute(f"SELECT {plain}", {"new": new, "old": old}).fetchone()
    return None if value is None else bool(value)


def test_when_is_found_in_the_definition() -> None:
    definition = (
        "CREATE TRIGGER t AFTER UPDATE ON public.orders FOR EACH ROW WHEN ((new.note = ') EXECUTE'::text)) "
        "EXECUTE FUNCTION supabase_functions.http_request('http://x', 'POST', '{}', '{}', '1000')"
    )
    assert when_clause(definition) == "(new.note = ') EXECUTE'::text)"
    assert when_clause(definition.replace(" WHEN ((new.note = ') EXECUTE'::text))", "")) == ""


SIMPLE = """
BEGIN
  -- tell the search index
  PERFORM net.http_post(
    url := 'https://project.example.co/functions/v1/index',
    headers := '{"Content-Type": "application/json", "Authorization": "Bearer function-secret-value"}'::jsonb,
    body := jsonb_build_object('type', TG_OP, 'table', TG_TABLE_NAME, 'record', to_jsonb(NEW), 'name', NEW.name, 'n', 1),
    timeout_milliseconds := 3000
  );
  RETURN NEW;
END;
"""


def test_a_function_that_only_sends_is_read() -> None:
    call = called(SIMPLE)
    assert call.url == "https://project.example.co/functions/v1/index"
    assert call.timeout == 3.0
    assert call.headers["Authorization"] == "Bearer function-secret-value"
    assert {name: value.text if isinstance(value, sql.Composed) else value for name, value in call.body.items()} == {
        "type": "${ " + sql.OPERATION + " }", "table": "${ event.table }", "record": "${ new }", "name": "${ new.name }", "n": 1,
    }  # fmt: skip


@pytest.mark.parametrize("change", [
    ("PERFORM", "IF NEW.x THEN PERFORM"), ("RETURN NEW", "UPDATE t SET a = 1; RETURN NEW"), ("'https:", "base || 'https:"),
    ("'https:", "NEW.url || 'https:"),
    ("'Authorization", "E'Authorization"), ("BEGIN", "DECLARE k text := 'x'; BEGIN"), ("NEW.name", "upper(NEW.name)"),
    ("http_post", "http_delete"), ("to_jsonb(NEW)", "(SELECT 1)"),
])  # fmt: skip
def test_a_function_that_does_more_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(NoEqual):
        called(SIMPLE.replace("'{\"Content", "E'{\"Content") if change[0] == "'Authorization" else SIMPLE.replace(*change, 1))


def test_settings_and_secrets_of_the_database_become_variables() -> None:
    text = SIMPLE.replace("'https://project.example.co", "current_setting('app.base_url', true) || '")
    text = text.replace(
        """headers := '{"Content-Type": "application/json", "Authorization": "Bearer function-secret-value"}'::jsonb""",
        """headers := jsonb_build_object('Authorization', 'Bearer ' || current_setting('app.service_key'),
           'apikey', (SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = 'api key' LIMIT 1),
           'X-Token', 'literal-token-1')""",
    ).replace("'n', 1", "'n', 'No. ' || NEW.id, 'token', 'body-secret-0123456789', 'plain', '${x}'")
    trigger = DatabaseTrigger("t", "public", "t", 5, True, (), "", False, "public.f", text)
    found = translate([trigger], "main", known=True)
    options = found.triggers["t"].options
    assert options["webhook"]["url"] == "${env:APP_BASE_URL}/functions/v1/index"
    assert options["webhook"]["headers"] == {
        "Authorization": "Bearer ${env:APP_SERVICE_KEY}", "apikey": "${env:API_KEY}", "X-Token": "${env:T_X_TOKEN}",
    }  # fmt: skip
    assert options["payload"]["n"] == "No. ${ new.id }"
    assert options["payload"]["token"] == "${env:T_TOKEN}"
    assert options["payload"]["plain"] == "$${x}"
    assert found.variables == {
        "APP_BASE_URL": "", "APP_SERVICE_KEY": "", "API_KEY": "", "T_X_TOKEN": "literal-token-1", "T_TOKEN": "body-secret-0123456789",
    }  # fmt: skip
