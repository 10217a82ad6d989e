"""`cdcd health`: is all well? Asks the daemon of this configuration, as a container's or a monitor's health check.

Without `server:` nobody answers questions; then whoever has the store in use is the answer.
"""

import asyncio
import http.client
import json
import ssl
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cdcd.cli.options import ConfigOption, load_or_exit
from cdcd.config.model import Config, Server
from cdcd.errors import CdcdError
from cdcd.store.standing import look
from cdcd.upkeep.home import find_home

WITHIN = 5.0  # seconds
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- what listens there is asked on loopback


class Asked(StrEnum):
    """What is asked for; the paths are the server's."""

    WELL = "/healthz"
    READY = "/readyz"
    LIVE = "/livez"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(health)


def health(
    config: ConfigOption = Path("cdcd.yaml"),
    live: Annotated[bool, typer.Option("--live", help="Only whether the pipeline moves: a restart may help if not.")] = False,
    ready: Annotated[bool, typer.Option("--ready", help="Only whether events are taken.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as JSON.")] = False,
) -> None:
    """Is all well? Exit code 0: yes, 1: no, or nobody answers.

    Asks the running daemon by its `server:` address; without one, looks whether a daemon has the event store in use.

    Example: `cdcd health --live -c /etc/cdcd/cdcd.yaml`, as a container's health check.
    """
    loaded = load_or_exit(config)
    asked = Asked.LIVE if live else Asked.READY if ready else Asked.WELL
    if loaded.server is not None:
        well, found = _ask(loaded.server, asked)
    else:
        well, found = asyncio.run(_owned(loaded))
    if as_json:
        print(json.dumps(found))
    elif well:
        print("ok")
    else:
        for each in found.get("troubles") or [{"where": "cdcd", "what": found.get("error", "it says no")}]:
            print(f"{each['where']}: {each['what']}" + (f"\n  {each['fix']}" if each.get("fix") else ""))
    raise typer.Exit(0 if well else 1)


def _ask(server: Server, asked: Asked) -> tuple[bool, dict[str, Any]]:
    host = ANYWHERE.get(server.host, server.host)
    if server.tls is None:
        connection = http.client.HTTPConnection(host, server.port, timeout=WITHIN)
    else:
        # It is our own daemon, and no secret is sent: the certificate is for another name than this address.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, server.port, timeout=WITHIN, context=context)
    try:
        connection.request("GET", asked.value)
        answer = connection.getresponse()
        return answer.status == 200, dict(json.loads(answer.read()))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return False, {"status": "trouble", "error": f"no answer from {host}:{server.port}: {error}"}
    finally:
        connection.close()


async def _owned(config: Config) -> tuple[bool, dict[str, Any]]:
    home = find_home(config)
    if home.dsn is None:
        return False, {"status": "trouble", "error": "no daemon runs here"}
    try:
        async with asyncio.timeout(WITHIN):
            standing = await look(home.dsn, home.schema, config.project)
    except (CdcdError, TimeoutError) as error:
        return False, {"status": "trouble", "error": str(error) or "no answer in time"}
    if not standing.owner:
        return False, {"status": "trouble", "error": "no daemon has the event store in use"}
    return True, {"status": "ok"}
