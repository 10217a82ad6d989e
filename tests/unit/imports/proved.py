"""What an import wrote, loaded as a user would load it."""

import re
from pathlib import Path
from typing import Any

import yaml

from cdcd.config import load
from cdcd.config.model import Config
from cdcd.imports.document import Node, read
from cdcd.imports.found import Found
from cdcd.imports.proving import environment, prove
from cdcd.imports.writing import written
from cdcd.server import rules
from cdcd.triggers.trigger import mistakes_of

DATA = Path(__file__).parents[2] / "data" / "imports"


def documents(name: str) -> list[Node]:
    return read(name, (DATA / name).read_text("utf-8"))


def proved(found: Found) -> Found:
    prove(found, "elsewhere", rules.mistakes_of)
    return found


def loaded(found: Found, folder: Path) -> Config:
    """The written file in the include directory, with what stands at its end put into the main file as it says."""
    text = written(proved(found), "elsewhere")
    (folder / "triggers").mkdir()
    (folder / "triggers" / "imported.yaml").write_text(text, "utf-8")
    comment = text.partition("# The main file")[2]
    parts: dict[str, Any] = yaml.safe_load(re.sub(r"(?m)^# ?", "", comment.partition("\n")[2])) if comment else {}
    (folder / "cdcd.yaml").write_text(
        yaml.safe_dump({"project": "shop", "secret": "s" * 24, "include": "triggers/*.yaml", **parts}), "utf-8"
    )
    environ = {name: "http://hooks.test/x" if name.endswith("URL") else "value" for name in environment(found, text)}
    environ |= {name: "postgresql://localhost/x" for name in found.variables if name in _databases(parts)}
    return load(folder / "cdcd.yaml", environ, mistakes_of, rules.mistakes_of)


def _databases(parts: dict[str, Any]) -> set[str]:
    return {name for each in parts.get("databases", {}).values() for name in re.findall(r"\$\{env:(\w+)\}", each["url"])}


def remarks(found: Found, trigger: str) -> list[str]:
    return [str(remark) for remark in found.remarks if remark.trigger == trigger]
