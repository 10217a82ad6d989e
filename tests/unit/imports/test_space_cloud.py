"""Space Cloud's triggers mean here what they meant there, in every form that its configuration had, or are off and say why."""

from pathlib import Path

import pytest

from cdcd.config.model import Backoff, Retries
from cdcd.imports import rules, sdl, space_cloud
from cdcd.imports.document import read
from cdcd.imports.found import Found
from cdcd.imports.templates import NoEqual
from cdcd.imports.writing import written
from tests.unit.imports.proved import documents, loaded, proved, remarks

SECRETS = ("conn-password", "mail-password", "url-secret-value", "project-signing-secret", "mysecretpassword")


@pytest.fixture
def found() -> Found:
    return space_cloud.translate(documents("space-cloud/resources.yaml"))


def test_what_is_written_loads_and_means_the_same(found: Found, tmp_path: Path) -> None:
    config = loaded(found, tmp_path)
    assert set(config.triggers) == {"welcome_email", "order_paid", "fraud", "everything", "thumbnails", "signed_up"}
    welcome = config.triggers["welcome_email"]
    assert welcome.types == {"DB_INSERT"}
    assert welcome.database == "mydb"
    assert welcome.tables == ("shop.users", "shop.customers")
    assert welcome.webhook.timeout == 7.0
    assert welcome.retries == Retries(max=3, backoff=Backoff.FIXED, first=5.0)  # no number means three, 5 s apart
    assert found.triggers["welcome_email"].options["payload"] == {
        "to": "${ new.email }",
        "id": "${ new.id }",
        "text": "Hello ${ new.name }",
    }
    paid = config.triggers["order_paid"]
    assert paid.when == 'new.status != old.status && (new.total != null && new.total >= 100) && new.country in ["DE", "IN"]'
    assert paid.retries.max == 5
    assert paid.claims == {"order": "${new.id}"}  # id and role are cdcd's own
    assert sum("is set by cdcd itself" in each for each in remarks(found, "order_paid")) == 2
    assert config.triggers["everything"].tables == ("shop.*",)
    assert config.triggers["thumbnails"].storage == "files"
    assert str(config.storage["files"].path) == "/srv/shop/uploads"
    assert config.triggers["signed_up"].types == {"signup"}
    assert config.triggers["signed_up"].when == 'data.plan == "pro"'
    assert [trigger.name for trigger in config.triggers.values() if not trigger.enabled] == ["fraud"]


def test_schemas_and_security_rules_become_events(found: Found, tmp_path: Path) -> None:
    event = loaded(found, tmp_path).events["signup"]
    assert event.allow == 'auth.role == "app" || payload.plan == "free"'
    assert event.schema == {
        "type": "object",
        "properties": {
            "email": {"type": "string"},
            "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "address": {
                "type": "object",
                "properties": {"pincode": {"type": "integer"}},
                "required": ["pincode"],
                "additionalProperties": False,
            },
        },
        "required": ["email", "address"],
        "additionalProperties": False,
    }


def test_what_has_no_equal_is_told_with_its_line(found: Found) -> None:
    proved(found)
    (text,) = [each for each in remarks(found, "fraud") if "filter" in each]
    lines = Path("tests/data/imports/space-cloud/resources.yaml").read_text().splitlines()
    place = int(text.partition(":")[2].partition(":")[0])
    assert lines[place - 1].strip() in ("rule: webhook", "filter:")
    assert "a rule `webhook` has no equal" in text
    assert any("requestTemplate" in each for each in remarks(found, "fraud"))
    assert any("mongo" in each for each in remarks(found, "mirrored"))
    assert any("mongo" in each for each in remarks(found, "everything"))
    assert any("REPLICA IDENTITY FULL" in each for each in remarks(found, "order_paid"))
    assert any("`default`" in each for each in remarks(found, ""))


def test_no_secret_is_shown(found: Found) -> None:
    told = "\n".join([written(proved(found), "x"), *map(str, found.remarks), repr(found)])
    assert not [secret for secret in SECRETS if secret in told]
    assert found.variables["ORDER_PAID_APIKEY"] == "url-secret-value"
    assert found.variables["WELCOME_EMAIL_AUTHORIZATION"] == "Basic bWFpbGVyOm1haWwtcGFzc3dvcmQ="


