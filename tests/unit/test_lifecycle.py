"""The life of parts: one stress test over starting, failing, stopping and aborting at random, and the promises one by one."""

import asyncio
import contextlib
import random

import pytest

from cdcd.lifecycle import Failed, Part, Supervisor, Tasks


class Sleepy:
    """A part whose start and stop take some turns of the loop, and which can fail in each phase of its life."""

    def __init__(self, name: str, turns: random.Random, log: list[str], failed: Failed, fails: str = "") -> None:
        self.name = name
        self._turns = turns
        self._log = log
        self._fails = fails
        self._tasks = Tasks(name, failed)
        self._up = False

    async def _wait(self) -> None:
        for _ in range(self._turns.randrange(4)):
            await asyncio.sleep(0)

    async def start(self) -> None:
        if self._up:
            return
        await self._wait()
        if self._fails == "start":
            raise RuntimeError(f"{self.name} start")
        self._up = True
        self._log.append(f"+{self.name}")
        self._tasks.spawn(self._work(), "work")

    async def _work(self) -> None:
        await self._wait()
        if self._fails == "work":
            raise RuntimeError(f"{self.name} work")
        await asyncio.Event().wait()

    async def stop(self) -> None:
        if not self._up:
            return
        await self._wait()
        self._up = False
        await self._tasks.cancel()
        self._log.append(f"-{self.name}")

    @property
    def tasks(self) -> int:
        return len(self._tasks)


async def _ready() -> None:
    pass


@pytest.mark.parametrize("seed", range(200))
async def test_whatever_happens_started_parts_stop_in_reverse_order(seed: int) -> None:
    """Parts fail while starting or running, or a stop comes at any turn: what started is stopped, newest first, once, and no
    task is left behind."""
    turns = random.Random(seed)
    log: list[str] = []
    supervisor = Supervisor()
    parts = [
        Sleepy(str(number), turns, log, supervisor.failed, turns.choice(["", "", "", "", "start", "work"]))
        for number in range(turns.randrange(1, 6))
    ]

    async def interrupt() -> None:
        for _ in range(turns.randrange(30)):
            await asyncio.sleep(0)
        supervisor.stop()

    interrupting = asyncio.create_task(interrupt())
    with contextlib.suppress(RuntimeError):
        await supervisor.run(list[Part](parts), _ready)
    await interrupting
    started = [entry[1:] for entry in log if entry[0] == "+"]
    stopped = [entry[1:] for entry in log if entry[0] == "-"]
    assert stopped == started[::-1]
    assert started == [str(number) for number in range(len(started))]
    assert [part.tasks for part in parts] == [0] * len(parts)


async def test_start_and_stop_twice_are_fine() -> None:
    log: list[str] = []
    supervisor = Supervisor()
    part = Sleepy("a", random.Random(0), log, supervisor.failed)
    await part.stop()
    await part.start()
    await part.start()
    await part.stop()
    await part.stop()
    assert log == ["+a", "-a"]


async def test_a_failure_in_a_task_reaches_the_supervisor_with_the_name_of_its_part() -> None:
    log: list[str] = []
    supervisor = Supervisor()
    parts = [
        Sleepy("a", random.Random(1), log, supervisor.failed),
        Sleepy("b", random.Random(1), log, supervisor.failed, "work"),
    ]
    with pytest.raises(RuntimeError, match="b work") as failure:
        await supervisor.run(list[Part](parts), _ready)
    assert failure.value.__notes__ == ["in b"]
    assert log == ["+a", "+b", "-b", "-a"]


async def test_an_abort_does_not_wait_for_a_part_that_hangs() -> None:
    """The second signal ends a stop that would take for ever."""
    supervisor = Supervisor()
    stopping = asyncio.Event()

    class Hangs:
        name = "hangs"

        async def start(self) -> None:
            pass

        async def stop(self) -> None:
            stopping.set()
            await asyncio.Event().wait()

    async def ready() -> None:
        supervisor.stop()

    running = asyncio.create_task(supervisor.run([Hangs()], ready))
    await stopping.wait()
    supervisor.abort()
    async with asyncio.timeout(5):
        await running


async def test_ready_is_called_once_all_parts_run() -> None:
    log: list[str] = []
    supervisor = Supervisor()
    parts = [Sleepy(name, random.Random(2), log, supervisor.failed) for name in "abc"]

    async def ready() -> None:
        log.append("ready")
        supervisor.stop()

    await supervisor.run(list[Part](parts), ready)
    assert log == ["+a", "+b", "+c", "ready", "-c", "-b", "-a"]
