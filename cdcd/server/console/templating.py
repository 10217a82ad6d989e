"""The templates, compiled once in a process and beside the event loop, which deliveries need: all of them take a second of a processor.

The rule: nothing is compiled, nor the compiler imported, before somebody comes to the console. Whoever opens the first page waits until
all are, which was begun when they were asked to sign in. A reload of the configuration keeps what is compiled.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cdcd import __version__
from cdcd.server.console import fixes, words
from cdcd.server.console.static import Static

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent / "templates"
_FILTERS: Sequence[Callable[..., Any]] = (
    *(words.exact, words.clock, words.span, words.number, words.rate, words.share, words.amount, words.stamp),
    *(words.written, words.pretty, words.coloured, fixes.backticked),
)


class Templates:
    """Use `templates()`, which gives those of the process."""

    def __init__(self, static: Static) -> None:
        self._static = static
        self._compiled: Future[None] | None = None
        self._one = threading.Lock()
        self._made: Environment | None = None
        self._making = threading.Lock()

    @property
    def _environment(self) -> "Environment":
        """Made once, whether the thread or a page wants it first."""
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> "Environment":
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        made = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        made.filters.update({each.__name__: each for each in _FILTERS}, url=lambda text: quote(str(text), safe=""))
        made.globals.update(static=self._static.url, version=__version__)
        return made

    def render(self, name: str, **names: Any) -> bytes:
        """What a template gives. One that is not compiled yet is compiled here."""
        return self._environment.get_template(name).render(**names).encode()

    async def made(self) -> None:
        """Return when one can be compiled: what compiles them is imported in a thread."""
        if self._made is None:
            await asyncio.to_thread(lambda: self._environment)

    def begin(self) -> Future[None]:
        """Compile all of them in a thread, once."""
        with self._one:
            if self._compiled is None:
                self._compiled = Future()
                threading.Thread(target=self._compile, args=(self._compiled,), name="console.templates", daemon=True).start()
            return self._compiled

    async def ready(self) -> None:
        """Return when all are compiled. Raises what is wrong with one."""
        compiled = self.begin()
        if not compiled.done():
            await asyncio.shield(asyncio.wrap_future(compiled))
        compiled.result()

    def _compile(self, compiled: Future[None]) -> None:
        try:
            for name in self._environment.list_templates():
                self._environment.get_template(name)
            compiled.set_result(None)
        except Exception as error:  # noqa: BLE001  # whoever waits for it is told
            compiled.set_exception(error)


@cache
def static_files() -> Static:
    """The static files of the process."""
    return Static()


@cache
def templates() -> Templates:
    """The templates of the process."""
    return Templates(static_files())
