"""Slows whoever guesses: how often one address may come with a token that is not good. Pure.

The rules:
- an address may be wrong `BURST` times at once and then once in `EACH` seconds; beyond that it is told to wait, and what it sends is not
  looked at;
- only what was not good counts, and a token that was found good before is never asked about here: a client with a good token is not harmed
  by one with a bad token at the same address, unless its token is new;
- memory is bounded: the addresses that were wrong longest ago are forgotten first. An IPv6 address counts with its network of 64 bits.
"""

import ipaddress
import math
from collections import OrderedDict

from cdcd.clock import Clock
from cdcd.server.problems import Problem

BURST = 30
EACH = 2.0  # seconds
KEPT = 4096  # addresses


class Brake:
    """Of each address, when it will have atoned for all that was wrong."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises Problem 429 when the address has to wait."""
        free_at = self._free_at.get(_network(address)) if self._free_at else None
        if free_at is None:
            return
        wait = free_at - self._clock.monotonic() - (BURST - 1) * EACH
        if wait > 0:
            raise Problem(
                429, "too many tokens that are not good came from this address", headers={"Retry-After": str(math.ceil(wait))}
            )

    def wrong(self, address: str) -> None:
        """It sent something that is not good."""
        now, network = self._clock.monotonic(), _network(address)
        self._free_at[network] = max(self._free_at.pop(network, now), now) + EACH
        if len(self._free_at) > KEPT:
            self._free_at.popitem(last=False)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
