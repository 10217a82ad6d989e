"""How a command reaches its powers: the admin API of the daemon that runs, or the same API within this process when none does.

- `--url` and `--token` (`CDCD_URL`, `CDCD_TOKEN`): that daemon, wherever it is, and nothing else;
- otherwise the configuration says where the daemon listens, and its secret makes a token that is good for a minute;
- where nobody listens, or the configuration has no `server`, the event store itself. A daemon that runs without `server` owns it: then
  commands can look, and change nothing.
"""

import getpass
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp

from cdcd.cli.asking import Declined, Network, Query, Unreachable, Way
from cdcd.cli.options import Where, load_or_exit
from cdcd.errors import PermanentError, StoreUnavailable

if TYPE_CHECKING:
    from cdcd.config.model import Config, Secret, Server

TOKEN_TTL = 60  # seconds
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where to ask one that listens there

Body = dict[str, Any]


class Reach:
    """What commands can ask, each thing once; answers are the API's JSON. Raises CdcdError."""

    def __init__(self, way: Way) -> None:
        self._way = way

    @property
    def direct(self) -> bool:
        """Whether this process is all there is: nobody goes on with what it leaves."""
        return self._way.direct

    @property
    def words(self) -> str:
        """Where it is asked, for people."""
        return self._way.words

    async def _get(self, path: str, query: Query = ()) -> Any:
        return (await self._way.ask("GET", path, query)).json

    async def _post(self, path: str, body: object = None, query: Query = (), headers: Mapping[str, str] | None = None) -> Any:
        return (await self._way.ask("POST", path, query, body, headers)).json

    async def deliveries(self, wanted: Query, cursor: str | None = None, limit: int = 50) -> Body:
        """`GET /v1/deliveries`."""
        more = [("cursor", cursor)] if cursor else []
        found: Body = await self._get("/v1/deliveries", [*wanted, ("limit", str(limit)), *more])
        return found

    async def count(self, wanted: Query) -> Body:
        """`GET /v1/deliveries/count`."""
        found: Body = await self._get("/v1/deliveries/count", wanted)
        return found

    async def delivery(self, identity: str) -> Body:
        """`GET /v1/deliveries/{id}`."""
        found: Body = await self._get(f"/v1/deliveries/{_part(identity)}")
        return found

    async def act(self, identity: str, action: str, query: Query = ()) -> Body:
        """`POST /v1/deliveries/{id}/retry` or `cancel`."""
        done: Body = await self._post(f"/v1/deliveries/{_part(identity)}/{action}", query=query)
        return done

    async def send(self, identity: str, url: str) -> Body:
        """`POST /v1/deliveries/{id}/send`."""
        sent: Body = await self._post(f"/v1/deliveries/{_part(identity)}/send", {"url": url})
        return sent

    async def operate(self, order: Body) -> Body:
        """`POST /v1/operations`: an operation that runs, or with `dryRun` what it would do."""
        begun: Body = await self._post("/v1/operations", order)
        return begun

    async def operations(self, limit: int, cursor: str | None = None) -> Body:
        """`GET /v1/operations`."""
        found: Body = await self._get("/v1/operations", [("limit", str(limit)), *([("cursor", cursor)] if cursor else [])])
        return found

    async def operation(self, identity: str) -> Body:
        """`GET /v1/operations/{id}`."""
        found: Body = await self._get(f"/v1/operations/{_part(identity)}")
        return found

    async def stop(self, identity: str) -> Body:
        """`DELETE /v1/operations/{id}`."""
        stopped: Body = (await self._way.ask("DELETE", f"/v1/operations/{_part(identity)}")).json
        return stopped

    async def explain(self, identity: str) -> Body:
        """`GET /v1/explain/{id}`."""
        found: Body = await self._get(f"/v1/explain/{_part(identity)}")
        return found

    async def explain_row(self, asked: Body) -> Body:
        """`POST /v1/explain`."""
        found: Body = await self._post("/v1/explain", asked)
        return found

    async def queue(self, event: Body, wait: float | None) -> Body:
        """`POST /v1/events`."""
        queued: Body = await self._post("/v1/events", event, headers={"Prefer": f"wait={wait:g}"} if wait else None)
        return queued

    async def pause(self, trigger: str, action: str) -> Body:
        """`POST /v1/triggers/{name}/pause` or `resume`."""
        done: Body = await self._post(f"/v1/triggers/{_part(trigger)}/{action}")
        return done

    async def triggers(self) -> Body:
        """`GET /v1/triggers`."""
        found: Body = await self._get("/v1/triggers")
        return found

    async def trigger(self, name: str) -> Body:
        """`GET /v1/triggers/{name}`."""
        found: Body = await self._get(f"/v1/triggers/{_part(name)}")
        return found

    async def attempt(self, asked: Body) -> Body:
        """`POST /v1/triggers/try`."""
        found: Body = await self._post("/v1/triggers/try", asked)
        return found


