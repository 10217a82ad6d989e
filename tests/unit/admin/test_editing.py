"""Triggers are written into files of the include directory: whole or not at all, and nothing else in them changes."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cdcd.admin import files
from cdcd.admin.editing import Draft, Editing, Invalid, NoSuchTrigger, NotWritable, Outdated
from cdcd.config import load
from cdcd.config.load import Texts
from cdcd.config.model import Config
from cdcd.errors import ConfigError, StoreUnavailable
from cdcd.triggers.trigger import compile_all, mistakes_of

MAIN = """\
project: shop
secret: kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
databases: {main: {url: "postgresql://x@localhost/x"}}
include: triggers/*.yaml
triggers:
  in-main: {type: PAID, webhook: http://127.0.0.1/main}
"""
FILE = """\
# Kept as it is.
triggers:
  # Tell the shop.
  users:
    type: DB_INSERT
    table: public.users     # all of them
    webhook:
      url: http://127.0.0.1/users
      headers: {Authorization: Bearer secret-of-the-shop}

  # Tell the others.
  orders:
    type: [DB_INSERT,   DB_UPDATE]
    table: orders
    webhook: http://127.0.0.1/orders
"""
GOOD = "type: DB_DELETE\ntable: public.users\nwebhook: http://127.0.0.1/gone\n"


def read(path: Path, texts: Texts) -> Config:
    config = load(path, {"TOKEN": "from-the-environment"}, mistakes_of, texts=texts)
    compile_all(config)
    return config


class Reloading:
    """What a reload does: it reads the files, or says why not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[tuple[str, frozenset[str]]] = []
        self.refuses: Exception | None = None

    async def __call__(self, who: str) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.seen.append((who, frozenset(read(self.path, {}).triggers)))


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers/shop.yaml").write_text(FILE)
    (tmp_path / "cdcd.yaml").write_text(MAIN)
    return tmp_path / "cdcd.yaml"


@pytest.fixture
def reloading(main: Path) -> Reloading:
    return Reloading(main)


@pytest.fixture
def editing(main: Path, reloading: Reloading) -> Editing:
    return Editing(lambda: read(main, {}), partial(read, main), reloading)


def listed(main: Path) -> list[str]:
    return sorted(each.name for each in (main.parent / "triggers").iterdir())


def write(path: Path, text: str) -> None:
    path.write_text(text)


def shop(main: Path) -> Path:
    return main.parent / "triggers/shop.yaml"


async def test_a_trigger_is_shown_as_it_is_written(editing: Editing, main: Path) -> None:
    found = await editing.show("users")
    assert found.yaml.startswith("type: DB_INSERT\ntable: public.users     # all of them\n")
    assert "secret-of-the-shop" not in repr(found)
    assert found.definition["table"] == "public.users"
    assert (found.file, found.line, found.read_only) == (str(shop(main)), 5, "")
    in_main = await editing.show("in-main")
    assert "cdcd never writes" in in_main.read_only
    assert in_main.definition["type"] == "PAID"
    with pytest.raises(NoSuchTrigger):
        await editing.show("nobody")


async def test_a_trigger_is_changed_and_nothing_else(editing: Editing, main: Path, reloading: Reloading) -> None:
    shop(main).chmod(0o604)
    found = await editing.show("users")
    changed, new = await editing.put(Draft("users", found.yaml.replace("DB_INSERT", "DB_UPDATE")), "alice", found.etag)
    assert not new
    assert shop(main).read_text() == FILE.replace(
        "type: DB_INSERT\n    table: public", "type: DB_UPDATE\n    table: public"
    ).replace("Bearer secret-of-the-shop", "Bearer secret-of-the-shop")
    assert shop(main).stat().st_mode & 0o7777 == 0o604
    assert changed.etag != found.etag
    assert reloading.seen == [("alice", frozenset({"in-main", "users", "orders"}))]
    assert listed(main) == ["shop.yaml"]


async def test_a_new_trigger_has_a_file_of_its_own(editing: Editing, main: Path) -> None:
    found, new = await editing.put(
        Draft("gone", definition={"type": "DB_DELETE", "table": "users", "webhook": "http://x"}), "a", None
    )
    assert new
    assert (main.parent / "triggers/gone.yaml").read_text() == (
        "triggers:\n  gone:\n    type: DB_DELETE\n    table: users\n    webhook: http://x\n"
    )
    assert found.read_only == ""
    await editing.delete("gone", "a", found.etag)
    assert not (main.parent / "triggers/gone.yaml").exists()
    assert shop(main).read_text() == FILE


async def test_a_pattern_that_goes_through_directories_takes_a_new_file_too(editing: Editing, main: Path) -> None:
    write(main, MAIN.replace("triggers/*.yaml", "triggers/**/*.yaml"))
    await editing.put(Draft("new", GOOD), "a", None)
    assert listed(main) == ["new.yaml", "shop.yaml"]
    assert "new" in read(main, {}).triggers


