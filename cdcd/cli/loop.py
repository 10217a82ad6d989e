"""The event loop that commands run on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


def run_loop(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run `main` on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:  # not on every platform; asyncio's own loop is slower, not different
        return asyncio.run(main())
    return int(uvloop.run(main()))