def _part(text: str) -> str:
    return quote(text, safe="")


@asynccontextmanager
async def reached(where: Where) -> AsyncIterator[Reach]:
    """Within, there is somebody to ask. Raises CdcdError."""
    if where.url is not None:
        async with Network(where.url, _given_token(where)).opened() as network:
            yield Reach(network)
        return
    config = load_or_exit(where.config, expressions=False)
    if config.server is not None:
        url = address_of(config.server)
        async with Network(url, lambda: own_token(config), pinned(config.server)).opened() as network:
            if await _answers(network):
                try:
                    yield Reach(network)
                except Declined as error:
                    if error.status == 401:
                        error.hint = f"what listens at {url} has other secrets: another project's daemon, or one from before they changed"
                    raise
                return
        nobody = f"no daemon answers at {url}"
        advice = f"cdcd runs, and its API at {url} does not answer: look at its log, or stop it"
    else:
        nobody = "the configuration has no `server`, so a daemon was not asked"
        advice = "let the daemon that runs be asked: give it `server: {listen: 127.0.0.1:4122}` and restart it; or stop it"
    from cdcd.cli.inside import Inside  # it takes long to import, and where a daemon answers nobody needs it

    try:
        async with Inside(load_or_exit(where.config), user(), advice).opened() as inside:
            if sys.stderr.isatty() and not where.quiet:
                print("(no daemon answers: asking the event store itself)", file=sys.stderr)
            yield Reach(inside)
    except StoreUnavailable as error:
        error.hint = error.hint or f"start the server of the event store, and cdcd ({nobody})"
        raise


async def _answers(network: Network) -> bool:
    try:
        await network.ask("GET", "/livez")
    except Unreachable:
        return False
    except Declined as error:
        if not error.status:
            raise
    return True


def address_of(server: "Server") -> str:
    """Where this machine asks a daemon that listens there."""
    host = EVERYWHERE.get(server.host, server.host)
    return f"{'https' if server.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{server.port}"


def own_token(config: "Config") -> str:
    """A short-lived token of the configuration's own secret."""
    return token_of(config, config.token_secrets[0])


def token_of(config: "Config", secret: "Secret") -> str:
    """The same of this one of its secrets."""
    from cdcd.server.auth import make_token

    now = int(time.time())
    claims = {"role": "admin", "sub": user(), "iat": now, "exp": now + TOKEN_TTL}
    return make_token(secret, config.project, claims)


def user() -> str:
    """Who runs the command, as it is noted where something is changed."""
    try:
        return f"{getpass.getuser()} on the command line"
    except (KeyError, OSError):
        return "the command line"


def _given_token(where: Where) -> Any:
    if where.token is not None:
        return lambda: where.token
    if not where.config.exists():
        raise PermanentError(
            "there is no token for that URL",
            hint="give one that `cdcd token --role operator` made there: --token, or CDCD_TOKEN",
        )
    config = load_or_exit(where.config, expressions=False)
    return lambda: own_token(config)


def pinned(server: "Server") -> aiohttp.Fingerprint | bool:
    """This machine's own daemon must show the certificate of the configuration, whatever name that is for."""
    if server.tls is None:
        return True
    try:
        text = server.tls[0].read_text("ascii")
        end = "-----END CERTIFICATE-----"
        first = text[text.index("-----BEGIN CERTIFICATE-----") : text.index(end) + len(end)]
        return aiohttp.Fingerprint(sha256(ssl.PEM_cert_to_DER_cert(first)).digest())
    except (OSError, ValueError) as error:
        raise PermanentError(
            f"server.tls: the certificate cannot be read: {error}", hint="or name the daemon with --url"
        ) from error
