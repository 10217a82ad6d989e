"""Named places between reading and confirming where a crash test kills the process.

`CDCD_FAILPOINTS="engine.sent=3,recorder.committed"` kills the process (SIGKILL, no clean-up) the third time that
`engine.sent` is passed, or the first time that `recorder.committed` is; `engine.sent=3:block` blocks the event loop there, for
ever. Unset, a failpoint costs one truth test.
"""

import os
import signal
import time

_blocking: set[str] = set()


def _parse(text: str) -> dict[str, int]:
    armed = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, count = item.partition("=")
        number, _, how = count.partition(":")
        armed[name] = int(number or 1)
        if how == "block":
            _blocking.add(name)
    return armed


_armed = _parse(os.environ.get("CDCD_FAILPOINTS", ""))


def hit(name: str) -> None:
    """Pass the failpoint `name`; the process ends here when it is armed and its count is reached."""
    if _armed and name in _armed:
        _armed[name] -= 1
        if _armed[name] <= 0 and name in _blocking:
            time.sleep(3600)
        elif _armed[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
