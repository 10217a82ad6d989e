"""Checks of where the API listens: by listening there, for a moment."""

import asyncio
import errno
import socket

from cdcd.config.model import Server
from cdcd.upkeep.finding import Level, Section

FIX = "stop what listens there, or set server.listen to another address"


async def check_listening(server: Server | None, store: Section) -> Section | None:
    """`store` are the findings about the event store: they tell whether a daemon runs, which then listens there itself."""
    if server is None:
        return None
    section = Section("API")
    where = f"{server.host}:{server.port}"
    try:
        await _listen(server.host, server.port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            section.mistake("listen", f"it cannot listen on {where}: {error.strerror or error}", FIX)
        elif store.has(Level.OK, "owner"):
            section.ok("listen", f"{where} is in use, as by the cdcd that runs")
        elif store.has(Level.UNKNOWN):
            section.warning("listen", f"{where} is in use: by a cdcd that runs, or by something else", FIX)
        else:
            section.mistake("listen", f"{where} is in use, and not by this project's cdcd, which does not run", FIX)
    else:
        section.ok("listen", f"it can listen on {where}")
    return section


async def _listen(host: str, port: int) -> None:
    """Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as trying:
            trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                trying.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            trying.bind(address)
            trying.listen(1)
