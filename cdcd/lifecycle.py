"""One life for every long-lived part: start, run, stop; and the supervisor that watches over them.

The rule: `start()` returns when the part is running, `stop()` when it has stopped; both may be called twice; a failure of a
running part reaches the supervisor, which stops everything in reverse order and raises it. Shutdown has two steps: the first
signal asks every part to finish (`stop`), the second ends at once (`Supervisor.abort`).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar


class Part(Protocol):
    """A long-lived part of the daemon."""

    name: str

    async def start(self) -> None:
        """Return when running. A second call does nothing."""
        ...

    async def stop(self) -> None:
        """Return when stopped. Safe before `start`, and a second time."""
        ...


class Failed(Protocol):
    """How a running part tells that it cannot go on."""

    def __call__(self, part: str, error: BaseException) -> None: ...


class Tasks:
    """The named background tasks of one part. An unexpected end of one is reported, never swallowed."""

    def __init__(self, part: str, failed: Failed) -> None:
        self._part = part
        self._failed = failed
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `coroutine` as a named task; its exception goes to the supervisor."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self._part}.{name}")
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(self._part, error)

    async def cancel(self) -> None:
        """Cancel all of them and wait until they have ended."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)  # what they failed with goes to the supervisor

    def __len__(self) -> int:
        return len(self._running)


P = TypeVar("P", bound=Part)


class Group(Generic[P]):
    """Parts that come and go while the daemon runs, as one part in its place among the others. `parts` is kept, and changed."""

    def __init__(self, name: str, parts: list[P]) -> None:
        self.name = name
        self.parts = parts
        self._started = False

    async def start(self) -> None:
        """Start them in order."""
        self._started = True
        for part in self.parts:
            await part.start()

    async def stop(self) -> None:
        """Stop them in reverse order; what one fails with is raised when all have stopped."""
        self._started = False
        failure: Exception | None = None
        for part in reversed(self.parts):
            try:
                await part.stop()
            except Exception as error:  # noqa: BLE001 - the others must still stop
                failure = failure or error
        if failure is not None:
            raise failure

    async def add(self, part: P) -> None:
        """One more; it is started if the others are."""
        self.parts.append(part)
        if self._started:
            await part.start()

    async def remove(self, part: P) -> None:
        """One less, stopped."""
        self.parts.remove(part)
        await part.stop()


class Supervisor:
    """Starts parts in order, waits for a stop or a failure, stops them in reverse order."""

    def __init__(self) -> None:
        self._started: list[Part] = []
        self._stopping = asyncio.Event()
        self._aborted = asyncio.Event()
        self._failure: BaseException | None = None

    def failed(self, part: str, error: BaseException) -> None:
        """A part cannot go on: everything stops, and `run` raises the first such error."""
        if self._failure is None:
            self._failure = error
            error.add_note(f"in {part}")
        self._stopping.set()

    def stop(self) -> None:
        """First step: finish what is under way."""
        self._stopping.set()

    def abort(self) -> None:
        """Second step: end at once. What is unfinished is done again after the next start."""
        self._stopping.set()
        self._aborted.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def run(self, parts: list[Part], ready: Callable[[], Awaitable[None]]) -> None:
        """Start `parts`, call `ready`, return after an orderly stop. Raises what a part failed with."""
        try:
            for part in parts:
                if self._stopping.is_set():
                    break
                self._started.append(part)
                await self._until(self._stopping, part.start())
            else:
                await ready()
                await self._stopping.wait()
        finally:
            while self._started:
                part = self._started.pop()
                try:
                    await self._until(self._aborted, part.stop())
                except Exception as error:  # noqa: BLE001 - whatever it is, the parts below must still stop; it is raised at the end
                    self.failed(part.name, error)
        if self._failure is not None:
            raise self._failure

    async def _until(self, over: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, but cancel it when `over` is set: a start that waits for something ends with the first signal."""
        doing = asyncio.ensure_future(work)
        waiting = asyncio.ensure_future(over.wait())
        try:
            await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                doing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await doing
        finally:
            waiting.cancel()
