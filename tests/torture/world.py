"""What a torture run is made of: the tables, the configuration, and the numbers that its seed chooses."""

import random
from dataclasses import dataclass
from pathlib import Path

from tests.torture.reloads import Variant

PROJECT = "torture"
SLOT = PUBLICATION = "cdcd_torture_main"

TABLES = """
CREATE TABLE by_key (id int PRIMARY KEY, rid uuid NOT NULL, v int NOT NULL, note text, big text, amount numeric(12,2), tags text[]);
CREATE TABLE by_full (id int PRIMARY KEY, rid uuid NOT NULL, v int NOT NULL, note text, big text, extra jsonb);
CREATE TABLE by_index (serial bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, area int NOT NULL, code text NOT NULL,
                       rid uuid NOT NULL, v int NOT NULL, note text, big text);
CREATE UNIQUE INDEX by_index_code ON by_index (area, code);
CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, client int NOT NULL, step int NOT NULL);
CREATE TABLE no_key (client int NOT NULL, step int NOT NULL, note text);
CREATE TABLE scratch (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
CREATE TABLE marks (id int PRIMARY KEY);
ALTER TABLE by_key ALTER big SET STORAGE EXTERNAL;
ALTER TABLE by_full ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
ALTER TABLE by_index ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY USING INDEX by_index_code;
"""

KEYED = {"by_key": ("id",), "by_full": ("id",), "by_index": ("area", "code")}
"""Tables whose rows are inserted, updated, deleted and change their keys; and the key that events name."""

INSERTED = ("ledger", "no_key")
"""Tables that only grow."""


@dataclass(slots=True, frozen=True)
class Numbers:
    """What the seed chooses besides the course of things."""

    in_flight: int
    spill_after: float
    endpoint_concurrency: int
    own_store: bool
    keys: int
    clients: int
    think: float
    most_per_transaction: int

    @classmethod
    def of(cls, seed: int) -> "Numbers":
        chosen = random.Random(f"numbers {seed}")
        return cls(
            in_flight=chosen.choice((32, 128, 512, 2048)),
            spill_after=chosen.choice((0.05, 0.3, 1.0)),
            endpoint_concurrency=chosen.choice((2, 8, 64)),
            own_store=chosen.random() < 0.4,
            keys=chosen.choice((5, 30, 200)),
            clients=chosen.choice((3, 4, 6)),
            think=chosen.choice((0.02, 0.05)),
            most_per_transaction=chosen.choice((3, 6, 12)),
        )


TRIGGER = """\
  {name}:
    type: [{types}]
    database: main
    table: [{tables}]
    webhook: {{ url: "{url}", timeout: {timeout} }}
    retries: {{ max: 1000, backoff: fixed, first: {first}, max_interval: 1s, max_age: 1d }}
    order: {order}
"""


def write_config(
    path: Path,
    numbers: Numbers,
    url: str,
    store: str | None,
    steady: str,
    flaky: str,
    capture: str = "replication",
    variant: Variant | None = None,
) -> None:
    """Three triggers to each of two endpoints, so that each of them can rebuild the tables by itself. `variant`: of a run with reloads."""
    every = "DB_INSERT, DB_UPDATE, DB_DELETE"
    how = variant or Variant()
    spill_after = numbers.spill_after if how.spill_after is None else how.spill_after
    text = f"""\
project: {PROJECT}
secret: a secret of the torture test
databases:
  main: {{ url: "{url}", capture: {capture} }}
"""
    if store is not None:
        text += f'  store: {{ url: "{store}" }}\n'
    text += f"""\
eventing: {{ database: {"main" if store is None else "store"} }}
limits:
  in_flight: {numbers.in_flight}
  spill_after: {round(spill_after * 1000)}ms
  endpoint_concurrency: {numbers.endpoint_concurrency}
  shutdown: 2s
triggers:
"""

    def trigger(name: str, types: str, tables: str, url: str, order: str) -> str:
        made = TRIGGER.format(
            **{"name": name, "types": types, "tables": tables, "url": url, "order": order},
            timeout=how.timeout,
            first=how.first,
        )
        return made if how.concurrency is None else f"{made}    concurrency: {how.concurrency}\n"

    for name, base in (("steady", steady), ("flaky", flaky)):
        keyed = ", ".join(f"public.{table}" for table in KEYED)
        text += trigger(f"{name}-keyed", every, keyed, f"{base}/keyed", "key")
        text += trigger(f"{name}-all", "DB_INSERT", "ledger", f"{base}/all", "all")
        text += trigger(f"{name}-none", "DB_INSERT", "no_key", f"{base}/none", "none")
    if variant is not None and variant.marked:
        text += trigger("marks", "DB_INSERT", "marks", f"{steady}/marks", "key")
    if variant is not None and variant.scratch:
        text += trigger("scratch", "DB_INSERT", "scratch", f"{steady}/scratch", "none")
    beside = path.with_suffix(".tmp")
    beside.write_text(text)
    beside.replace(path)
