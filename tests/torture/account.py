"""The account after a torture run: what arrived, held against what is in the tables and in the event store. Pure.

A table is rebuilt from the events alone: the first receipt of each id, in order of arrival, found by `find`, replaced by `doc`.
An event that does not fit the copy as it stands (an insert of a row that is there, an update of one that is not, a version that
does not follow the one before) is a fault by itself, and named with its id.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from tests.torture.reloads import Marks
from tests.torture.world import KEYED

Row = dict[str, Any]
MOST = 12  # faults of a kind that are told


@dataclass(slots=True, frozen=True)
class Receipt:
    """One request as an endpoint got it. `again`: its id had been answered with 2xx before."""

    id: str
    path: str
    body: bytes
    number: int
    again: bool


@dataclass(slots=True)
class Faults:
    """What is wrong, by kind."""

    by_kind: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, what: str) -> None:
        self.by_kind[kind].append(what)

    def __bool__(self) -> bool:
        return bool(self.by_kind)

    def __str__(self) -> str:
        lines = []
        for kind, found in self.by_kind.items():
            lines.append(f"{kind}: {len(found)}")
            lines += [f"    {what}" for what in found[:MOST]]
        return "\n".join(lines)


def firsts(receipts: Iterable[Receipt], faults: Faults) -> list[Receipt]:
    """The first receipt of each id, in order of arrival. Every later one must be the same bytes to the same place."""
    seen: dict[str, tuple[Receipt, bytes]] = {}
    for receipt in receipts:
        digest = sha256(receipt.body).digest()
        if receipt.id not in seen:
            seen[receipt.id] = (receipt, digest)
            if json.loads(receipt.body)["id"] != receipt.id:
                faults.add("id differs between header and body", receipt.id)
        elif (seen[receipt.id][0].path, seen[receipt.id][1]) != (receipt.path, digest):
            faults.add("id came again with another body", receipt.id)
    return [receipt for receipt, _ in seen.values()]


class Copy:
    """Copies of the tables, rebuilt from events."""

    def __init__(self, name: str, faults: Faults) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], Row]] = defaultdict(dict)
        self._name = name
        self._faults = faults
        self._versions: dict[str, int] = {}
        self._lsn: dict[tuple[str, tuple[Any, ...]], str] = {}

    def apply(self, receipt: Receipt) -> None:
        event = json.loads(receipt.body)
        data = event["data"]
        table, kind = data["col"], event["type"]
        if table not in KEYED:
            self._insert(receipt, table, data["doc"])
            return
        names = KEYED[table]
        rows = self.rows[table]
        found = tuple(data["find"].values())
        if set(data["find"]) != set(names):
            self._fault("find names other columns than the key", receipt, data["find"])
        old = rows.pop(found, None) if kind != "DB_INSERT" else None
        if old is None and kind != "DB_INSERT":
            self._fault(f"{kind} of a row that is not there", receipt, found)
        if kind == "DB_DELETE":
            return
        row: Row = dict(data["doc"])
        for column in data.get("unchanged", ()):
            if old is not None:
                row[column] = old.get(column)
        key = tuple(row[name] for name in names)
        if key in rows:
            self._fault(f"{kind} makes a row that is there", receipt, key)
        rows[key] = row
        before = self._versions.get(row["rid"], -1)
        if row["v"] != before + 1:
            self._fault("version does not follow", receipt, f"{table} {key}: {before} -> {row['v']}")
        self._versions[row["rid"]] = row["v"]
        for lane in {found, key} if data["lsn"] is not None else ():
            lsn = f"{int(data['lsn'].split('/')[0], 16):08x}{int(data['lsn'].split('/')[1], 16):08x}"
            if lsn < self._lsn.get((table, lane), ""):
                self._fault("LSN goes back within a key", receipt, f"{table} {lane}")
            self._lsn[table, lane] = lsn

    def _insert(self, receipt: Receipt, table: str, row: Row) -> None:
        key = (row["client"], row["step"])
        if key in self.rows[table]:
            self._fault("inserted twice", receipt, f"{table} {key}")
        lsn = json.loads(receipt.body)["data"]["lsn"]
        if table == "ledger" and lsn is None:  # a change log is in the order in which changes were made
            steps = self.rows[""].setdefault((row["client"],), {"step": 0})
            if row["step"] < steps["step"]:
                self._fault("a client's steps out of order", receipt, f"{key} behind {steps}")
            steps["step"] = row["step"]
        elif table == "ledger":
            place = tuple(int(part, 16) for part in lsn.split("/"))
            if place < self.rows.setdefault("", {}).get((), {"place": (0, 0)})["place"]:
                self._fault("out of the order of commits", receipt, lsn)
            self.rows[""][()] = {"place": place}
        self.rows[table][key] = row

    def _fault(self, kind: str, receipt: Receipt, what: object) -> None:
        self._faults.add(f"{self._name}: {kind}", f"{receipt.id} (request {receipt.number}) {what}")

    def compare(self, real: Mapping[str, Sequence[Row]]) -> None:
        """Hold the copies against the real tables."""
        for table, rows in real.items():
            names = KEYED.get(table, ("client", "step"))
            wanted = {tuple(row[name] for name in names): row for row in rows}
            copy = self.rows[table]
            for key in wanted.keys() - copy.keys():
                self._faults.add(f"{self._name}: {table}: missing", f"{key} {_short(wanted[key])}")
            for key in copy.keys() - wanted.keys():
                self._faults.add(f"{self._name}: {table}: not in the table", f"{key} {_short(copy[key])}")
            for key in wanted.keys() & copy.keys():
                differing = {name for name in wanted[key] if wanted[key][name] != copy[key].get(name)}
                if table == "no_key":
                    differing.discard("note")  # its updates are not captured
                if differing:
                    self._faults.add(f"{self._name}: {table}: differs", f"{key} in {sorted(differing)}: {_short(copy[key])}")


def _short(row: Row) -> str:
    return str({name: value if len(str(value)) < 50 else f"{str(value)[:20]}..." for name, value in row.items()})


def check_marks(first: Iterable[Receipt], marks: Marks, faults: Faults, *, strict: bool) -> None:
    """Hold what came of the trigger that comes and goes against what must have. `strict`: nothing was ever read twice."""
    came = Counter(json.loads(receipt.body)["data"]["doc"]["id"] for receipt in first if receipt.path == "/marks")
    for number in sorted(marks.wanted - came.keys()):
        faults.add("mark: lost", str(number))
    for number in sorted(marks.unwanted & came.keys()) if strict else ():
        faults.add("mark: nobody wanted it", str(number))
    for number, times in came.items():
        if times > 1:
            faults.add("mark: under two ids", str(number))


def check_store(
    received: Mapping[str, str],
    logged: Sequence[tuple[str, str, int, str | None]],
    tried: Mapping[str, list[int]],
    faults: Faults,
) -> None:
    """`received` is the path of each id, `logged` are event_logs' (id, status, attempts, remark), `tried` the numbers of each id's recorded
    attempts."""
    ids = [id_ for id_, *_ in logged]
    if len(ids) != len(set(ids)):
        faults.add("store: an id is there twice", str(len(ids) - len(set(ids))))
    for id_ in received.keys() - set(ids):
        faults.add("store: received and not recorded", f"{id_} at {received[id_]}")
    for id_ in set(ids) - received.keys():
        faults.add("store: recorded and not received", id_)
    for id_, status, attempts, remark in logged:
        if status != "processed":
            faults.add(f"store: {status}", f"{id_} after {attempts} attempts: {remark}")
            continue
        # One that was under way when the daemon was killed may be counted and not recorded.
        numbers = sorted(tried.get(id_, []))
        if numbers[-1:] != [attempts] or numbers != sorted(set(numbers)):
            faults.add("store: attempts are not numbered", f"{id_}: {attempts} counted, recorded {numbers}")
