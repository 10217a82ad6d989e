"""`server`: how it is reached, and what an operator is told about tokens on the way."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cdcd.config.load import load
from cdcd.config.model import Config
from cdcd.errors import ConfigError

LONG = "k" * 32


def loaded(folder: Path, server: Any) -> Config:
    path = folder / "cdcd.yaml"
    path.write_text(yaml.safe_dump({"project": "shop", "secret": LONG, "databases": {}, "triggers": {}, "server": server}))
    return load(path, {})


@pytest.mark.parametrize(
    ("server", "warning"),
    [
        ("127.0.0.1:1", ""),
        ("0.0.0.0:1", "give server.tls"),
        ({"listen": "[::]:1", "public_url": "http://cdcd.example.com"}, "give server.tls"),
        ({"listen": "0.0.0.0:1", "public_url": "https://cdcd.example.com"}, "let them come by way of a proxy"),
        ({"listen": "0.0.0.0:1", "tls": "server.pem"}, ""),
        ({"listen": "127.0.0.1:1", "public_url": "https://cdcd.example.com"}, ""),
        ({"listen": "127.0.0.1:1", "public_url": "http://cdcd.example.com"}, "tokens go in the clear to it"),
    ],
)
def test_tokens_in_the_clear_are_warned_of(tmp_path: Path, server: Any, warning: str) -> None:
    found = loaded(tmp_path, server).warnings
    assert len(found) == bool(warning)
    assert warning in "".join(found)


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({"listen": "127.0.0.1:4122"}, "http://127.0.0.1:4122"),
        ({"listen": "[::1]:4122", "tls": {"cert": "a.pem", "key": "a.key"}}, "https://[::1]:4122"),
        ({"public_url": "https://CDCD.example.com/"}, "https://cdcd.example.com"),
    ],
)
def test_under_which_url_people_reach_it(tmp_path: Path, server: Any, url: str) -> None:
    found = loaded(tmp_path, server).server
    assert found is not None
    assert found.url == url


def test_files_are_relative_to_the_configuration(tmp_path: Path) -> None:
    found = loaded(tmp_path, {"tls": "server.pem"}).server
    assert found is not None
    assert found.tls == (tmp_path / "server.pem", tmp_path / "server.pem")


@pytest.mark.parametrize(
    "url", ["cdcd.example.com", "https://cdcd.example.com/path", "https://user@cdcd.example.com", "ftp://x"]
)
def test_a_public_url_is_an_origin(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, {"public_url": url})
    assert "public_url" in caught.value.mistakes[0]