def test_the_configuration_of_v0_19(tmp_path: Path) -> None:
    found = space_cloud.translate(documents("space-cloud/old.yaml"))
    config = loaded(found, tmp_path)
    assert config.triggers["todo-done"].tables == ("todo.todos",)  # two projects have a trigger `done`
    assert config.triggers["blog-done"].types == {"DB_INSERT"}
    assert not config.triggers["blog-done"].enabled  # eventing was off there
    assert config.events["reminder"].allow == "false"  # a rule that asks a database: nobody until somebody decides
    assert config.events["reminder"].schema is None
    assert not [secret for secret in SECRETS if secret in written(found, "x")]


def test_the_configuration_of_v0_20(tmp_path: Path) -> None:
    found = space_cloud.translate(documents("space-cloud/new.json"), lambda alias: {"mydb": "main"}.get(alias, alias))
    config = loaded(found, tmp_path)
    assert config.triggers["paid"].database == "main"
    assert config.triggers["paid"].tables == ("public.orders",)
    assert found.triggers["paid"].place.endswith('$.projects.shop.eventingTriggers["cluster--shop--eventing-trigger--paid"]')


def test_what_the_api_answers(tmp_path: Path) -> None:
    text = '{"result": [{"id": "a", "type": "PING", "url": "http://x/y", "options": {"kind": "big"}, "retries": 1, "more": 1}]}'
    found = space_cloud.translate(read("answer.json", text))
    assert not loaded(found, tmp_path).triggers["a"].enabled  # options of custom events have no equal
    assert any("answer.json: $.result[0].more" in each for each in remarks(found, "a"))


@pytest.mark.parametrize(
    ("rule", "kind", "expected"),
    [
        ("{rule: allow}", "DB_INSERT", "true"),
        ("{rule: and, clauses: []}", "DB_INSERT", "true"),
        ("{rule: or, clauses: []}", "DB_INSERT", "false"),
        ("{rule: match, type: bool, eval: ==, f1: args.data.doc.paid, f2: true}", "DB_INSERT", "new.paid == true"),
        ("{rule: match, type: number, eval: ==, f1: args.data.doc.n, f2: '5'}", "DB_INSERT", "new.n == 5"),
        ("{rule: match, type: string, eval: notIn, f1: args.data.doc.s, f2: [a]}", "DB_UPDATE", '!(new.s in ["a"])'),
        ("{rule: match, type: string, eval: ==, f1: args.data.find.id, f2: x}", "DB_DELETE", 'old.id == "x"'),
        ("{rule: match, type: string, eval: ==, f1: args.data.col, f2: x}", "DB_DELETE", 'event.table == "x"'),
        (
            "{rule: match, type: date, eval: <, f1: args.data.doc.due, f2: '2026-01-01T00:00:00Z'}",
            "DB_INSERT",
            'new.due != null && timestamp(new.due) < timestamp("2026-01-01T00:00:00Z")',
        ),
        (
            "{rule: match, type: string, eval: ==, f1: 'args.data.doc.a b', f2: 'say \"x\"'}",
            "DB_INSERT",
            'new["a b"] == "say \\"x\\""',
        ),
    ],
)
def test_rules_become_cel(rule: str, kind: str, expected: str) -> None:
    (node,) = read("rule", rule)
    assert rules.expression(node, rules.of_rows(kind)) == expected


@pytest.mark.parametrize(
    "rule",
    [
        "{rule: query, db: x, col: y}",
        "{rule: force, field: x}",
        "{rule: match, type: number, eval: <, f1: utils.now(), f2: 5}",
        "{rule: match, type: string, eval: ==, f1: args.auth.id, f2: x}",
        "{rule: match, type: string, eval: ==, f1: args.data.before.id, f2: x}",
    ],
)
def test_rules_without_an_equal_are_refused(rule: str) -> None:
    (node,) = read("rule", rule)
    with pytest.raises(NoEqual):
        rules.expression(node, rules.of_rows("DB_INSERT"))


def test_a_type_that_holds_itself_has_no_json_schema() -> None:
    with pytest.raises(NoEqual, match="holds itself"):
        sdl.json_schema("a", "type a { b: b } type b { a: [a] }")
