"""What befalls a torture run: seeded trouble of every kind, one after the other, at random moments.

Each trouble leaves things as a bad day does: the daemon is started again as its supervisor would, the server comes back, the network heals.
"""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

import psycopg

from cdcd.embedded.postgres import PostgresServer
from tests.daemon import Daemon
from tests.endpoint import Answer, Endpoint, Request
from tests.proxy import Proxy, Way
from tests.torture.world import SLOT

HOLES: list[tuple[Way, ...]] = [(), ("up",), ("down",)]


class Flaky(Endpoint):
    """An endpoint that answers as it likes until it is `calm`."""

    def __init__(self, seed: int, rate: float) -> None:
        super().__init__()
        self.calm = False
        self._rate = rate
        self._chance = random.Random(f"endpoint {seed} {rate}")

    def _choose(self, request: Request) -> Answer:
        if self.calm or self._chance.random() >= self._rate:
            return Answer()
        (answer,) = self._chance.choices(
            [
                Answer(500),
                Answer(503, headers={"Retry-After": "1"}),
                Answer(429, headers={"Retry-After": "0"}),
                Answer(302, headers={"Location": "/elsewhere"}),
                Answer(hang=True),
                Answer(reset=True),  # it has acted, and the answer is lost
                Answer(close=True),
                Answer(reset_after_headers=True, body=b"half"),
                Answer(close_after=True),
                Answer(delay=0.2),
            ],
            weights=(30, 5, 5, 3, 4, 10, 5, 5, 10, 15),
        )
        return answer


class Trouble:
    """Troubles in the order of a seed. `counts` says what happened how often."""

    def __init__(
        self,
        seed: int,
        server: PostgresServer,
        daemon: Daemon,
        to_postgres: Proxy,
        to_endpoints: list[Proxy],
        endpoints: list[Flaky],
        files: asyncio.Lock,
    ) -> None:
        """`files` is held while the daemon must not be started with what is on disk."""
        self._files = files
        self.counts: Counter[str] = Counter()
        self.ended: list[str] = []  # lives of the daemon that it ended itself, and should not have
        self._random = random.Random(f"trouble {seed}")
        self._server = server
        self._daemon = daemon
        self._to_postgres = to_postgres
        self._to_endpoints = to_endpoints
        self._endpoints = endpoints
        self._kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (6, self.kill_daemon),
            (2, self.stop_daemon),
            (1, self.restart_postgres),
            (1, self.crash_postgres),
            (2, self.end_walsender),
            (2, self.end_sessions),
            (3, self.cut_postgres),
            (2, self.black_hole_postgres),
            (1, self.refuse_postgres),
            (1, self.slow_postgres),
            (2, self.cut_endpoints),
            (2, self.black_hole_endpoints),
            (2, self.lose_answers),
            (2, self.endpoint_down),
        ]

    async def run(self, over: asyncio.Event) -> None:
        """One trouble after the other until `over`; then everything is healed and the daemon runs."""
        while not over.is_set():
            await self._pause(over, 0.0, 1.2)
            if over.is_set():
                break
            await self._alive()
            (act,) = self._random.choices([act for _, act in self._kinds], [weight for weight, _ in self._kinds])
            self.counts[act.__name__] += 1
            await act()
        await self.heal()

    async def heal(self) -> None:
        """An end to all trouble."""
        for proxy in (self._to_postgres, *self._to_endpoints):
            proxy.heal()
            await proxy.accept()
        for endpoint in self._endpoints:
            endpoint.calm = True
        await asyncio.to_thread(self._server.start)
        await self._alive()

    async def _alive(self) -> None:
        """Start the daemon if it is not running. It must never have ended by itself."""
        if not self._daemon.running:
            if self._daemon.process is not None and self._daemon.process.returncode != -signal.SIGKILL:
                code = await self._daemon.wait()
                self.ended.append(f"exit {code}: {self._daemon.tail(3)}")
            await self._start()

    async def _start(self) -> None:
        async with self._files:
            await self._daemon.start()

    async def _pause(self, over: asyncio.Event, shortest: float, longest: float) -> None:
        try:
            await asyncio.wait_for(over.wait(), self._random.uniform(shortest, longest))
        except TimeoutError:
            pass

    async def _for_a_moment(self, longest: float) -> None:
        await asyncio.sleep(self._random.uniform(0.05, longest))

    # The daemon

    async def kill_daemon(self) -> None:
        await self._daemon.kill()
        if self._random.random() < 0.3:
            await self._for_a_moment(1.0)
        await self._start()

    async def stop_daemon(self) -> None:
        """SIGTERM, and whether it ends in order. A network that is gone meanwhile may break attempts off, no more."""
        code = await self._daemon.stop(signal.SIGTERM, timeout=60)
        if code not in (0, -signal.SIGTERM):  # -SIGTERM: it came before the handler was there
            self.ended.append(f"exit {code} at SIGTERM: {self._daemon.tail(3)}")
        await self._start()

    # Postgres

    async def restart_postgres(self) -> None:
        await asyncio.to_thread(self._server.restart)

    async def crash_postgres(self) -> None:
        await asyncio.to_thread(self._server.restart, crash=True)

    async def end_walsender(self) -> None:
        await self._ask(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s AND active", [SLOT]
        )

    async def end_sessions(self) -> None:
        await self._ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'cdcd%%'", [])

    async def _ask(self, query: str, parameters: list[str]) -> None:
        async with await psycopg.AsyncConnection.connect(self._server.dsn(), autocommit=True) as connection:
            await connection.execute(query, parameters)

    # The network

    async def cut_postgres(self) -> None:
        if self._random.random() < 0.5:
            self._to_postgres.cut_after(down=self._random.randrange(20_000), up=self._random.randrange(20_000))
            await self._for_a_moment(0.5)
            self._to_postgres.heal()
        elif self._random.random() < 0.5:
            self._to_postgres.cut()
        else:
            self._to_postgres.reset()

    async def black_hole_postgres(self) -> None:
        self._to_postgres.black_hole(*self._random.choice(HOLES))
        await self._for_a_moment(2.5)
        if self._random.random() < 0.5:
            self._to_postgres.reset()
        self._to_postgres.heal()

    async def refuse_postgres(self) -> None:
        await self._to_postgres.refuse()
        self._to_postgres.cut()
        await self._for_a_moment(1.5)
        await self._to_postgres.accept()

    async def slow_postgres(self) -> None:
        self._to_postgres.delay(self._random.uniform(0.005, 0.1))
        await self._for_a_moment(1.5)
        self._to_postgres.heal()

    async def cut_endpoints(self) -> None:
        proxy = self._random.choice(self._to_endpoints)
        (proxy.cut if self._random.random() < 0.5 else proxy.reset)()

    async def black_hole_endpoints(self) -> None:
        proxy = self._random.choice(self._to_endpoints)
        proxy.black_hole(*self._random.choice(HOLES))
        await self._for_a_moment(2.0)
        proxy.heal()

    async def lose_answers(self) -> None:
        """Requests arrive, their answers do not."""
        proxy = self._random.choice(self._to_endpoints)
        proxy.cut_after(down=self._random.randrange(2000))
        await self._for_a_moment(0.5)
        proxy.heal()

    async def endpoint_down(self) -> None:
        proxy = self._random.choice(self._to_endpoints)
        await proxy.refuse()
        proxy.cut()
        await self._for_a_moment(2.5)
        await proxy.accept()
