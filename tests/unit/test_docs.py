"""The reference pages are true: every command, option, header, column, error and log event that there is stands in its page."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import cdcd
from cdcd import errors
from cdcd.cli.main import app, load_all
from tests.unit.server.every import GROUPS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CODE = Path(cdcd.__file__).parent


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    (found,) = re.findall(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return str(found)


# docs/commands.md

ROOT_COMMAND: Any = typer.main.get_command(app)  # click's, or the copy of click that later versions of typer carry
LOADED = load_all()
COMMANDS: dict[str, Any] = {
    (f"{name} {inner}" if inner else name): command
    for name, group in LOADED.items()
    for inner, command in (group.commands.items() if hasattr(group, "commands") else [("", group)])
}
"""Everything that can be called, by name: `events list`."""
FILTERS = {"--trigger", "--status", "--type", "--source", "--key", "--since", "--until", "--where", "--text", "--error"}
SHARED = {"--config", "--help", "--version", "--install-completion", "--show-completion", "--url", "--token", *FILTERS}
"""Options of more than one command, or of none: described once, at the top."""


def options(command: Any) -> list[Any]:
    return list(command.get_params(command.context_class(command, help_option_names=["-h", "--help"])))


def test_every_command_has_its_section_and_nothing_else_has() -> None:
    assert re.findall(r"^## cdcd ([a-z -]+)$", page("commands.md"), re.MULTILINE) == [*COMMANDS]


def test_the_help_of_all_commands_says_what_the_help_of_each_says() -> None:
    for name, command in LOADED.items():
        told, whole = ROOT_COMMAND.commands[name].help, " ".join(command.help.split())
        assert whole.startswith(told.rstrip(".")), name


@pytest.mark.parametrize("name", [*COMMANDS, ""])
def test_every_option_is_described(name: str) -> None:
    text = page("commands.md")
    top = text.split("\n## ")[0]
    described = re.findall(r"^\| ((?:`-[^`]+`(?:, )?)+) \|", section(text, f"cdcd {name}") if name else top, re.MULTILINE)
    told = {option for cell in described for option in re.findall(r"`([^`]+)`", cell)}
    top_told = set(re.findall(r"`(-[^` ]+)`", top))
    every = (option for parameter in options(COMMANDS[name] if name else ROOT_COMMAND) for option in parameter.opts)
    known = {option for option in every if option.startswith("-")}
    shared = {option for option in known if option in SHARED or (option in {"-c", "-h"})}
    assert known - shared <= told
    assert shared <= top_told
    assert not name or told <= known


def test_every_default_of_an_option_is_told() -> None:
    for name, command in COMMANDS.items():
        rows = section(page("commands.md"), f"cdcd {name}")
        for parameter in options(command):
            default = parameter.default
            if default is None or callable(default) or isinstance(default, bool | list | tuple) or "--config" in parameter.opts:
                continue
            row = re.search(rf"^\| `{parameter.opts[0]}`.*$", rows, re.MULTILINE)
            assert row is not None
            assert row.group().endswith(f"| `{default}` |"), (name, parameter.opts[0], default)


def test_every_command_tells_its_exit_codes_and_shows_an_example() -> None:
    for name in COMMANDS:
        text = section(page("commands.md"), f"cdcd {name}")
        assert re.search("exit code", text, re.IGNORECASE), name
        assert f"$ cdcd {name}" in text


# docs/operations.md


def tree(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for inner in root.__subclasses__():
        if inner.__module__ == errors.__name__:
            yield from tree(inner)


@pytest.mark.parametrize("error", list(tree(errors.CdcdError))[1:], ids=lambda error: error.__name__)
def test_every_error_has_its_cure(error: type[Exception]) -> None:
    if error.__subclasses__() and inspect.getmodule(error) is errors and error not in {errors.ConfigError}:
        direct = [inner for inner in error.__subclasses__() if inner.__module__ == errors.__name__]
        if direct:  # a branch: named, its leaves have the cures
            assert f"`{error.__name__}`" in page("operations.md")
            return
    assert re.search(rf"^\| `{error.__name__}` \|", page("operations.md"), re.MULTILINE)


def logged() -> Iterator[tuple[str, str]]:
    """Level and name of every event that the code logs."""
    for path in sorted(CODE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"info", "warning", "error", "exception", "critical"}
                and ast.unparse(node.func.value) in {"log", "self._log"}
            ):
                assert node.args, f"{path}:{node.lineno}: a log event without a name"
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: a log event needs a fixed name"
                yield node.func.attr, str(node.args[0].value)


@pytest.mark.parametrize(("level", "event"), sorted(set(logged())))
def test_every_log_event_is_described(level: str, event: str) -> None:
    assert re.search(rf"^\| `{re.escape(event)}` \| [a-z, ]*{level}", page("operations.md"), re.MULTILINE)


def test_no_log_event_is_described_that_does_not_exist() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \|", section(page("operations.md"), "What the log says"), re.MULTILINE)
    assert set(rows) == {event for _, event in logged()}


# The API


@pytest.mark.parametrize(
    "path", sorted({route.path for group in GROUPS for route in group.routes if route.path.startswith("/v1/")})
)
def test_every_route_of_the_api_is_on_a_page(path: str) -> None:
    shown = re.sub(r"\\\{\w+\\\}", r"[{<]?\\w+[}>]?", re.escape(path))
    assert any(re.search(shown, page(name)) for name in ("api.md", "queue.md", "metrics.md")), path


# The index


def test_every_page_is_in_the_index_and_in_the_readme_or_its_index() -> None:
    told = set(re.findall(r"\]\(([\w-]+\.md)", page("README.md")))
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} == told
    assert "(docs/README.md)" in (ROOT / "README.md").read_text("utf-8")


# Commands, wherever they are written


def written_commands(path: Path) -> Iterator[tuple[str, str]]:
    """Every call of cdcd on a page, in code blocks and in the running text: the command, and an option of it ("" for none)."""
    text = path.read_text("utf-8")
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(cdcd [^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in (line.replace("\\\n", " ") for block in [*blocks, *inline] for line in re.split(r"(?<!\\)\n", block)):
        for call in re.findall(r"(?:^|[\s/($])cdcd ((?:[a-z-]+ ?)*)([^|;&)\n]*)", line):
            words, rest = call[0].split(), call[1]
            name = next((" ".join(words[:count]) for count in (2, 1) if " ".join(words[:count]) in COMMANDS), "")
            if name:
                yield name, ""
                for option in re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", f"{' '.join(words[len(name.split()) :])} {rest}"):
                    yield name, option
            elif words and words[0] in LOADED and hasattr(LOADED[words[0]], "commands") and len(words) > 1:
                yield " ".join(words[:2]), ""


PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
CALLS = [(path.name, *call) for path in PAGES for call in dict.fromkeys(written_commands(path))]


@pytest.mark.parametrize(("where", "name", "option"), CALLS)
def test_every_command_that_is_written_anywhere_can_be_called_so(where: str, name: str, option: str) -> None:
    assert name in COMMANDS, where
    known = {each for parameter in options(COMMANDS[name]) for each in (*parameter.opts, *parameter.secondary_opts)}
    assert not option or option in known, where


# Links


@pytest.mark.parametrize("path", [*sorted(DOCS.glob("*.md")), ROOT / "README.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]*)\)", path.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, target
