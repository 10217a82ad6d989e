"""`cdcd token`, and where the API may listen."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cdcd.cli.main import app
from cdcd.clock import SystemClock
from cdcd.config import load
from cdcd.errors import ConfigError
from cdcd.server.auth import Tokens

STRONG = "whsec_" + "A" * 43 + "="
TEXT = "project: shop\nsecret: {secret}\nserver: {server}\n"


def written(tmp_path: Path, secret: str = STRONG, server: str = "127.0.0.1:4122") -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(TEXT.format(secret=secret, server=server))
    return path


def run(path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["token", "-c", str(path), *arguments])


def test_a_token_is_good_for_the_api(tmp_path: Path) -> None:
    path = written(tmp_path)
    made = run(path, "--role", "admin, shop", "--ttl", "5m", "--subject", "alice", "--claim", "level=3")
    assert made.exit_code == 0, made.output
    claims = Tokens(load(path, {}).secrets, "shop", SystemClock()).claims(f"Bearer {made.stdout.strip()}")
    assert {name: claims[name] for name in ("role", "sub", "level", "aud")} == {
        "role": ["admin", "shop"],
        "sub": "alice",
        "level": 3,
        "aud": "cdcd/shop",
    }
    assert claims["exp"] - claims["iat"] == 300


def test_the_api_s_own_secrets_sign_and_are_as_strong(tmp_path: Path) -> None:
    own = "{listen: '10.0.0.1:1', secrets: [{value: %s, kid: api}, {value: %s}]}"
    path = written(tmp_path, "0123456789abcdef01234567", own % ("b" * 32, "c" * 32))
    config = load(path, {})
    made = run(path, "--role", "admin").stdout.strip()
    (key, other) = config.token_secrets
    assert (key.kid, key.value, other.value) == ("api", b"b" * 32, b"c" * 32)
    assert Tokens((key,), "shop", SystemClock()).claims(f"Bearer {made}")["role"] == "admin"
    with pytest.raises(ConfigError, match="at least 32 bytes"):
        load(written(tmp_path, STRONG, own % ("b" * 32, "c" * 20)), {})


@pytest.mark.parametrize(
    ("secrets", "mistake"),
    [
        (f"[{{value: {STRONG}}}]", "server.secrets[1].value: is a secret of the project"),
        ("[{value: short}]", "server.secrets[1].value: must have at least 16 bytes"),
        (f"[{{value: {'b' * 32}}}, {{value: {'b' * 32}}}]", "server.secrets[2].value: another secret has the same kid"),
        ("[]", "server.secrets: "),
    ],
)
def test_mistakes_of_the_api_s_secrets(tmp_path: Path, secrets: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, STRONG, f"{{secrets: {secrets}}}"), {})
    assert mistake in caught.value.mistakes[0]
    assert "b" * 32 not in str(caught.value)


@pytest.mark.parametrize("wrong", [("--ttl", "5"), ("--claim", "x"), ("--claim", "exp=1")])
def test_wrong_options_are_told(tmp_path: Path, wrong: tuple[str, str]) -> None:
    assert run(written(tmp_path), *wrong).exit_code == 2


def test_the_console_s_address_with_a_token_that_signs_in(tmp_path: Path) -> None:
    public = "{public_url: 'https://cdcd.example.com'}"
    for server, origin in (("127.0.0.1:4122", "http://127.0.0.1:4122"), (public, "https://cdcd.example.com")):
        path = written(tmp_path, server=server)
        address, _, made = run(path, "--role", "viewer", "--console").stdout.strip().partition("#token=")
        assert address == f"{origin}/console/"
        assert Tokens(load(path, {}).secrets, "shop", SystemClock()).claims(f"Bearer {made}")["role"] == "viewer"


def test_there_is_no_such_address_where_nobody_knows_the_port(tmp_path: Path) -> None:
    refused = run(written(tmp_path, server="127.0.0.1:0"), "--console")
    assert refused.exit_code == 2
    assert "no port that is known" in " ".join(refused.output.split())


def test_no_token_without_a_configuration(tmp_path: Path) -> None:
    assert run(tmp_path / "none.yaml").exit_code == 1


@pytest.mark.parametrize("server", ["0.0.0.0:4122", "'[::]:4122'", "shop.example.com:80", "{listen: '10.0.0.1:1'}"])
def test_listening_for_others_needs_a_strong_secret(tmp_path: Path, server: str) -> None:
    assert load(written(tmp_path, server=server), {}).server is not None
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "0123456789abcdef01234567", server), {})
    (mistake,) = caught.value.mistakes
    assert "c.yaml:3:" in mistake
    assert "needs secrets of at least 32 bytes; make them with: echo whsec_$(openssl rand -base64 32)" in mistake


@pytest.mark.parametrize("server", ["127.0.0.1:4122", "localhost:1", "'[::1]:4122'", "127.9.9.9:0", "{}"])
def test_loopback_does_not(tmp_path: Path, server: str) -> None:
    assert load(written(tmp_path, "0123456789abcdef01234567", server), {}).server is not None
