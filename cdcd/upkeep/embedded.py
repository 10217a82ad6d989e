"""The event store's server for a command that must write to it: the named database, or the embedded server, started if it is down."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from cdcd.config.model import Config
from cdcd.embedded.service import EmbeddedPostgres
from cdcd.upkeep.home import embedded_directory, find_home


@contextlib.asynccontextmanager
async def store_server(config: Config) -> AsyncIterator[str]:
    """The store's connection string. An embedded server that was down runs for as long as this is held, and no longer.

    Raises PermanentError when it cannot be started, also when another process has it.
    """
    home = await asyncio.to_thread(find_home, config)
    if home.dsn is not None:
        yield home.dsn
        return
    embedded = EmbeddedPostgres(embedded_directory(config))
    await embedded.start()
    try:
        yield embedded.dsn()
    finally:
        await embedded.stop()