async def test_a_clone_keeps_the_secrets(editing: Editing, main: Path) -> None:
    users = await editing.show("users")
    await editing.put(Draft("copy", users.yaml, clone_of="users"), "a", None)
    assert "Bearer secret-of-the-shop" in (main.parent / "triggers/copy.yaml").read_text()
    with pytest.raises(Invalid, match="none to be kept"):
        await editing.put(Draft("other", users.yaml), "a", None)


async def test_a_trigger_is_deleted_with_its_comment(editing: Editing, main: Path) -> None:
    found = await editing.show("orders")
    await editing.delete("orders", "a", found.etag)
    assert shop(main).read_text() == FILE[: FILE.index("\n  # Tell the others.")] + "\n"


async def test_a_trigger_is_switched_off_and_on(editing: Editing, main: Path) -> None:
    await editing.switch("orders", "a", enabled=False)
    assert shop(main).read_text() == FILE + "    enabled: false\n"
    assert not read(main, {}).triggers["orders"].enabled
    await editing.switch("orders", "a", enabled=False)
    await editing.switch("orders", "a", enabled=True)
    assert shop(main).read_text() == FILE + "    enabled: true\n"
    with pytest.raises(NotWritable):
        await editing.switch("in-main", "a", enabled=False)


async def test_a_file_in_braces_is_shown_and_left_alone(editing: Editing, main: Path) -> None:
    """JSON is YAML: its triggers run, but one cannot be told from the rest line by line."""
    path = main.parent / "triggers" / "made.yaml"
    path.write_text('{"triggers": {"made": {"type": "PAID", "webhook": {"url": "http://127.0.0.1/made"}}}}')
    found = await editing.show("made")
    assert found.yaml == "type: PAID\nwebhook:\n  url: http://127.0.0.1/made\n"
    assert "one trigger can be told from the rest" in found.read_only
    for change in (
        lambda: editing.delete("made", "a", found.etag),
        lambda: editing.switch("made", "a", enabled=False),
        lambda: editing.put(Draft("made", GOOD), "a", found.etag),
    ):
        with pytest.raises(NotWritable, match="one trigger can be told from the rest"):
            await change()


async def test_nobody_overwrites_what_another_wrote(editing: Editing, main: Path) -> None:
    found = await editing.show("users")
    with pytest.raises(Outdated) as caught:
        await editing.put(Draft("users", GOOD), "a", None)
    assert caught.value.missing
    shop(main).write_text(FILE + "# changed meanwhile\n")
    for act in (
        lambda: editing.put(Draft("users", GOOD), "a", found.etag),
        lambda: editing.delete("users", "a", found.etag),
        lambda: editing.put(Draft("new", GOOD), "a", found.etag),
    ):
        with pytest.raises(Outdated) as caught:
            await act()
        assert not caught.value.missing
    assert shop(main).read_text() == FILE + "# changed meanwhile\n"


async def test_of_two_who_saw_the_same_one_writes(editing: Editing, main: Path) -> None:
    found = await editing.show("users")
    texts = [found.yaml.replace("DB_INSERT", kind) for kind in ("DB_UPDATE", "DB_DELETE")]
    done = await asyncio.gather(*(editing.put(Draft("users", text), "a", found.etag) for text in texts), return_exceptions=True)
    assert sorted(isinstance(each, Outdated) for each in done) == [False, True]
    done = await asyncio.gather(*(editing.put(Draft("new", GOOD), "a", None) for _ in range(2)), return_exceptions=True)
    assert sorted(isinstance(each, Outdated) for each in done) == [False, True]


@pytest.mark.parametrize(
    ("definition", "line", "column", "field", "what"),
    [
        ("type: DB_INSERT\ntable: users\nwebhook: http://x\nwhen: new.x ==\n", 4, 7, "when", "at character"),
        ("type: DB_INSERT\ntable: users\nwebhok: http://x\n", 3, 1, "webhok", "did you mean"),
        ("type: DB_INSERT\ntable: users\nwebhook:\n  url: http://x\n  timeout: 5\n", 5, 12, "webhook.timeout", "unit"),
        ("type: DB_INSERT\ntable: users\nwebhook: http://x\nkey: [a\n", 5, 1, "", "not YAML"),
        ("type: DB_INSERT\nwebhook: http://x\n", 1, 1, "table", "'table' is missing"),
        ("- a\n", 1, 1, "", "mapping of options"),
        ("type: DB_INSERT\ntable: users\nwebhook: ${env:NOBODY_SET_IT}\n", 3, 10, "", "NOBODY_SET_IT is not set"),
    ],
)
async def test_mistakes_have_their_places(
    editing: Editing, main: Path, definition: str, line: int, column: int, field: str, what: str
) -> None:
    for name in ("users", "new"):
        mistakes = await editing.validate(Draft(name, definition))
        found = next(mistake for mistake in mistakes if what in mistake.what)
        assert (found.line, found.column, found.field) == (line, column, field), mistakes
        with pytest.raises(Invalid):
            await editing.put(Draft(name, definition), "a", (await editing.show("users")).etag if name == "users" else None)
    assert shop(main).read_text() == FILE
    assert listed(main) == ["shop.yaml"]


