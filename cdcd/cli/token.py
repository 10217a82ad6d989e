"""`cdcd token`: a token for the API."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cdcd.cli.options import ConfigOption, load_or_exit
from cdcd.config.model import Server
from cdcd.config.quantities import duration
from cdcd.server.auth import make_token

_OURS = frozenset({"aud", "iat", "exp", "nbf", "role"})


def console_address(server: Server, token: str) -> str:
    """The address of the console that signs in with a token. It is the fragment, which reaches no server and no log."""
    return f"{server.url}/console/#token={token}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(token)


def token(
    config: ConfigOption = Path("cdcd.yaml"),
    role: Annotated[
        str,
        typer.Option(
            help="admin, operator, viewer or queue; any other may queue what `allow` allows. Several, with commas between."
        ),
    ] = "app",
    ttl: Annotated[str, typer.Option(help="How long it is good: 15m, 12h, 90d.")] = "1h",
    subject: Annotated[str | None, typer.Option(help="Who has it: the claim sub, which is noted with what they do.")] = None,
    console: Annotated[
        bool, typer.Option("--console", help="Print the console's address with the token, which signs in.")
    ] = False,
    claim: Annotated[
        list[str] | None, typer.Option(help="A further claim for `allow`: sub=alice. JSON where it is JSON. May be repeated.")
    ] = None,
) -> None:
    """Print a token (JWT) for the HTTP API and the console, signed with the first of `server.secrets`, else the project's.

    Whoever has it may do what its role may until it expires; it cannot be taken back but by changing the secret. admin may everything;
    operator sees everything, retries, cancels, replays, queues and pauses; viewer sees; queue queues.

    With --console it is the console's address with the token, which signs in: open it, and keep it as you would the token.
    It is behind the #, which browsers send to nobody.

    Exit codes: 0 printed, 1 a mistake in the configuration, 2 a wrong option.

    Examples: `cdcd token --role operator --subject alice --ttl 12h`, `cdcd token --role admin --console`,
    `curl -H "Authorization: Bearer $(cdcd token --ttl 5m)" ...`
    """
    loaded = load_or_exit(config)
    try:
        seconds = duration(ttl)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ttl") from error
    now = int(time.time())
    claims: dict[str, Any] = {"role": role if "," not in role else [one.strip() for one in role.split(",")]}
    if subject:
        claims["sub"] = subject
    for each in claim or []:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise typer.BadParameter("write it as NAME=VALUE", param_hint="--claim")
        if name in _OURS or (name == "sub" and subject):
            raise typer.BadParameter(f"{name} is set by cdcd itself", param_hint="--claim")
        try:
            claims[name] = json.loads(value)
        except ValueError:
            claims[name] = value
    if console and (loaded.server is None or loaded.server.port == 0):
        why = "the configuration has no `server`" if loaded.server is None else "`server` has no port that is known beforehand"
        raise typer.BadParameter(f"{why}, so there is no address", param_hint="--console")
    made = make_token(loaded.token_secrets[0], loaded.project, {**claims, "iat": now, "exp": now + max(1, round(seconds))})
    print(console_address(loaded.server, made) if console and loaded.server is not None else made)
    if sys.stdout.isatty() and loaded.server is None:
        print("(the configuration has no `server`: there is no API yet)", file=sys.stderr)
