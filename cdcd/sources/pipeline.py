"""What a source of rows gives to: where its deliveries go, and who writes its position down."""

from collections.abc import Sequence
from typing import Protocol

from cdcd.event import Delivery


class Pipeline(Protocol):
    """Where deliveries go (the engine)."""

    def offer(self, deliveries: Sequence[Delivery]) -> None: ...

    @property
    def full(self) -> bool: ...

    async def room(self) -> None: ...

    def relieve(self) -> None: ...


class PositionWriter(Protocol):
    """Who writes positions (the recorder)."""

    def position_moved(self) -> None: ...
