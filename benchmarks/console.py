"""Finding deliveries among 5 million: the first and the hundredth page of every filter through the API and in the console, one delivery,
counts, lists, and every other page of the console.

Eight days with partitions, 200 triggers from large to rare, 3 % not processed. Each answer's time is the client's, over HTTP.
"""

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.harness import SECRET, Daemon, Figure, Server, config_for, daemon, setup, until
from cdcd.config.secrets import secret_key
from cdcd.server.auth import make_token

TARGET = 0.2  # seconds
DAYS = 8
TRIGGER = """
  t1:
    type: DB_INSERT
    table: public.items
    webhook: http://127.0.0.1:1/none
  yearly:
    type: SCHEDULE
    schedule: 0 0 1 1 *
    webhook: http://127.0.0.1:1/none
"""
LOAD = """
INSERT INTO cdcd.event_logs
  (id, time, type, source, subject, trigger, key, position, payload, status, attempts, remark, created_at, settled_at)
SELECT (lpad(to_hex((extract(epoch FROM r.at) * 1000)::bigint), 12, '0') || '8' ||
        substr(r.hash, 1, 3) || '8' || substr(r.hash, 4, 15))::uuid,
       r.at, r.type, 'cdcd/bench/' || CASE WHEN r.n %% 50 = 0 THEN 'other' ELSE 'main' END, 'public.items/' || r.n %% 100000, r.trigger,
       (r.n %% 100000)::text, r.n,
       json_build_object('db', 'main', 'schema', 'public', 'col', 'items', 'doc', json_build_object('id', r.n, 'name', 'item ' || r.n,
         'text', repeat(r.hash, 8), 'rare', CASE WHEN r.n %% 1000000 = 7 THEN 'needle' END)),
       r.status, 1, CASE WHEN r.status <> 'processed' THEN 'answered ' || 500 + r.n %% 7 || ' Oops' END, r.at,
       CASE WHEN r.status <> 'staged' THEN r.at + interval '5 ms' END
FROM (
  SELECT n, md5(n::text) AS hash, %(begin)s::timestamptz + (n - %(first)s) * (interval '1 day' / %(count)s) AS at,
         CASE WHEN n %% 400000 = 11 THEN 'DB_TRUNCATE' WHEN n %% 3 = 0 THEN 'DB_UPDATE' ELSE 'DB_INSERT' END AS type,
         CASE WHEN n %% 500000 = 13 THEN 'rare' ELSE 't' || floor(power((n * 7919 %% 1000) / 1000.0, 3) * 200)::integer END AS trigger,
         CASE n %% 200 WHEN 1 THEN 'failed' WHEN 2 THEN 'failed' WHEN 3 THEN 'failed' WHEN 4 THEN 'failed' WHEN 5 THEN 'cancelled'
           WHEN 6 THEN CASE WHEN n %% 400 = 6 THEN 'staged' ELSE 'failed' END ELSE 'processed' END AS status
  FROM generate_series(%(first)s::bigint, %(first)s::bigint + %(count)s - 1) AS n
) AS r
"""
PENDING = """
INSERT INTO cdcd.pending (id, time, trigger, lane, due_at, attempts, size, last_error)
SELECT id, time, trigger, subject, now() + interval '1 day', attempts, 500, remark FROM cdcd.event_logs WHERE status = 'staged'
"""
ATTEMPTS = """
INSERT INTO cdcd.invocation_logs (event_id, time, number, status_code, response, error, duration_ms, at)
SELECT id, time, 1, 500, 'oops', remark, 5, time FROM cdcd.event_logs WHERE status = 'failed'
"""
PAGES = (
    *("/console/", "/console/triggers", "/console/triggers/t1", "/console/triggers/t1/edit", "/console/triggers/t1/try"),
    *("/console/new-trigger", "/console/queue", "/console/databases", "/console/schedules", "/console/operations"),
    *("/console/explain", "/console/sign-in"),
)
BULK = {
    "to retry what failed": {"action": "retry", "status": "failed"},
    "to cancel what waits": {"action": "cancel", "status": "staged"},
    "to replay everything": {"action": "replay"},
    "to replay a text that is nowhere": {"action": "replay", "text": "nowhere at all"},
}
FILTERS = {
    "everything": {},
    "status=failed": {"status": "failed"},
    "status=staged": {"status": "staged"},
    "status=processed": {"status": "processed"},
    "a large trigger": {"trigger": "t0"},
    "a rare trigger": {"trigger": "rare"},
    "a trigger that is none": {"trigger": "nobody"},
    "trigger and status": {"trigger": "t150", "status": "cancelled"},
    "a rare trigger's processed": {"trigger": "rare", "status": "processed"},
    "key": {"key": "4711"},
    "key and status": {"key": "4711", "status": "failed"},
    "a common type": {"type": "DB_UPDATE"},
    "a rare type": {"type": "DB_TRUNCATE"},
    "source": {"source": "other"},
    "rare text in the payload": {"text": "needle"},
    "common text in the payload": {"text": "item 4"},
    "text that is nowhere": {"text": "nowhere at all"},
    "error": {"error": "503"},
    "error that is nowhere": {"error": "nowhere"},
}


