"""Who keeps a change log from being read: transactions that have captured something and stay open are told, each once."""

import time
from datetime import UTC, datetime

import structlog

from cdcd.changelog.horizon import Horizon, Writer
from cdcd.changelog.log import ChangeLog

log = structlog.get_logger()

PATIENCE = 30.0  # seconds


class Waiting:
    """Of one log. `now` is monotonic seconds."""

    def __init__(self, database: str, patience: float = PATIENCE) -> None:
        self._database = database
        self._patience = patience
        self._since: dict[str, float] = {}  # by the transaction's id, or while it has none its session's
        self._told: set[str] = set()

    async def look(self, horizon: Horizon, changes: ChangeLog, now: float) -> None:
        """Tell what has been waited for long. Raises ReplicationError."""
        awaited = {each.xid or each.session or "": each for each in horizon.awaited}
        self._since = {name: self._since.get(name, now) for name in awaited}
        self._told &= awaited.keys()
        for name, writer in awaited.items():
            if name not in self._told and now - self._since[name] >= self._patience:
                await self._tell(writer, changes)
                self._told.add(name)

    async def _tell(self, writer: Writer, changes: ChangeLog) -> None:
        who = await changes.who(writer)
        if who is None:
            return
        since = who.since if who.since is not None else time.time() - self._patience
        log.warning(
            "changelog.waiting",
            database=self._database,
            pid=writer.pid,
            application=who.application,
            state=who.state,
            since=datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds"),
            hint="this transaction has changed captured rows and is open: what was captured after them is not delivered until it ends",
        )
