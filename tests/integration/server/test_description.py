"""schemathesis makes requests from the description, right and wrong ones, at a real daemon that has something of everything: it never
meets an error of ours, nor an answer that is not described; and every route is met doing what it is for."""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.setting import Setting
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import Client, api, token, trigger
from tests.postgres import Database
from tests.unit.server.every import GROUPS

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "unsupported_method", "ignored_auth"),
)
MINE = [f"mine-{number}" for number in range(1, 6)]  # triggers that may be changed
NEVER = {"retries": {"max": 0}}


async def filled(setting: Setting, client: Client) -> dict[str, list[str]]:
    """Deliveries of every status, events for later, an operation. Gives the ids that routes take, by path."""
    assert (await client.post("/v1/triggers/stuck/pause", None, role="admin")).status == 200
    await setting.ask("INSERT INTO users SELECT n, 'ada@example.com' FROM generate_series(1, 20) AS n")
    await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE trigger IN ('welcome-email', 'broken', 'stuck')", 60)
    await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'failed'", 20)
    later = [{"type": "ORDER_PAID", "id": str(n), "delay": f"{n}h", "data": {"n": n}} for n in range(1, 31)]
    assert (await client.post("/v1/events", [{"type": "ORDER_PAID", "data": {"id": 1}}, *later])).status == 202
    rows = await setting.ask("SELECT id::text, trigger FROM cdcd.event_logs ORDER BY id")
    of = {
        name: [str(identity) for identity, trigger in rows if trigger == name] for name in ("welcome-email", "broken", "stuck")
    }
    for identity in of["stuck"][:3]:
        assert (await client.post(f"/v1/deliveries/{identity}/cancel", None, role="admin")).status == 200
    operations = []
    for status in ("failed", "cancelled"):
        begun = await client.post(
            "/v1/operations", {"action": "replay", "filter": {"status": status}, "rate": 0.01}, role="admin"
        )
        assert begun.status == 202, begun.body
        operations.append(begun.json["id"])
    return {
        "/v1/deliveries/{id}": [*of["welcome-email"][:2], *of["broken"][:2], *of["stuck"][:4]],
        "/v1/deliveries/{id}/retry": of["broken"][2:],
        "/v1/deliveries/{id}/cancel": of["stuck"][4:],
        "/v1/deliveries/{id}/send": of["welcome-email"][:4],
        "/v1/explain/{id}": [*of["welcome-email"][:2], *of["broken"][:2], *of["stuck"][:4]],
        "/v1/operations/{id}": operations,
        "/v1/events/scheduled/{id}": [f"ORDER_PAID~{n}" for n in range(1, 31)],
    }


def configuration(setting: Setting, ids: Mapping[str, list[str]], names: list[str]) -> str:
    """schemathesis.toml: most requests are about something that is there."""
    words = {
        "names": names,
        "mine": [*MINE, "new", "braces"],
        "ticks": ["nightly", "hourly"],
        "sources": ["main"],
        "any": ["*"],
        "moments": ["2026-11-23T18:00:00Z", "2099-01-01T00:00:00Z"],
        "texts": ["ada@"],
        **{f"of {path}": found for path, found in ids.items()},
    }
    lines = [f"[dictionaries.{json.dumps(name)}]\nvalues = {json.dumps(values)}" for name, values in words.items()]

    def binding(name: str, of: str, probability: float = 0.7) -> str:
        return f'"{name}" = {{ dictionary = {json.dumps(of)}, probability = {probability} }}'

    shared = [
        *(binding("path.name", "names"), binding("path.trigger", "ticks"), binding("header.If-Match", "any")),
        *(binding("query.source", "sources", 0.4), binding("query.since", "moments"), binding("query.until", "moments")),
        binding("query.text", "texts"),
    ]
    lines.append("[parameters]\n" + "\n".join([f'"path.project" = "{setting.project}"', *shared]))
    special = {path: binding("path.id", f"of {path}") for path in ids}
    special |= {f"/v1/triggers/{{name}}{verb}": binding("path.name", "mine") for verb in ("", "/enable", "/disable")}
    for path, bound in special.items():
        lines.append(f'[[operations]]\ninclude-path = "{path}"\n[operations.parameters]\n{bound}')
    lines.append("[checks]\nenabled = false\n" + "\n".join(f"{name}.enabled = true" for name in CHECKS))
    # Deliveries have failed for good, which is a trouble.
    lines.append('[[operations]]\ninclude-path = "/healthz"\nchecks.not_a_server_error.expected-statuses = ["2XX", "4XX", 503]')
    return "\n\n".join(lines)


