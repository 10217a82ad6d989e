"""Where the event store is, looked up without starting or changing anything.

The embedded server runs only while `cdcd run` (or `cdcd setup`) does. Whether it runs, and on which socket, is read from
`postmaster.pid` (src/include/utils/pidfile.h: line 1 pid, 4 port, 5 socket directory, 8 state).
"""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from cdcd.config.model import Config


@dataclass(slots=True, frozen=True)
class Home:
    """`dsn` None: the embedded server, which does not run at the moment. `directory` is its own; None for a named database.

    `made`: there is such a server (running or not). `denied`: its directory belongs to another user, so nothing can be told.
    """

    dsn: str | None = field(repr=False)
    database: str | None
    schema: str
    directory: Path | None = None
    made: bool = True
    denied: bool = False

    @property
    def embedded(self) -> bool:
        return self.database is None

    @property
    def words(self) -> str:
        """Where it is, for a person."""
        if self.database is not None:
            return f"schema {self.schema} in database {self.database}"
        return f"embedded server in {self.directory}"


def embedded_directory(config: Config) -> Path:
    """The directory of the embedded server, as `cdcd.app` gives it."""
    return config.eventing.state_dir / "postgres"


def find_home(config: Config) -> Home:
    """Where the store of this configuration is."""
    eventing = config.eventing
    if eventing.database is not None:
        return Home(config.databases[eventing.database].url, eventing.database, eventing.schema)
    directory = embedded_directory(config)
    try:
        made = (directory / "data").exists()
        lines = (directory / "data" / "postmaster.pid").read_text().splitlines() if made else []
    except FileNotFoundError:
        lines, made = [], True
    except PermissionError:
        return Home(None, None, eventing.schema, directory, made=True, denied=True)
    if len(lines) < 8 or lines[7].strip() != "ready":
        return Home(None, None, eventing.schema, directory, made)
    dsn = f"postgresql://postgres@/postgres?host={quote(lines[4].strip(), safe='')}&port={lines[3].strip()}"
    return Home(dsn, None, eventing.schema, directory)
