"""What a torture run is made of: the tables, the configuration, and the numbers that its seed chooses."""

import random
from dataclasses import dataclass
from pathlib import Path

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
    webhook: {{ url: "{url}", timeout: 1s }}
    retries: {{ max: 1000, backoff: fixed, first: 100ms, max_interval: 1s, max_age: 1d }}
    order: {order}
"""


def write_config(
    path: Path, numbers: Numbers, url: str, store: str | None, steady: str, flaky: str, capture: str = "replication"
) -> None:
    """Three triggers to each of two endpoints, so that each of them can rebuild the tables by itself."""
    every = "DB_INSERT, DB_UPDATE, DB_DELETE"
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
  spill_after: {round(numbers.spill_after * 1000)}ms
  endpoint_concurrency: {numbers.endpoint_concurrency}
  shutdown: 2s
triggers:
"""
    for name, base in (("steady", steady), ("flaky", flaky)):
        keyed = ", ".join(f"public.{table}" for table in KEYED)
        text += TRIGGER.format(name=f"{name}-keyed", types=every, tables=keyed, url=f"{base}/keyed", order="key")
        text += TRIGGER.format(name=f"{name}-all", types="DB_INSERT", tables="ledger", url=f"{base}/all", order="all")
        text += TRIGGER.format(name=f"{name}-none", types="DB_INSERT", tables="no_key", url=f"{base}/none", order="none")
    path.write_text(text)