@dataclass
class Client:
    """Asks the API, and for pages; for one after another up to the `most`th."""

    port: int
    token: str
    most: int

    def get(self, path: str, **query: Any) -> tuple[float, Any]:
        """Seconds, and the answer of the API."""
        took, body = self._ask(path, query, {"Authorization": f"Bearer {self.token}"})
        return took, json.loads(body)

    def page(self, path: str, **query: Any) -> tuple[float, str]:
        """Seconds, and a page of the console."""
        took, body = self._ask(path, query, {"Cookie": f"cdcd-bench={self.token}"})
        return took, body.decode()

    def _ask(self, path: str, query: dict[str, Any], headers: dict[str, str]) -> tuple[float, bytes]:
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query)}"
        begun = time.perf_counter()
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            body: bytes = answer.read()
        return time.perf_counter() - begun, body

    def pages(self, query: dict[str, str]) -> Iterator[float]:
        """How long each page takes."""
        cursor: dict[str, str] = {}
        for _ in range(self.most):
            took, page = self.get("/v1/deliveries", **query, **cursor)
            yield took
            if "next" not in page:
                return
            cursor = {"cursor": page["next"]}

    def log_pages(self, query: dict[str, str]) -> Iterator[float]:
        """The same of the console's event log."""
        cursor: dict[str, str] = {}
        for _ in range(self.most):
            took, page = self.page("/console/events", **query, **cursor)
            yield took
            older = re.search(r"[?&;]cursor=([\w-]+)", page[page.find('id="results"') :])
            if older is None:
                return
            cursor = {"cursor": older[1]}


def run(server: Server, *, small: bool) -> list[Figure]:
    count, most = (20_000, 3) if small else (5_000_000, 100)
    dsn = server.database()
    server.execute(dsn, "CREATE TABLE items (id bigint PRIMARY KEY, body text)")
    config = config_for(dsn, TRIGGER) + "server: 127.0.0.1:0\n"
    setup(config)
    begun = time.monotonic()
    load(dsn, count)
    loaded = time.monotonic() - begun
    figures = []
    with daemon(config) as running:
        client = Client(
            port_of(running), make_token(secret_key(SECRET), "bench", {"role": "admin", "exp": time.time() + 3600}), most
        )
        client.get("/v1/deliveries")
        client.page("/console/sign-in")
        first, _ = client.page("/console/")
        since = {"since": moment(dsn, 3), "until": moment(dsn, 2)}
        for name, query in {**FILTERS, "a day": since, "a day of a trigger": {**since, "trigger": "t9"}}.items():
            times = list(client.pages(query))
            counted, _ = client.get("/v1/deliveries/count", **query)
            note = f"slowest of {len(times)} pages {max(times) * 1000:.0f} ms, count {counted * 1000:.0f} ms"
            figures.append(figure(f"log: {name}", times[0], times[-1], max(*times, counted), note))
            times = list(client.log_pages(query))
            note = f"slowest of {len(times)} pages {max(times) * 1000:.0f} ms"
            figures.append(figure(f"console's log: {name}", times[0], times[-1], max(times), note))
        identity = client.get("/v1/deliveries", status="failed")[1]["deliveries"][0]["id"]
        took, _ = client.get(f"/v1/deliveries/{identity}")
        figures.append(figure("one delivery", took, took, took, f"{count:,} deliveries loaded in {loaded:.0f} s"))
        took, _ = client.get("/v1/operations")
        figures.append(figure("operations", took, took, took, ""))
        for path in ("/v1/triggers", "/v1/triggers/t1", "/v1/databases", "/v1/storage", "/v1/schedules"):
            times = [client.get(path)[0] for _ in range(most)]
            figures.append(figure(path, times[0], times[-1], max(times), f"slowest of {most}: {max(times) * 1000:.0f} ms"))
        note = "its templates are compiled, beside the event loop, and its samples begin"
        figures.append(Figure("the first page after a start", f"{first * 1000:.0f} ms", "", first, "< 3 s", first < 3, note))
        asking: dict[str, tuple[str, dict[str, str]]] = {
            path: (path, {}) for path in (*PAGES, f"/console/deliveries/{identity}")
        }
        asking |= {name: ("/console/bulk", query) for name, query in BULK.items()}
        for name, (path, query) in asking.items():
            times = [client.page(path, **query)[0] for _ in range(most)]
            figures.append(figure(name, times[0], times[-1], max(times), f"slowest of {most}: {max(times) * 1000:.0f} ms"))
    return figures


def load(dsn: str, count: int) -> None:
    """Fill the store."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off; SET timezone = 'UTC'; SET search_path = cdcd, public")
        each = count // DAYS
        for day in range(DAYS):
            (begin,) = connection.execute("SELECT (CURRENT_DATE - %s)::timestamptz", [DAYS - 1 - day]).fetchone() or (None,)
            connection.execute("SELECT cdcd.make_day(CURRENT_DATE - %s)", [DAYS - 1 - day])
            connection.execute(LOAD, {"begin": begin, "first": day * each, "count": each})
        connection.execute(PENDING)
        connection.execute(ATTEMPTS)
        connection.execute("VACUUM (ANALYZE) event_logs")
        connection.execute("VACUUM (ANALYZE) pending")


def moment(dsn: str, days: int) -> str:
    """So many days ago, RFC 3339."""
    query = 'SELECT to_char((CURRENT_DATE - %s)::timestamp, \'YYYY-MM-DD"T"HH24:MI:SS"Z"\')'
    return str(Server.execute(dsn, query, days)[0][0])


def port_of(running: Daemon) -> int:
    """Where its API listens."""

    def look() -> int:
        lines = [json.loads(line) for line in Path(running.log.name).read_text().splitlines() if line.startswith("{")]
        return next((int(line["port"]) for line in lines if line.get("event") == "server.listening"), 0)

    return int(until(look, 10, "the API"))


def figure(name: str, first: float, last: float, worst: float, note: str) -> Figure:
    return Figure(
        name,
        f"{first * 1000:.0f} ms, hundredth {last * 1000:.0f} ms",
        "",
        worst / TARGET,
        "every answer < 200 ms",
        worst < TARGET,
        note,
    )
