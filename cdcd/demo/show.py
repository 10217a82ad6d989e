"""The demo's script: what happens when. A healthy, a flaky and a dead endpoint, a kill -9 on the way, and an account at the end.

With a count everything is placed by how much has arrived; without one by time, and the demo runs until it is stopped.
"""

import asyncio
from dataclasses import dataclass

from cdcd.demo.stage import TABLES, Stage

DRAIN = 90.0  # seconds for what is left when the client has ended
KILL_AFTER, HEAL_AFTER = 6.0, 14.0  # seconds, when the demo runs without end
STEP = 0.05


@dataclass(slots=True)
class Scene:
    """What the live view shows besides the stage."""

    title: str = "starting"
    killed: int = 0
    healed: bool = False
    ended: bool = False


class Show:
    """Runs the script. `stopping` is set by whoever wants it to end."""

    def __init__(self, stage: Stage, scene: Scene, rate: float, count: int | None, seed: int) -> None:
        self._stage = stage
        self.scene = scene
        self._rate = rate
        self._count = count
        self._seed = seed
        self.stopping = asyncio.Event()

    async def run(self) -> bool:
        """Play it. True when nothing was lost and nothing out of order. Raises PermanentError."""
        stage, scene = self._stage, self.scene
        mail = stage.endpoints["welcome-mail"]
        await mail.stop()
        await stage.run_cdcd()
        scene.title = "committing"
        await stage.run_client(self._rate, self._count, self._seed)
        began = asyncio.get_running_loop().time()
        while not self.stopping.is_set() and stage.client_running:
            await asyncio.sleep(STEP)
            done = self._done(asyncio.get_running_loop().time() - began)
            if not scene.killed and done >= KILL_AFTER:
                scene.killed += 1
                await stage.kill_cdcd()
            if not scene.healed and done >= HEAL_AFTER:
                await self._heal()
        await stage.end_client()
        if not scene.killed:
            scene.killed += 1
            await stage.kill_cdcd()
        if not scene.healed:
            await self._heal()
        scene.title = "draining"
        await self._drain()
        scene.title = "done"
        scene.ended = True
        result = stage.account.result()
        return not result["lost"] and not result["out_of_order"]

    def _done(self, seconds: float) -> float:
        """How far the script is: seconds, or with a count the share of it on the same scale."""
        if self._count is None:
            return seconds
        others = ("welcome-mail", "thanks")  # one that cannot arrive yet, and one that the client does not count
        reachable = sum(stage.delivered for name, stage in self._stage.account.triggers.items() if name not in others)
        return 20.0 * reachable / max(1, self._count)

    async def _heal(self) -> None:
        self.scene.healed = True
        await self._stage.endpoints["welcome-mail"].start()

    async def _drain(self) -> None:
        end = asyncio.get_running_loop().time() + DRAIN
        while True:
            await asyncio.sleep(STEP)
            if self._stage.account.complete or asyncio.get_running_loop().time() > end:
                return


__all__ = ["TABLES", "Scene", "Show"]
