"""A change of a file as an event's data and as expressions see it. Pure.

A name that is not UTF-8 has U+FFFD for each byte that is none in `path`, and `pathBytes` holds the exact bytes in base64.
What is gone is described as it was last seen.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from mimetypes import MimeTypes
from os import fsencode

from orjson import dumps

from cdcd.sources.files.tree import Difference, unpack

_TYPES = MimeTypes(filenames=())  # not the machine's: the same everywhere
for _type, _extension in (
    ("image/webp", ".webp"),
    ("image/avif", ".avif"),
    ("image/heic", ".heic"),
    ("application/yaml", ".yaml"),
    ("application/yaml", ".yml"),
    ("text/markdown", ".md"),
    ("application/vnd.apache.parquet", ".parquet"),
):
    _TYPES.add_type(_type, _extension)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_known: dict[str, str] = {}


@dataclass(slots=True, frozen=True)
class Change:
    """One event's worth: `FILE_CREATE`, `FILE_UPDATE` or `FILE_DELETE` of a path."""

    type: str
    path: str
    old: bytes | None
    new: bytes | None


def changes(difference: Difference) -> tuple[Change, ...]:
    """What happened to a path. A directory in the place of a file is a deletion and a creation."""
    path, old, new = difference.path, difference.old, difference.new
    if difference.quiet:
        return ()
    if old is None:
        return (Change("FILE_CREATE", path, None, new),)
    if new is None:
        return (Change("FILE_DELETE", path, old, None),)
    if old[0] != new[0]:
        return (Change("FILE_DELETE", path, old, None), Change("FILE_CREATE", path, None, new))
    return (Change("FILE_UPDATE", path, old, new),)


def readable(path: str) -> str:
    """The path as text that is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return fsencode(path).decode("utf-8", "replace")
    return path


def describe(change: Change, store: str, moved_to: str | None, moved_from: str | None) -> dict[str, object]:
    """The event's data."""
    path = change.path
    text = readable(path)
    entry = unpack(change.new or change.old or b"")
    data: dict[str, object] = {
        "store": store,
        "path": text,
        "name": text.rpartition("/")[2],
        "type": entry.type,
        "size": entry.size,
        "mtime": moment(entry.mtime),
        "contentType": content_type(text) if entry.type == "file" else None,
        "meta": {},
    }
    if text != path:
        data["pathBytes"] = b64encode(fsencode(path)).decode()
    if entry.sha256:
        data["sha256"] = entry.sha256
    if change.new is not None and moved_from is not None:
        data["movedFrom"] = readable(moved_from)
    if change.new is None and moved_to is not None:
        data["movedTo"] = readable(moved_to)
    if change.old is not None:
        data["before"] = before(change.old, text)
    return data


def before(entry: bytes, path: str) -> dict[str, object]:
    """What was there."""
    old = unpack(entry)
    members: dict[str, object] = {"path": path, "type": old.type, "size": old.size, "mtime": moment(old.mtime)}
    if old.sha256:
        members["sha256"] = old.sha256
    return members


def encode(data: Mapping[str, object]) -> bytes:
    """As JSON."""
    return dumps(data)


def moment(nanoseconds: int) -> str:
    """As ISO 8601 in UTC: `2026-11-23T18:00:00.123456Z`."""
    return (_EPOCH + timedelta(microseconds=nanoseconds // 1000)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def content_type(path: str) -> str:
    """By the name's extension."""
    extension = path[path.rfind(".") :].lower() if "." in path[path.rfind("/") + 1 :] else ""
    found = _known.get(extension)
    if found is None:
        if len(_known) > 1000:
            _known.clear()
        kind, _ = _TYPES.guess_type("x" + extension, strict=False)
        found = _known[extension] = kind or "application/octet-stream"
    return found
