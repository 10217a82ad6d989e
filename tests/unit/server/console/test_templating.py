"""The templates: compiled once, in a thread, for whoever asks first and whoever asks meanwhile; what is wrong with one is told to all."""

import asyncio
from pathlib import Path

import pytest
from jinja2 import TemplateSyntaxError

from cdcd.server.console import templating
from cdcd.server.console.static import Static
from cdcd.server.console.templating import Templates, templates


async def test_all_are_compiled_once_whoever_asks() -> None:
    made = Templates(Static())
    compiled = made.begin()
    assert made.begin() is compiled
    await asyncio.gather(made.ready(), made.ready())
    assert compiled.done()
    kept = made._environment.cache
    assert kept is not None
    assert {name for _, name in kept.keys()} == {path.name for path in templating.FOLDER.iterdir()}  # noqa: SIM118


async def test_a_mistake_in_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrong.html").write_text("{% if %}")
    monkeypatch.setattr(templating, "FOLDER", tmp_path)
    made = Templates(Static())
    for _ in range(2):  # who comes afterwards is told too
        with pytest.raises(TemplateSyntaxError):
            await made.ready()


def test_a_reload_finds_those_that_are_there() -> None:
    assert templates() is templates()