def met(report: Path) -> dict[str, set[int]]:
    """The statuses that were answered, by route."""
    found: dict[str, set[int]] = defaultdict(set)
    for line in report.read_text().splitlines():
        recorded = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for case, exchange in recorded.get("interactions", {}).items():
            asked = recorded["cases"][case]["value"]
            found[f"{asked['method']} {asked['path']}"].add(exchange["response"]["status_code"])
    return found


@pytest.mark.timeout(300)
async def test_every_answer_is_described(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE users (id int PRIMARY KEY, email text)")
    (tmp_path / "uploads").mkdir()
    (tmp_path / "triggers").mkdir()
    async with Endpoint() as endpoint:
        endpoint.always(Answer(body=b'{"response": 1}'))
        endpoint.always(Answer(400, b"no"), path="/broken")
        setting = Setting(tmp_path, database, endpoint)
        tick = {"type": "SCHEDULE", "webhook": endpoint.url("/tick")}
        triggers: dict[str, Any] = {
            "paid": trigger(setting, "ORDER_PAID", order="none"),
            "welcome-email": setting.trigger("/item", table="users"),
            "broken": {**setting.trigger("/broken", table="users"), **NEVER},
            "stuck": setting.trigger("/stuck", table="users"),
            "nightly": {**tick, "schedule": "30 3 * * *"},
            "hourly": {**tick, "schedule": "0 * * * *"},
            "uploaded": {"type": "FILE_CREATE", "path": "*", "webhook": endpoint.url("/hook")},
        }
        braces = json.dumps(triggers["welcome-email"])
        (tmp_path / "triggers" / "mine.yaml").write_text("triggers:\n" + "".join(f"  {name}: {braces}\n" for name in MINE))
        (tmp_path / "triggers" / "braces.yaml").write_text(f'{{"triggers": {{"braces": {braces}}}}}')
        more = {
            "events": {"ORDER_SHIPPED": {"schema": {"type": "object", "required": ["id"]}, "allow": "payload.id > 3"}},
            "storage": {"uploads": {"path": str(tmp_path / "uploads")}},
            "include": "triggers/*.yaml",
        }
        async with api(setting, triggers, **more) as client:
            ids = await filled(setting, client)
            (tmp_path / "schemathesis.toml").write_text(configuration(setting, ids, [*triggers, *MINE, "braces"]))
            command = [
                *(sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "run", f"{client.url}/v1/openapi.json"),
                *("--header", f"Authorization: Bearer {token(role='admin', aud=f'cdcd/{setting.project}')}"),
                *("--max-examples", "8", "--seed", "1", "--workers", "1", "--no-color"),
                *("--request-timeout", "10", "--phases", "examples,coverage,fuzzing"),
                *("--report", "ndjson", "--report-ndjson-path", str(tmp_path / "report.ndjson")),
            ]
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
            )
            output, _ = await process.communicate()
            print(output.decode(errors="replace"))  # shown when it fails
            assert process.returncode == 0
            assert client.daemon.find("server.failed") == []
            statuses = met(tmp_path / "report.ndjson")
            routes = {
                f"{route.method} {route.path}" for group in GROUPS for route in group.routes if route.operation is not None
            }
            assert len(routes) > 35
            assert {name for name in routes if not any(status < 300 for status in statuses[name])} <= {
                "GET /healthz",  # as above
                "GET /v1/openapi.json",  # which describes itself not
            }
