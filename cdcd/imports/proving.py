"""Proves what is about to be written with cdcd's own loader: a trigger that it refuses is left out, and told with its reason."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cdcd.config import load
from cdcd.config.load import EventCheck
from cdcd.errors import ConfigError
from cdcd.imports.found import Found
from cdcd.imports.writing import dump, written
from cdcd.triggers.trigger import mistakes_of

_MISTAKE = re.compile(r".*?:\d+:\d+: (?:triggers\.(?P<trigger>[\w-]+)|events\.(?P<event>[^.:\s]+))")
_BEGINS = re.compile(r"(?:^|\s)(?:url|webhook): ['\"]?\$\{env:(\w+)\}", re.MULTILINE)


def prove(found: Found, origin: str, events: EventCheck | None = None) -> None:
    """Take out of `found` what would not load; every mistake becomes a remark. Afterwards what is left loads."""
    for _ in range(len(found.triggers) + len(found.events) + 1):
        mistakes = _mistakes(found, origin, events)
        refused = False
        for mistake in mistakes:
            match = _MISTAKE.match(mistake)
            what = mistake.partition(": ")[2]
            if match is None:
                continue
            if (name := match["trigger"]) in found.triggers:
                draft = found.triggers.pop(name)
                found.remark(draft.place, name, f"it was left out, since cdcd would refuse it: {what}", "write it by hand")
                refused = True
            elif (event := match["event"]) in found.events:
                del found.events[event]
                found.remark(
                    "events", "", f"events.{event} was left out, since cdcd would refuse it: {what}", "write it by hand"
                )
                refused = True
        if not refused:
            found.close()
            return


def _mistakes(found: Found, origin: str, events: EventCheck | None) -> list[str]:
    text = written(found, origin)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "triggers.yaml").write_text(text, "utf-8")
        main = Path(folder) / "cdcd.yaml"
        main.write_text(dump(_main(found, folder)), "utf-8")
        try:
            load(main, environment(found, text), mistakes_of, events)
        except ConfigError as error:
            return [mistake.removeprefix(f"{folder}/") for mistake in error.mistakes]
    return []


def _main(found: Found, folder: str) -> dict[str, object]:
    """A main file in which everything that the triggers name is there."""
    databases = {str(draft.options["database"]) for draft in found.triggers.values() if "database" in draft.options}
    if any("table" in draft.options and "database" not in draft.options for draft in found.triggers.values()):
        databases = databases or {"main"}
    stores = {str(draft.options["storage"]) for draft in found.triggers.values() if "storage" in draft.options}
    return {
        "project": "proof",
        "secret": "a secret that proves nothing",
        "databases": {name: {"url": "postgresql://localhost/x"} for name in sorted(databases)},
        "storage": {name: {"path": folder} for name in sorted(stores or ({"files"} if _files(found) else set()))},
        "events": found.events,
        "include": "triggers.yaml",
    }


def _files(found: Found) -> bool:
    return any(str(draft.options.get("type", "")).startswith("FILE_") for draft in found.triggers.values())


def environment(found: Found, text: str) -> Mapping[str, str]:
    """A value for every variable that the text names; a URL for those that a URL begins with."""
    names = re.findall(r"\$\{env:(\w+)\}", text)
    return dict.fromkeys([*names, *found.variables], "x") | dict.fromkeys(_BEGINS.findall(text), "http://localhost/x")
