"""One owner: a session advisory lock makes a daemon the only writer of a store, and an epoch tells it when it was not.

Claims need no lease because nobody else claims. So the lock is taken before anything is written, and again on every new
connection. Between the two another daemon may have owned the store; what this one holds in memory is then out of date. Each
daemon that becomes the owner begins a new epoch, so the former one sees it and ends instead of writing.
"""

from cdcd.errors import StoreRefused, StoreUnavailable
from cdcd.store.connection import Connection, run
from cdcd.store.migrate import check_project, check_version


class Ownership:
    """The owner's lock over all connections of one recorder. Its methods run on a connection that writes nothing yet."""

    def __init__(self, schema: str, project: str) -> None:
        self._schema = schema
        self._project = project
        self._epoch: int | None = None
        self._former: tuple[int, str] | None = None  # pid and start of the backend that holds, or held, the lock for us

    async def take(self, connection: Connection) -> None:
        """Become the owner on this connection. StoreUnavailable says who is; StoreRefused that somebody was meanwhile."""
        row = await (await run(connection, "store_of")).fetchone()
        if row is None:
            raise StoreRefused(f"the event store {self._schema!r} is incomplete", hint="run `cdcd setup`")
        check_project(self._schema, row[0], self._project)
        check_version(self._schema, row[1])
        held = await (await run(connection, "own")).fetchone()
        if held is None or not held[0]:
            await self._held_by_another(connection)
        if self._epoch is None:
            begun = await (await run(connection, "begin_epoch")).fetchone()
            self._epoch = begun[0] if begun else 0
        else:
            epoch = await (await run(connection, "epoch")).fetchone()
            if not epoch or epoch[0] != self._epoch:
                raise StoreRefused(
                    f"another cdcd took over the event store {self._schema!r} while this one was cut off from it",
                    hint="run one daemon for a project; start this one again when the other has ended",
                )
        self._former = (held[1], held[2]) if held else None

    async def _held_by_another(self, connection: Connection) -> None:
        owner = await (await run(connection, "owner")).fetchone()
        if owner is None:
            raise StoreUnavailable(f"the event store {self._schema!r} was in use by another session a moment ago")
        pid, application, address, since = owner
        if (pid, since) == self._former:
            await run(connection, "end_backend", pid)
            raise StoreUnavailable(f"waiting for the end of our former session (pid {pid}) on the event store")
        raise StoreUnavailable(
            f"the event store {self._schema!r} is in use by another cdcd: pid {pid}, application {application!r}, "
            f"address {address}, since {since}",
            hint="one daemon for a project: stop the other, or give this project its own eventing.schema",
        )
