"""Hasura's triggers, from the metadata directory and from the exported JSON, mean here what they meant there, or are off and say why."""

import json
from pathlib import Path
from typing import Any

import pytest

from cdcd.config.model import Backoff, Format, Kind
from cdcd.errors import ConfigError
from cdcd.imports import hasura
from cdcd.imports.document import read
from cdcd.imports.found import Found
from cdcd.imports.metadata import hasura_metadata
from cdcd.imports.writing import written
from tests.unit.imports.proved import DATA, loaded, proved, remarks

SECRETS = ("query-secret-value", "header-secret-value", "payload-secret-value", "pathSecret123456abcdef")


@pytest.fixture
def found() -> Found:
    return hasura.translate(hasura_metadata(DATA / "hasura"), lambda name: "main" if name == "default" else name)


def test_what_is_written_loads_and_means_the_same(found: Found, tmp_path: Path) -> None:
    config = loaded(found, tmp_path)
    status = config.triggers["order_status"]
    assert status.types == {"DB_INSERT", "DB_UPDATE"}
    assert (status.database, status.tables) == ("main", ("public.orders",))
    assert status.columns == {"status", "total"}
    assert status.format is Format.HASURA
    assert (status.retries.max, status.retries.first, status.retries.backoff) == (6, 15.0, Backoff.FIXED)
    assert status.webhook.timeout == 25.0
    assert found.triggers["order_status"].options["webhook"]["headers"] == {
        "Authorization": "${env:ORDER_STATUS_AUTHORIZATION}",
        "X-Env": "production",
        "X-Webhook-Secret": "${env:EVENT_SECRET}",
    }
    assert (
        found.triggers["order_status"].options["webhook"]["url"]
        == "${env:EVENT_BASE_URL}/orders?secret=${env:ORDER_STATUS_SECRET}"
    )
    assert config.triggers["invoices"].tables == ('"Sales Dept".Invoices',)
    assert config.triggers["invoices"].retries.max == 0  # Hasura's default
    assert {name for name, trigger in config.triggers.items() if not trigger.enabled} == {"order_form", "order_choice"}
    assert found.databases == {"main": {"url": "${env:PG_DATABASE_URL}"}}


def test_a_request_transform(found: Found, tmp_path: Path) -> None:
    config = loaded(found, tmp_path)
    sync = config.triggers["order_sync"]
    assert sync.webhook.method == "PUT"
    assert found.triggers["order_sync"].options["webhook"]["url"] == "${env:SYNC_URL}/v2?id=${ new.id }&kind=order"
    assert dict(sync.webhook.headers) == {"X-Table": "${event.table}"}
    assert sync.format is Format.JSON
    assert found.triggers["order_sync"].options["payload"] == {
        "table": "${ event.table }",
        "order": "${ new }",
        "label": 'Order ${ new.id } of ${ new["customer name"] }',
        "op": '${ type == "DB_INSERT" ? "INSERT" : type == "DB_UPDATE" ? "UPDATE" : "DELETE" }',
        "fixed": ["$${plain}", 1, None, True],
    }


def test_cron_triggers_become_schedules(found: Found, tmp_path: Path) -> None:
    config = loaded(found, tmp_path)
    report = config.triggers["eod_reports"]
    assert report.kind is Kind.SCHEDULE
    assert report.schedule is not None
    assert (report.schedule.cron, report.schedule.timezone) == ("0 22 * * 1-5", "UTC")
    assert found.triggers["eod_reports"].options["payload"] == {
        "id": "${ event.id }",
        "name": "eod_reports",
        "scheduled_time": "${ event.time }",
        "payload": {"report": "sales $${total}", "apiKey": "${env:EOD_REPORTS_APIKEY}", "pages": [1, 2]},
        "comment": "End of day",
    }
    assert (report.retries.max, report.retries.first, report.webhook.timeout) == (3, 100.0, 30.0)
    assert found.triggers["cleanup"].options["payload"] == {"at": "${ event.time }", "name": "cleanup"}
    assert "wrong" not in config.triggers
    assert any("cdcd would refuse it" in each and "has 2 fields" in each for each in remarks(found, "wrong"))


