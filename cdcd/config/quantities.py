"""Durations and sizes as people write them: `5s`, `1h30m`, `250ms`, `7d`; `64MiB`, `1MB`.

A bare number is refused: whoever reads `timeout: 5` cannot know whether seconds or milliseconds are meant. The messages never
repeat the text that was given, since it may come from a secret.
"""

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
DURATION = r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+"
SIZE = r"\d+(?:\.\d+)?\s?(?:B|kB|KB|MB|GB|KiB|MiB|GiB)"
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s?(B|kB|KB|MB|GB|KiB|MiB|GiB)")


def duration(value: object) -> float:
    """Seconds. Raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError("a duration needs a unit: ms, s, m, h, d or w, as in 5s or 1h30m")
    if not isinstance(value, str) or re.fullmatch(DURATION, value) is None:
        raise ValueError("not a duration; write it as in 250ms, 5s, 1h30m or 7d")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(value))


def size(value: object) -> int:
    """Bytes. Raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError("a size needs a unit: B, KB, MB, GB, KiB, MiB or GiB, as in 64MiB")
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("not a size; write it as in 512KiB, 64MiB or 1GB")
    return int(float(found[1]) * _BYTES[found[2]])


def address(value: str) -> str:
    """`host:port`, as it was given. Raises ValueError."""
    host_and_port(value)
    return value


def host_and_port(value: str) -> tuple[str, int]:
    """Host and port of `host:port`; an IPv6 address stands in brackets. Raises ValueError."""
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535 or not host:
        raise ValueError("not an address; write it as in 127.0.0.1:4122 or [::1]:4122")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host:
        raise ValueError("an IPv6 address stands in brackets, as in [::1]:4122")
    return host, int(port)
