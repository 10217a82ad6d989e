"""The neighbours of a demo: an embedded Postgres with the shop's database, endpoints, cdcd and a client as processes of their own."""

import asyncio
import contextlib
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import psycopg

from cdcd.demo.account import Account, Arrival, TriggerAccount
from cdcd.demo.http import Request
from cdcd.demo.receiver import Behaviour, Received, Receiver
from cdcd.demo.workload import SCHEMA
from cdcd.embedded.service import EmbeddedPostgres
from cdcd.errors import PermanentError

DATABASE = "shop"
READY_WITHIN = 60.0  # seconds

CONFIG = """\
# The configuration of `cdcd demo`, which writes it anew at every start; its server and its endpoints end with the demo.
# To go on from here: copy it, put in the url of your own database and webhooks, and run `cdcd check -c` with the copy.
project: demo
secret: ${{file:secret}}

databases:
  shop:
    url: {url}

storage:
  uploads:
    path: {uploads}

eventing:
  database: shop            # event_logs and invocation_logs live beside the shop, in the schema cdcd

server: 127.0.0.1:{port}    # the console and the API; a token to sign in with: cdcd token -c FILE --role admin

include: triggers/*.yaml    # where the console writes triggers

triggers:
  fulfilment:               # a healthy endpoint
    type: [DB_INSERT, DB_UPDATE, DB_DELETE]
    table: public.orders
    webhook: {orders}/fulfilment

  search-index:             # answers 503 to one request in seven
    type: [DB_INSERT, DB_UPDATE, DB_DELETE]
    table: public.products
    webhook: {search}/search-index
    retries: {{ max: 50, first: 100ms, factor: 2, max_interval: 2s }}

  welcome-mail:             # dead for a while
    type: [DB_INSERT, DB_UPDATE, DB_DELETE]
    table: public.customers
    webhook: {mail}/welcome-mail
    retries: {{ max: 50, first: 200ms, factor: 2, max_interval: 2s }}

  invoice:                  # queued in SQL, in the transaction that pays: SELECT cdcd.queue('ORDER_PAID', ...)
    type: ORDER_PAID
    webhook: {events}/invoice

  thanks:                   # queued by what /invoice answers: {{"event": {{"type": "INVOICE_SENT", ...}}}}
    type: INVOICE_SENT
    webhook: {events}/thanks

  reminder:                 # queued for later: SELECT cdcd.queue('REMINDER', ..., delay => '2 seconds')
    type: REMINDER
    webhook: {events}/reminder

  thumbnails:               # a file that is dropped into the folder
    type: FILE_CREATE
    storage: uploads
    path: "*.jpg"
    webhook: {events}/thumbnails

  report:                   # every minute
    type: SCHEDULE
    schedule: "* * * * *"
    webhook: {events}/report

  warehouse:                # answers 503 to six in ten and is given up on soon: look at it in the console, and retry what failed
    type: DB_INSERT
    table: public.orders
    webhook: {warehouse}/warehouse
    retries: {{ max: 2, first: 500ms }}
"""

TABLES = {"fulfilment": "orders", "search-index": "products", "welcome-mail": "customers"}
EVENTS = {"invoice": "ORDER_PAID", "thanks": "ORDER_PAID", "reminder": "REMINDER", "thumbnails": "FILE_CREATE"}
"""What the client counts for each trigger: for `thanks`, whose events it knows nothing of, those that they follow. `report`, `warehouse`
and what somebody adds in the console are not of the account."""
PORT = 4122  # of the console, where it is free