@pytest.mark.parametrize(
    ("trigger", "file", "told"),
    [
        ("order_status", "public_orders.yaml", "enable_manual"),
        ("order_status", "public_orders.yaml", "cleanup_config"),
        ("order_form", "public_orders.yaml", "a form"),
        ("order_choice", "public_orders.yaml", "has no equal"),
        ("user_by_hand", "public_users.yaml", "fires on no operation"),
        ("invoices", "Sales_Invoices.yaml", "response_transform"),
        ("invoices", "Sales_Invoices.yaml", "surprise is not known"),
        ("invoices", "Sales_Invoices.yaml", 'ALTER TABLE "Sales Dept"."Invoices" REPLICA'),
        ("stock_changed", "databases.yaml", "mssql"),
    ],
)
def test_what_has_no_equal_is_told_with_its_file_and_line(found: Found, trigger: str, file: str, told: str) -> None:
    (text,) = [each for each in remarks(found, trigger) if told in each]
    place = text.partition(": ")[0]
    assert Path(place.rpartition(":")[0]).name == file
    assert place.rpartition(":")[2].isdecimal()


def test_no_secret_is_shown_and_equal_ones_share_a_variable(found: Found) -> None:
    told = "\n".join([written(proved(found), "x"), *map(str, found.remarks), repr(found)])
    assert not [secret for secret in SECRETS if secret in told]
    assert sorted(found.variables) == [
        "EOD_REPORTS_APIKEY", "EOD_REPORTS_X_HASURA_ADMIN_SECRET", "EVENT_BASE_URL", "EVENT_SECRET", "INVOICES_URL",
        "ORDER_STATUS_AUTHORIZATION", "ORDER_STATUS_SECRET", "PG_DATABASE_URL", "SYNC_URL",
    ]  # fmt: skip
    assert found.variables["INVOICES_URL"] == "pathSecret123456abcdef"


def test_the_exported_json_gives_the_same(found: Found) -> None:
    exported: dict[str, Any] = {"resource_version": 7, "metadata": {"version": 3, **hasura_metadata(DATA / "hasura").plain()}}
    (document,) = read("metadata.json", json.dumps(exported))
    again = hasura.translate(document.get("metadata"), lambda name: "main" if name == "default" else name)
    assert {name: draft.options for name, draft in again.triggers.items()} == {
        name: draft.options for name, draft in found.triggers.items()
    }
    assert again.triggers["order_status"].place == "metadata.json: $.metadata.sources[0].tables[0].event_triggers[0]"


def test_importing_twice_gives_the_same_text(found: Found) -> None:
    again = hasura.translate(hasura_metadata(DATA / "hasura"), lambda name: "main" if name == "default" else name)
    assert written(proved(found), "x") == written(proved(again), "x")


def test_version_2(tmp_path: Path) -> None:
    (document,) = read(
        "m.yaml",
        "version: 2\ntables:\n- table: {schema: public, name: author}\n  event_triggers:\n"
        "  - {name: t, definition: {insert: {columns: '*'}}, webhook: 'https://example.com/x'}\n",
    )
    config = loaded(hasura.translate(document, lambda name: name), tmp_path)
    assert config.triggers["t"].database == "default"


def test_a_directory_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Hasura metadata"):
        hasura_metadata(tmp_path)


def test_an_include_that_holds_itself_says_so(tmp_path: Path) -> None:
    (tmp_path / "tables.yaml").write_text('- "!include tables.yaml"\n')
    with pytest.raises(ConfigError, match="includes itself"):
        hasura_metadata(tmp_path)


def test_a_transform_of_version_1(tmp_path: Path) -> None:
    """In the shape of Hasura's own example of a REST connector."""
    trigger = {
        "name": "insert_trigger_on_users",
        "definition": {"insert": {"columns": "*"}},
        "webhook": "https://api.somedomain.test",
        "headers": [{"name": "Authorization", "value": "bearer xxxx"}],
        "request_transform": {
            "template_engine": "Kriti",
            "method": "POST",
            "url": "{{$base_url}}/api/v3/endpoint",
            "query_params": {"query_param": "xxxxx"},
            "content_type": "application/json",
            "body": '{\n  "table": {"name": {{$body.table.name}}},\n  "To": {"username": {{ $body.event.data.new?.name }}, '
            '"by": {{$body["trigger"]["name"]}}}\n}',
        },
    }
    text = json.dumps(
        {
            "sources": [
                {"name": "default", "tables": [{"table": {"name": "users", "schema": "public"}, "event_triggers": [trigger]}]}
            ]
        }
    )
    found = hasura.translate(read("m.json", text)[0])
    options = found.triggers["insert_trigger_on_users"].options
    assert options["webhook"]["url"] == "https://api.somedomain.test/api/v3/endpoint?query_param=xxxxx"
    assert options["payload"] == {
        "table": {"name": "${ event.table }"},
        "To": {"username": "${ new.name }", "by": "insert_trigger_on_users"},
    }
    assert loaded(found, tmp_path).triggers["insert_trigger_on_users"].enabled
