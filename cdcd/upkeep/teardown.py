"""`cdcd teardown`: removes slots, publications, change logs and event store, and leaves nothing of cdcd behind. A second run does nothing.

The rule: nothing is touched while somebody uses any of it. First everything is looked at, then the store goes (its removal is
refused while a daemon owns it), then slots and publications. A change log goes before the store, whose schema may be the same one.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cdcd.changelog.install import Installed, inspect, remove, remove_sql
from cdcd.changelog.names import Names
from cdcd.config.model import Config, Database
from cdcd.embedded.postgres import PostgresServer
from cdcd.errors import SlotInUse, SourceNotReady, SourceUnavailable, StoreRefused, StoreUnavailable
from cdcd.replication import publication, slot
from cdcd.replication.walsender import Connection
from cdcd.sources.logged import names_of
from cdcd.sources.opening import connect
from cdcd.sources.tables import insert_only_name
from cdcd.sources.translate import translated
from cdcd.store.migrate import drop, drop_sql
from cdcd.store.standing import look
from cdcd.upkeep.home import Home, find_home
from cdcd.upkeep.slots import reader, wrong_slot

Tell = Callable[[str], None]


@dataclass(slots=True)
class Remains:
    """What there is to remove. `unreached`: what could not be looked at, in words."""

    slots: list[Database] = field(default_factory=list)
    publications: list[tuple[Database, str]] = field(default_factory=list)
    logs: list[tuple[Database, Installed]] = field(default_factory=list)
    store: Home | None = None
    unreached: list[str] = field(default_factory=list)
    names: Names = field(default_factory=lambda: Names("cdcd"))

    @property
    def nothing(self) -> bool:
        return not (self.slots or self.publications or self.logs or self.store)

    def words(self) -> list[str]:
        """A line for each thing."""
        lines = [f"database {database.name}: replication slot {database.slot}" for database in self.slots]
        lines += [f"database {database.name}: publication {name}" for database, name in self.publications]
        lines += [f"database {database.name}: change log and its triggers" for database, _ in self.logs]
        if self.store is not None:
            lines.append(f"event store, with every recorded delivery: {self.store.words}")
        return lines

    def sql(self) -> str:
        """The same as statements, by database."""
        parts: list[str] = []
        for database in {database.name: database for database in [*self.slots, *(d for d, _ in self.publications)]}.values():
            parts.append(f"-- in database {database.name}")
            parts += [f"{slot.drop_sql(each.slot)};" for each in self.slots if each is database]
            parts += [f"{publication.drop_sql(name)};" for each, name in self.publications if each is database]
        for database, installed in self.logs:
            parts.append(f"-- in database {database.name}")
            parts += [f"{text};" for text in remove_sql(self.names, installed)]
        if self.store is not None and self.store.embedded:
            parts.append(f"-- the embedded event store:\n--   rm -r {self.store.directory}")
        elif self.store is not None:
            parts.append(f"-- the event store, in database {self.store.database}\n{drop_sql(self.store.schema).strip()}")
        return "\n".join(parts) + "\n"


async def look_for(config: Config) -> Remains:
    """What there is. Raises SlotInUse and StoreRefused while a daemon runs, and for what is not ours."""
    remains = Remains(names=names_of(config))
    for database in config.databases.values():
        try:
            with translated(database):
                async with await connect(database, application_name="cdcd teardown") as catalog:
                    await _look(catalog, database, remains, config.project)
        except SourceUnavailable as error:
            remains.unreached.append(str(error))
    home = await asyncio.to_thread(find_home, config)
    if home.dsn is None:
        remains.store = home if home.made else None
        return remains
    try:
        standing = await look(home.dsn, home.schema, config.project)
    except StoreUnavailable as error:
        remains.unreached.append(str(error))
        return remains
    if standing.owner:
        raise StoreRefused(f"a running cdcd has the event store in use ({standing.owner})", hint="stop it first")
    if standing.made or home.embedded:
        remains.store = home
    return remains


async def _look(catalog: Connection, database: Database, remains: Remains, project: str) -> None:
    state = await slot.inspect(catalog, database.slot)
    if state is not None and not wrong_slot(database, catalog.info.dbname, state):
        if state.active_pid is not None:
            raise SlotInUse(
                f"database {database.name!r}: the slot {database.slot!r} is being read "
                f"({await reader(catalog, state.active_pid)})",
                hint="stop that cdcd first",
            )
        remains.slots.append(database)
    for name in (database.publication, insert_only_name(database.publication)):
        if await publication.inspect(catalog, name) is not None:
            remains.publications.append((database, name))
    installed = await inspect(catalog, remains.names)
    if installed is not None and installed.project == project:
        remains.logs.append((database, installed))


async def teardown(config: Config, remains: Remains, tell: Tell) -> None:
    """Remove what was found. Raises StoreRefused, SlotInUse, PermanentError, SourceNotReady (not permitted)."""
    for database, installed in remains.logs:  # before the store, whose schema may be theirs
        with _ours(), translated(database):
            async with await connect(database, application_name="cdcd teardown") as catalog:
                await remove(catalog, remains.names, installed)
                tell(f"database {database.name}: change log and its triggers removed")
    home = remains.store
    if home is not None and home.embedded:
        assert home.directory is not None
        await asyncio.to_thread(_remove_embedded, home.directory)
        tell(f"event store: {home.words} removed")
    elif home is not None and home.dsn is not None and await drop(home.dsn, home.schema, config.project):
        tell(f"event store: {home.words} removed")
    for database in config.databases.values():
        names = [name for each, name in remains.publications if each is database]
        if database not in remains.slots and not names:
            continue
        with _ours(), translated(database):
            async with await connect(database, application_name="cdcd teardown") as catalog:
                if database in remains.slots:
                    await slot.drop(catalog, database.slot)
                    tell(f"database {database.name}: slot {database.slot} dropped")
                for name in names:
                    await publication.drop(catalog, name)
                    tell(f"database {database.name}: publication {name} dropped")


@contextlib.contextmanager
def _ours() -> Iterator[None]:
    """Within this, what may not be removed is somebody else's, who made it from printed SQL: he must remove it too."""
    try:
        yield
    except SourceNotReady as error:
        raise SourceNotReady(str(error), hint="let whoever owns it run what `cdcd teardown --print` shows") from error


def _remove_embedded(directory: Path) -> None:
    """The server's directory, wherever it really is, and the state directory if nothing else is in it."""
    PostgresServer(directory, Path("/nonexistent")).remove()
    if directory.parent.exists() and not any(directory.parent.iterdir()):
        directory.parent.rmdir()
