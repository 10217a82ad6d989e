"""What is not well in what is seen: which states of triggers, endpoints, databases, directories and of the canary an operator must know of.

What keeps the pipeline itself from moving is judged elsewhere (`motion`).
"""

from collections.abc import Iterator, Sequence

from cdcd.admin.reload import Refused, Reloaded
from cdcd.admin.snapshot import CanaryState, DatabaseState, EndpointState, FilesState, TriggerState, Trouble
from cdcd.config.types import OWN

NEAR = 0.8  # share of its budget of WAL from which on a slot is told
SOON = 3600.0  # seconds in which the budget will be used up, from which on it is told
OLD = 900.0  # seconds: a backlog of which the oldest waits for longer is told, though its endpoint answers
MINUTES = 300.0  # seconds in which failures count
SETUP = 'see docs/operations.md ("WAL and slots"): `cdcd status` says what holds it'


def of_databases(databases: Sequence[DatabaseState], at: float) -> Iterator[Trouble]:
    """Slots that are lost, or on their way."""
    for database in databases:
        where = f"database {database.name}"
        if database.slot in ("lost", "missing"):
            what = f"its replication slot is {database.slot}: changes are not captured"
            yield Trouble(f"slot.{database.slot}", what, where, "`cdcd status` shows which; then `cdcd setup --accept-gap`", at)
        elif database.slot == "unreserved":
            yield Trouble("slot.unreserved", "the server is about to remove WAL that was not read yet", where, SETUP, at)
        elif database.held is not None and database.budget:
            share = database.held / database.budget
            soon = database.left is not None and database.left < SOON and share > 0.1
            if share > NEAR or soon:
                left = (
                    f", and in {database.left / 60:.0f} min all of it at the present rate" if database.left is not None else ""
                )
                what = f"its slot holds {share:.0%} of the WAL that it may{left}"
                yield Trouble("wal.budget", what, where, SETUP, at)


def of_endpoints(endpoints: Sequence[EndpointState], errors: dict[str, str]) -> Iterator[Trouble]:
    """Endpoints that do not answer. `errors`: by origin, what was said last."""
    for endpoint in endpoints:
        if endpoint.circuit != "closed" and endpoint.down_since is not None:
            why = f": {errors[endpoint.origin]}" if errors.get(endpoint.origin) else ""
            what = f"it does not take deliveries{why}; {endpoint.backlog} wait for it"
            fix = "mend the endpoint; cdcd tries it again by itself, and everything is delivered then"
            yield Trouble("endpoint.down", what, f"endpoint {endpoint.origin}", fix, endpoint.down_since)


def of_triggers(triggers: Sequence[TriggerState], down: frozenset[str], at: float) -> Iterator[Trouble]:
    """Triggers whose deliveries fail for good, or wait for long. `down`: the endpoints that do not answer."""
    for trigger in triggers:
        if trigger.name.startswith(OWN):
            continue  # the canary is told by itself
        where = f"trigger {trigger.name}"
        if trigger.failed_lately:
            why = f": {trigger.last_error}" if trigger.last_error else ""
            what = f"{trigger.failed_lately} deliveries failed for good in the last five minutes{why}"
            fix = f"see why (`cdcd events list --trigger {trigger.name} --status failed`), mend it and retry them"
            yield Trouble("trigger.failing", what, where, fix, at - MINUTES)
        # One that is gone has no endpoint: what it is owed waits as it should.
        taken = trigger.endpoint and trigger.endpoint not in down
        if trigger.oldest is not None and at - trigger.oldest > OLD and not trigger.paused and taken:
            what = f"{trigger.backlog} deliveries wait in the store, the oldest for {(at - trigger.oldest) / 60:.0f} min"
            fix = "the endpoint takes less than comes: see its rate and `concurrency`; or its deliveries are tried again later"
            yield Trouble("trigger.behind", what, where, fix, trigger.oldest + OLD)


def of_files(files: Sequence[FilesState], at: float) -> Iterator[Trouble]:
    """Directories that are not there."""
    for store in files:
        if store.missing:
            fix = "make or mount it, or let cdcd's user read it; nothing in it counts as deleted meanwhile"
            yield Trouble("storage.missing", f"{store.path}: {store.missing}", f"storage {store.name}", fix, at)


def of_canary(canary: CanaryState | None, at: float) -> Iterator[Trouble]:
    """A canary that does not come."""
    if canary is not None and canary.late_since is not None:
        what = f"a message through database {canary.database} did not come back as a webhook in time"
        fix = "see the other troubles; without any, the database's log and `cdcd status`"
        yield Trouble("canary.late", what, "canary", fix, min(canary.late_since, at))


def of_reload(last: Reloaded | Refused | None) -> Iterator[Trouble]:
    """A configuration that was refused: what runs is not what the files say."""
    if isinstance(last, Refused):
        fix = "mend what the log lists (`reload.refused`) and reload; or put the former files back and reload"
        yield Trouble("reload.refused", last.words, "configuration", fix, last.at)
