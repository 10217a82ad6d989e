"""The last word of a source: it confirms what was recorded after it stopped reading."""

from typing import Protocol


class Source(Protocol):
    """What reads a database."""

    name: str

    async def end(self) -> None: ...


class StreamEnd:
    """A part that starts before the recorder, so that it stops after it."""

    def __init__(self, source: Source) -> None:
        self.name = f"{source.name}.end"
        self.source = source

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        await self.source.end()