@dataclass(slots=True)
class Process:
    """A child process that is stopped with its parent."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    async def end(self, number: signal.Signals, within: float = 20.0) -> int:
        """Send a signal, wait; the exit code."""
        if self.running:
            self.process.send_signal(number)
        try:
            async with asyncio.timeout(within):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            return await self.process.wait()


def _invoice_sent(request: Request) -> bytes:
    """What /invoice answers: the next event."""
    if request.path != "/invoice":
        return b""
    data = orjson.loads(request.body).get("data")
    if not isinstance(data, dict) or "order" not in data:
        return b""  # somebody queued it in the console
    order = data["order"]
    return orjson.dumps({"event": {"type": "INVOICE_SENT", "payload": {"order": order}, "key": str(order)}})


def _free(wanted: int) -> int:
    """This port of loopback, or another when it is taken."""
    for port in (wanted, 0):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                trial.bind(("127.0.0.1", port))
                return int(trial.getsockname()[1])
    raise PermanentError("no port of 127.0.0.1 is free", hint="end what listens there")


class Stage:
    """Everything around the demo. `told` hears what happens, in words."""

    def __init__(self, folder: Path, told: Callable[[str], None]) -> None:
        self.folder = folder
        self.config = folder / "cdcd.yaml"
        self.uploads = folder / "uploads"
        self.account = Account(frozenset({"fulfilment"}), {name: TriggerAccount() for name in (*TABLES, *EVENTS)})
        self.endpoints: dict[str, Receiver] = {}
        self.recent: list[tuple[str, Arrival]] = []
        self.cdcd: Process | None = None
        self._told = told
        self._key = secrets.token_hex(32)
        self._server = EmbeddedPostgres(folder / "postgres", port=0)
        self._client: Process | None = None

    async def start(self) -> None:
        """Server, database, endpoints and configuration. Raises PermanentError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await self._server.start()
        with psycopg.connect(self._server.dsn(), autocommit=True) as admin:
            # Each demo begins anew; what an earlier one left is gone with its database.
            for (slot,) in admin.execute(
                "SELECT slot_name FROM pg_replication_slots WHERE database = %s AND NOT active", [DATABASE]
            ).fetchall():
                admin.execute("SELECT pg_drop_replication_slot(%s)", [slot])
            admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {DATABASE}")
        with psycopg.connect(self._server.dsn(DATABASE), autocommit=True) as shop:
            shop.execute(SCHEMA)
        shutil.rmtree(self.uploads, ignore_errors=True)
        self.uploads.mkdir()
        for name, behaviour in (
            ("fulfilment", Behaviour()),
            ("search-index", Behaviour(fail_rate=1 / 7)),
            ("welcome-mail", Behaviour()),
        ):
            receiver = Receiver(behaviour, keys=(self._key.encode(),), on_received=self._hear)
            await receiver.start()
            self.endpoints[name] = receiver
        events = Receiver(Behaviour(reply=_invoice_sent), keys=(self._key.encode(),), on_received=self._hear)
        warehouse = Receiver(Behaviour(fail_rate=0.6), keys=(self._key.encode(),))
        for name, receiver in (("events", events), ("warehouse", warehouse)):
            await receiver.start()
            self.endpoints[name] = receiver
        shutil.rmtree(self.folder / "triggers", ignore_errors=True)
        (self.folder / "triggers").mkdir()
        secret = self.folder / "secret"
        secret.write_text(self._key + "\n")
        secret.chmod(0o600)
        self.config.write_text(
            CONFIG.format(
                url=orjson.dumps(self._server.dsn(DATABASE)).decode(),
                orders=self.endpoints["fulfilment"].url,
                search=self.endpoints["search-index"].url,
                mail=self.endpoints["welcome-mail"].url,
                events=events.url,
                warehouse=warehouse.url,
                port=_free(PORT),
                uploads=orjson.dumps(str(self.uploads)).decode(),
            )
        )
        self.config.chmod(0o600)

    @property
    def psql(self) -> str:
        """How to reach the shop's database from a shell."""
        return f"psql '{self._server.dsn(DATABASE, tcp=True)}'"

    def _hear(self, received: Received) -> None:
        """An endpoint's path is its trigger's name. What somebody adds, tries or replays in the console is not of the account."""
        trigger = received.request.path.strip("/")
        account = self.account.triggers.get(trigger)
        if account is None or received.request.header(b"x-cdcd-test") or b'"cdcdreplayof"' in received.request.body:
            return
        if not 200 <= received.status < 300:
            account.refused += 1
            return
        arrival = Arrival.of(received.request.body, received.arrived_at)
        if account.take(arrival):
            self.recent.append((trigger, arrival))
            del self.recent[:-200]

    # cdcd

    async def run_cdcd(self) -> None:
        """Start the daemon; return when it is ready. Raises PermanentError with its last words."""
        log = self.folder / "cdcd.log"
        with log.open("ab") as file:
            begins = file.tell()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cdcd", "run", "-c", str(self.config), "--log-format", "json",
                stdout=file, stderr=file, stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.cdcd = Process(process, log)
        waited = 0.0
        while b'"event":"ready"' not in log.read_bytes()[begins:]:
            if not self.cdcd.running or waited > READY_WITHIN:
                words = log.read_bytes()[begins:].decode(errors="replace").strip().splitlines()[-5:]
                raise PermanentError("cdcd did not start:\n" + "\n".join(words), hint=f"see {log}")
            await asyncio.sleep(0.05)
            waited += 0.05
        self._told(f"cdcd is ready (process {process.pid})")

    async def kill_cdcd(self) -> None:
        """kill -9, and start again."""
        assert self.cdcd is not None
        self._told(f"kill -9 of cdcd (process {self.cdcd.process.pid}) in the middle of its work")
        killed = time.time()
        await self.cdcd.end(signal.SIGKILL)
        await self.run_cdcd()
        self.account.down.append((killed, time.time()))

    # The client

    async def run_client(self, rate: float, count: int | None, seed: int) -> None:
        """Start the shop's client, a process that knows nothing of cdcd."""
        arguments = [
            "--dsn",
            self._server.dsn(DATABASE),
            "--uploads",
            str(self.uploads),
            "--rate",
            str(rate),
            "--seed",
            str(seed),
        ]
        if count is not None:
            arguments += ["--count", str(count)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cdcd.demo.workload", *arguments,
            stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._client = Process(process, self.folder / "client.log")

    @property
    def client_running(self) -> bool:
        return self._client is not None and self._client.running

    async def end_client(self) -> None:
        """Let the client end, if it has not, and take its account of what it committed. Raises PermanentError."""
        assert self._client is not None
        process = self._client.process
        if self._client.running:
            process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
        try:
            committed = orjson.loads(out.strip().splitlines()[-1])
        except (IndexError, orjson.JSONDecodeError) as error:
            raise PermanentError("the demo's client ended without an account") from error
        self.account.expected = {name: sum(committed["tables"][table].values()) for name, table in TABLES.items()}
        self.account.expected |= {name: committed["events"][kind] for name, kind in EVENTS.items()}

    async def stop(self) -> None:
        """End everything that was started."""
        if self._client is not None and self._client.running:
            await self._client.end(signal.SIGKILL)
        if self.cdcd is not None and self.cdcd.running:
            await self.cdcd.end(signal.SIGTERM)
        for endpoint in self.endpoints.values():
            await endpoint.stop()
        await self._server.stop()