async def test_a_good_draft_has_no_mistakes(editing: Editing) -> None:
    assert await editing.validate(Draft("users", GOOD)) == []
    assert await editing.validate(Draft("new", GOOD)) == []
    assert await editing.validate(Draft("in-main", GOOD)) == []
    assert editing.config_with(Draft("new", GOOD)).triggers["new"].tables == ("public.users",)
    assert await editing.validate(Draft("a b", GOOD)) != []
    assert await editing.validate(Draft("../x", GOOD)) != []


async def test_a_mistake_elsewhere_is_told_with_its_file(editing: Editing, main: Path) -> None:
    (main.parent / "triggers/zz.yaml").write_text("triggers:\n  zz: {type: PAID}\n")
    broken = Editing(lambda: load(main, {}, texts={main.parent / "triggers/zz.yaml": ""}), partial(read, main))
    (mistake,) = await broken.validate(Draft("users", GOOD))
    assert (mistake.line, mistake.column) == (0, 0)
    assert "zz.yaml:2:" in mistake.what


@pytest.mark.parametrize("error", [ConfigError(["it has no table"]), StoreUnavailable("away")])
async def test_a_reload_that_refuses_leaves_the_file_as_it_was(
    editing: Editing, main: Path, reloading: Reloading, error: Exception
) -> None:
    reloading.refuses = error
    found = await editing.show("users")
    acts: list[Callable[[], Any]] = [
        lambda: editing.put(Draft("users", GOOD), "a", found.etag),
        lambda: editing.put(Draft("new", GOOD), "a", None),
        lambda: editing.delete("users", "a", found.etag),
        lambda: editing.switch("users", "a", enabled=False),
    ]
    for act in acts:
        with pytest.raises(Invalid if isinstance(error, ConfigError) else StoreUnavailable):
            await act()
        assert shop(main).read_text() == FILE
        assert listed(main) == ["shop.yaml"]


async def test_where_cdcd_may_not_write_it_says_so(main: Path, reloading: Reloading, monkeypatch: pytest.MonkeyPatch) -> None:
    editing = Editing(lambda: read(main, {}), partial(read, main), reloading)
    found = await editing.show("users")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert "not writable" in (await editing.show("users")).read_only
    with pytest.raises(NotWritable, match="not writable"):
        await editing.put(Draft("users", GOOD), "a", found.etag)
    with pytest.raises(NotWritable, match="not writable") as caught:
        await editing.put(Draft("new", GOOD), "a", None)
    assert "include" in caught.value.hint
    write(main, MAIN.replace("include: triggers/*.yaml\n", ""))
    with pytest.raises(NotWritable, match="no `include`"):
        await editing.put(Draft("new", GOOD), "a", None)


async def test_a_file_that_include_names_is_never_removed(main: Path) -> None:
    write(main, MAIN.replace("triggers/*.yaml", "more.yaml"))
    write(main.parent / "more.yaml", "triggers: {}\n")
    editing = Editing(lambda: read(main, {}), partial(read, main))
    found, _ = await editing.put(Draft("new", GOOD), "a", None)
    assert read(main, {}).triggers.keys() == {"in-main", "new"}
    await editing.delete("new", "a", found.etag)
    assert (main.parent / "more.yaml").read_text() == "triggers: {}\n"


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfold: 1\n")
    file = files.read(path)
    assert (file.text, file.bom) == ("old: 1\n", True)
    files.put(file, "new: 1\n")
    assert path.read_bytes() == b"\xef\xbb\xbfnew: 1\n"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.put(file, "x")
    assert [each.name for each in tmp_path.iterdir()] == ["a.yaml"]
    assert path.read_bytes() == b"\xef\xbb\xbfnew: 1\n"


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.yaml").write_text("old: 1\n")
    link = tmp_path / "a.yaml"
    link.symlink_to("real/a.yaml")
    files.put(files.read(link), "new: 1\n")
    assert link.is_symlink()
    assert (tmp_path / "real/a.yaml").read_text() == "new: 1\n"
