"""Sizes and durations as people read them. Pure."""


def size(count: int) -> str:
    """`1.5 GB` of bytes, in powers of 1024 as PostgreSQL's pg_size_pretty does."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(value) < 1024:
            return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


def ago(seconds: float) -> str:
    """`3d 4h` of seconds: the two largest units."""
    left = max(0, round(seconds))
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, length)
        if amount:
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2]) or "0s"
