"""What an ordinary user may not do, root is kept from as well: for tests of permissions."""

import asyncio
import ctypes
import os
from concurrent.futures import ThreadPoolExecutor

_VERSION_3 = 0x20080522  # capabilities(7)
_OVERRIDE = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def threads_of_an_ordinary_user() -> None:
    """The threads of the running loop heed the permissions of files from here on."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(initializer=_heed))


def _heed() -> None:
    """This thread only: capabilities are each thread's own."""
    if os.geteuid() != 0:
        return
    head = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(head, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] &= ~_OVERRIDE
    if libc.capset(head, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
