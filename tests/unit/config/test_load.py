"""What a valid file means."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.config import load
from cdcd.config.checks import endpoint, url_problem
from cdcd.config.globs import parse_glob
from cdcd.config.model import Config, Egress, Format, Limits, Order, Retries
from cdcd.config.quantities import duration, size
from cdcd.config.secrets import secret_key
from cdcd.config.tables import parse_table
from cdcd.config.templates import Code, escaped, pieces

HEAD = "project: shop\nsecret: 0123456789abcdef01234567\ndatabases: {main: {url: postgresql://localhost/shop}}\n"


def loaded(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    path = tmp_path / "cdcd.yaml"
    path.write_text(text)
    return load(path, environ or {})


def test_defaults(tmp_path: Path) -> None:
    config = loaded(tmp_path, HEAD + "triggers: {t: {type: DB_INSERT, table: users, webhook: 'https://a.example/x'}}\n")
    assert config.limits == Limits()
    assert config.eventing.database is None
    assert (config.eventing.schema, config.eventing.retention) == ("cdcd", 7 * 86400)
    assert config.eventing.state_dir == tmp_path / ".cdcd"
    assert config.databases["main"].slot == config.databases["main"].publication == "cdcd_shop_main"
    trigger = config.triggers["t"]
    assert (trigger.database, trigger.order, trigger.format, trigger.enabled) == ("main", Order.KEY, Format.JSON, True)
    assert trigger.retries == Retries()
    assert (trigger.webhook.endpoint, trigger.webhook.timeout, trigger.webhook.egress) == (
        "https://a.example:443",
        5.0,
        Egress.PRIVATE,
    )
    assert trigger.where == f"{tmp_path}/cdcd.yaml:4:12"
    assert config.warnings == ()


def test_short_forms(tmp_path: Path) -> None:
    text = (
        HEAD
        + "triggers: {t: {type: [DB_UPDATE, DB_DELETE], table: [a, b.*], columns: x, webhook: {url: 'http://a', egress: public}, "
    )
    trigger = loaded(tmp_path, text + "retries: 0}}\n").triggers["t"]
    assert trigger.types == {"DB_UPDATE", "DB_DELETE"}
    assert (trigger.tables, trigger.columns) == (("a", "b.*"), frozenset({"x"}))
    assert (trigger.webhook.egress, trigger.retries.max) == (Egress.PUBLIC, 0)


def test_yaml_1_2_keeps_words_and_dates_as_text(tmp_path: Path) -> None:
    text = HEAD + "triggers: {on: {type: DB_INSERT, table: [yes, 2026-11-23], webhook: 'http://a'}}\n"
    assert loaded(tmp_path, text).triggers["on"].tables == ("yes", "2026-11-23")


def test_anchors_and_merges(tmp_path: Path) -> None:
    text = HEAD + "triggers:\n  a: &a {type: DB_INSERT, table: x, webhook: 'http://a', retries: 7}\n  b: {<<: *a, table: y}\n"
    triggers = loaded(tmp_path, text).triggers
    assert (triggers["b"].tables, triggers["b"].retries.max, triggers["a"].tables) == (("y",), 7, ("x",))


def test_substitution(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    text = HEAD + (
        "triggers: {t: {type: DB_INSERT, table: x, concurrency: '${env:N}', "
        "webhook: {url: 'http://${env:HOST}/$${x}', headers: {A: 'Bearer ${file:token}'}}}}\n"
    )
    config = loaded(tmp_path, text, {"HOST": "h", "N": "3"})
    webhook = config.triggers["t"].webhook
    assert pieces(webhook.url) == ["http://h/${x}"]
    assert webhook.headers == (("A", "Bearer s3cret"),)
    assert config.triggers["t"].concurrency == 3
    assert "s3cret" not in repr(config)


def test_credentials_of_the_service_manager(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "secret").write_text("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
    text = HEAD.replace("0123456789abcdef01234567", "${credential:secret}")
    config = loaded(tmp_path, text, {"CREDENTIALS_DIRECTORY": str(tmp_path / "given")})
    assert config.secrets[0].value == b"0123456789abcdef0123456789abcdef"


def test_repr_shows_no_secret(tmp_path: Path) -> None:
    config = loaded(tmp_path, HEAD.replace("localhost", "me:hunter2@localhost"))
    assert "hunter2" not in repr(config)
    assert "0123456789abcdef" not in repr(config)


def test_included_triggers_and_their_paths(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "ca.pem").write_text("")
    (tmp_path / "more" / "a.yaml").write_text(
        "triggers: {a: {type: DB_INSERT, table: x, webhook: {url: 'https://a', ca: ca.pem}}}\n"
    )
    (tmp_path / "more" / "empty.yaml").write_text("")
    config = loaded(tmp_path, HEAD + "include: [more/*.yaml, more/a.yaml]\n")
    assert config.triggers["a"].webhook.ca == tmp_path / "more" / "ca.pem"
    assert config.triggers["a"].where == f"{tmp_path}/more/a.yaml:1:12"


def test_a_weak_secret_is_warned_about(tmp_path: Path) -> None:
    assert loaded(tmp_path, HEAD.replace("01234567\n", "\n", 1)).warnings == (
        f"{tmp_path}/cdcd.yaml:2:9: the secret has fewer than 24 bytes, which makes it easier to guess",
    )


def test_the_last_resort_of_a_trigger_that_is_not_there_is_warned_about(tmp_path: Path) -> None:
    """And nothing is said of one that is, also from another file."""
    triggers = "triggers:\n  mail: {type: DB_INSERT, table: x, webhook: 'https://a'}\n"
    for name, kind in (("a", "dlq_mail"), ("b", "dlq_a"), ("c", "dlq_mali")):
        triggers += f"  {name}: {{type: {kind}, webhook: 'https://a'}}\n"
    (warning,) = loaded(tmp_path, HEAD + triggers).warnings
    assert warning.endswith(
        "triggers.c.type: no trigger is named mali, so cdcd itself never queues dlq_mali; did you mean dlq_mail?"
    )


def test_secrets_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "project: a\nsecrets: [{value: 0123456789abcdef01234567, kid: new}, {value: whsec_" + "A" * 32 + "}]\n"
    first, second = loaded(tmp_path, text).secrets
    assert (first.value, first.kid) == (b"0123456789abcdef01234567", "new")
    assert (second.value, len(second.kid)) == (b"\0" * 24, 16)


def test_the_default_kid_is_stable() -> None:
    assert secret_key("x" * 24).kid == secret_key("x" * 24).kid != secret_key("y" * 24).kid


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("1h30m", 5400), ("250ms", 0.25), ("7d", 604800), ("1.5s", 1.5), ("2w", 1209600), ("0s", 0), ("1m500ms", 60.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5S", "5s ", "1h30", 5, 0, 1.5, True, None, ["5s"]])
def test_no_durations(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "count"), [("64MiB", 2**26), ("1MB", 10**6), ("0B", 0), ("1.5KiB", 1536), ("2 GB", 2 * 10**9), ("3kB", 3000)]
)
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "5", "MB", "5mb", "-1MB", "5 M B", 5, True, None])
def test_no_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="size"):
        size(text)


@given(st.text())
def test_no_text_makes_quantities_fail_otherwise(text: str) -> None:
    for parse in (duration, size):
        with suppress(ValueError):
            assert parse(text) >= 0


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a", "http://a:80"),
        ("https://A.example/x?y", "https://a.example:443"),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
        ("http://[::1]/x", "http://[::1]:80"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_the_endpoint_of_a_url(url: str, origin: str) -> None:
    assert url_problem(url) == ""
    assert endpoint(url) == origin


@given(st.text().filter(lambda text: "${" not in text))  # what stands behind one is a template's own mistake
def test_any_text_is_a_url_or_has_a_problem(text: str) -> None:
    if not url_problem("http://" + text):
        assert endpoint("http://" + text).startswith("http://")


TABLES: list[tuple[str, str, str, bool]] = [
    ("users", "public", "users", True),
    ("users", "other", "users", False),
    ("users", "public", "users2", False),
    ("public.user*", "public", "users", True),
    ("*", "public", "anything", True),
    ("*", "other", "anything", False),
    ("*.*", "other", "anything", True),
    ("s?les.o[rd]*", "sales", "orders", True),
    ("Users", "public", "users", False),
    ('"Odd.Name"."a b"', "Odd.Name", "a b", True),
    ('"a*"', "public", "ab", False),
    ('"a*"', "public", "a*", True),
    ('"a""b"', "public", 'a"b', True),
    ("größe.tabelle", "größe", "tabelle", True),
    ("a+b", "public", "a+b", True),
]


@pytest.mark.parametrize(("pattern", "schema", "table", "matches"), TABLES)
def test_table_patterns(pattern: str, schema: str, table: str, matches: bool) -> None:
    assert parse_table(pattern).matches(schema, table) is matches


@pytest.mark.parametrize("text", ["", "a.b.c", "a b", ".a", "a.", '"a', 'a"b', '""'])
def test_no_table_patterns(text: str) -> None:
    with pytest.raises(ValueError, match="not a table"):
        parse_table(text)


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("**/*.{jpg,png}", "a/b/c.png", True),
        ("**/*.{jpg,png}", "c.jpg", True),
        ("**/*.{jpg,png}", "c.jpeg", False),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**/z", "a/z", True),
        ("*.txt", "a/b.txt", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[!a]x", "bx", True),
        ("[!a]x", "ax", False),
        ("[!a]x", "/x", False),
        ("[a-c]x", "bx", True),
        ("[]]x", "]x", True),
        ("{a,b{c,d}}/x", "bd/x", True),
        ("a.c", "abc", False),
        ("été*", "été 1", True),
    ],
)
def test_globs(glob: str, path: str, matches: bool) -> None:
    assert (parse_glob(glob).fullmatch(path) is not None) is matches


@pytest.mark.parametrize("glob", ["", "/a", "a/", "../a", "a/./b", "a**", "**b", "[a", "{a", "[b-a]"])
def test_what_is_no_glob(glob: str) -> None:
    with pytest.raises(ValueError, match="not a glob of paths"):
        parse_glob(glob)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("plain", ["plain"]),
        ("${ new.a }", [Code("new.a")]),
        ("a${new.a}b", ["a", Code("new.a"), "b"]),
        ("$${x}", ["${x}"]),
        ("""${ {"a": "}"}["a"] }!""", [Code("""{"a": "}"}["a"]"""), "!"]),
        (r"""${ 'it\'s }' }""", [Code(r"""'it\'s }'""")]),
        ("""${ '''a'}''' }""", [Code("""'''a'}'''""")]),
    ],
)
def test_pieces_of_a_template(text: str, expected: list[str | Code]) -> None:
    assert pieces(text) == expected
    assert pieces(escaped(text)) == ([text] if text else [])


def test_what_is_put_into_a_template_is_no_expression(tmp_path: Path) -> None:
    text = HEAD + "triggers: {t: {type: DB_INSERT, table: x, webhook: http://h, payload: {a: ['${env:A} ${ new.b }', 1]}}}\n"
    payload = loaded(tmp_path, text, {"A": "${ new.secret }"}).triggers["t"].payload
    assert isinstance(payload, dict)
    assert payload == {"a": ["$${ new.secret } ${new.b}", 1]}
    assert pieces(payload["a"][0]) == ["${ new.secret } ", Code("new.b")]
