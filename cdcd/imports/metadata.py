"""Reads Hasura's metadata: a directory of the command line (version 3 or 2, with `!include`), or the exported JSON or YAML."""

from pathlib import Path

from cdcd.errors import ConfigError
from cdcd.imports.document import Node, read

_INCLUDE = "!include "


def hasura_metadata(path: Path) -> Node:
    """The whole metadata as one node with `sources` (or `tables`) and `cron_triggers`. Raises ConfigError."""
    if path.is_dir():
        return _directory(path)
    documents = read(str(path), text_of(path))
    if not documents:
        raise ConfigError([f"{path}: it is empty"])
    document = documents[0]
    return document.get("metadata") if document.get("metadata").there else document


def text_of(path: Path) -> str:
    """What a file holds. Raises ConfigError."""
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or 'it is not there'}"]) from error
    except ValueError as error:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from error


def _directory(path: Path) -> Node:
    if (
        not any((path / name).exists() for name in ("databases", "tables.yaml", "cron_triggers.yaml"))
        and (path / "metadata").is_dir()
    ):
        path = path / "metadata"
    members: dict[str, Node] = {}
    for name, file in (
        ("sources", path / "databases" / "databases.yaml"),
        ("tables", path / "tables.yaml"),
        ("cron_triggers", path / "cron_triggers.yaml"),
    ):
        if file.exists():
            members[name] = _included(file, ())
    if not members:
        hint = "name the directory that `hasura metadata export` wrote: it holds version.yaml and databases/"
        raise ConfigError([f"{path}: there is no Hasura metadata in it"], hint=hint)
    return Node(members, str(path))


def _included(file: Path, within: tuple[Path, ...]) -> Node:
    if file in within or len(within) > 20:
        raise ConfigError([f"{file}: it includes itself"])
    documents = read(str(file), text_of(file))
    return _resolved(documents[0], file, (*within, file)) if documents else Node(None, str(file))


def _resolved(node: Node, file: Path, within: tuple[Path, ...]) -> Node:
    if isinstance(node.value, str) and node.value.startswith(_INCLUDE):
        return _included(file.parent / node.value.removeprefix(_INCLUDE).strip(), within)
    if isinstance(node.value, dict):
        return Node({name: _resolved(item, file, within) for name, item in node.value.items()}, node.place)
    if isinstance(node.value, list):
        return Node([_resolved(item, file, within) for item in node.value], node.place)
    return node
