"""Whether the pipeline moves: judged from memory alone, so that it can be asked every second and whatever the store and the databases do.

The rules:
- what is wrong outside of this process (a store, a database or an endpoint that is away) is trouble, and the pipeline still moves: it
  waits as it should, and a restart would help nobody;
- the pipeline stands still when something has been possible for `STILL` seconds and was not done, though nothing outside is known to be
  in the way: a claim that is not made, a connection on which nothing is heard though the server has more. A commit that does not end most
  likely waits for a lock at the server: no events are taken then, and it counts as standing still only after `WAITED` seconds;
- an event loop that does not run answers nothing: whoever asks finds out by that.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cdcd.admin.snapshot import Trouble
from cdcd.delivery.engine import Engine
from cdcd.sources.queue import QueueSource
from cdcd.sources.standing import Standing
from cdcd.store.recorder import Recorder

NOTICED = 30.0  # seconds after which something that is not done is told
STILL = 120.0  # seconds after which a restart may help
WAITED = 600.0  # the same where the store's server answers nothing: most likely it waits itself, and then a restart only repeats deliveries
UNREADY = 10.0  # seconds without the store after which no events are taken
LAG = 1.0  # seconds by which the event loop may be late
WAITING = "see on its server what it waits for: SELECT * FROM pg_stat_activity WHERE application_name LIKE 'cdcd%'"
RESTART = "restart cdcd: nothing is lost by it; and report it, with the log"


class Database(Protocol):
    """A source that reads a database."""

    name: str

    def standing(self) -> Standing: ...


@dataclass(slots=True)
class Watched:
    """What is looked at. The lists may be changed while it is."""

    engine: Engine
    recorder: Recorder
    databases: Sequence[Database]
    queue: QueueSource


class _Found(NamedTuple):
    """What is seen now. `since`: monotonic seconds; `patience`: seconds until it is told; `still`: seconds after which the pipeline stands
    still, for all we know."""

    code: str
    where: str
    what: str
    fix: str
    since: float
    patience: float = 0.0
    still: float = math.inf


class Motion:
    """Remembers since when something stands. All of it runs on the event loop."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._seen: dict[tuple[str, str], float] = {}  # monotonic seconds: when it was first seen to be so

    def troubles(self, lag: float | None = None) -> list[Trouble]:
        """What keeps the pipeline from moving now. `lag`: by how many seconds the event loop was late."""
        now, wall = time.monotonic(), time.time()
        found = list(self._look(now))
        if lag is not None and lag > LAG:
            found.append(_Found("loop.blocked", "daemon", f"the event loop was blocked for {lag:.1f} s", RESTART, now))
        self._seen = {(each.code, each.where): each.since for each in found}
        troubles = []
        for each in found:
            lasts = now - each.since
            if lasts >= each.patience:
                patient = UNREADY if each.code == "store.unavailable" else STILL if each.still < math.inf else math.inf
                troubles.append(
                    Trouble(each.code, each.what, each.where, each.fix, wall - lasts, lasts >= each.still, lasts >= patient)
                )
        return troubles

    def _look(self, now: float) -> Iterator[_Found]:
        recorder, engine, queue = self._watched.recorder, self._watched.engine, self._watched.queue
        down = recorder.trouble
        if down is not None:
            fix = down.hint or "see the server's log; cdcd goes on by itself when it is back, and nothing is lost"
            yield _Found("store.unavailable", "store", str(down), fix, recorder.trouble_since)
        else:
            if recorder.committing_since is not None:
                what = "a commit to the event store does not end: somebody holds a lock, or a disk does not answer"
                yield _Found("store.stuck", "store", what, WAITING, recorder.committing_since, NOTICED, WAITED)
            if engine.claiming_since is not None:
                what = "reading the backlog does not end"
                yield _Found("backlog.stuck", "store", what, WAITING, engine.claiming_since, NOTICED, WAITED)
            for name in engine.overdue():
                where = f"trigger {name}"
                since = self._seen.get(("backlog.overdue", where), now)
                yield _Found("backlog.overdue", where, "its backlog is due and is not sent", RESTART, since, NOTICED, STILL)
            if not engine.full and (late := queue.late) > 0:
                yield _Found("queue.stuck", "queue", "the queue is not read", RESTART, now - late, NOTICED, STILL)
        for source in self._watched.databases:
            name, standing = source.name.partition(".")[2], source.standing()
            where = f"database {name}"
            if standing.trouble:
                code = "source.stopped" if standing.permanent else "source.unavailable"
                since = now - max(0.0, time.time() - standing.since)
                yield _Found(code, where, standing.trouble, standing.hint or "cdcd tries again by itself", since)
            elif standing.reading and not standing.waits_for_room and standing.written > standing.received:
                what = "nothing is heard of the server although it has more to tell"
                yield _Found("source.silent", where, what, RESTART, standing.heard_at, NOTICED, STILL)
