"""What a trigger says of its requests fits together, and its expressions' mistakes come with all others, each at its own place."""

from pathlib import Path

import pytest

from cdcd.config import load
from cdcd.config.outline import outline
from cdcd.errors import ConfigError
from cdcd.triggers.trigger import compile_all, mistakes_of
from tests.unit.config.test_mistakes import TRIGGER, VALID, mistakes

STORE = VALID + "storage: {up: {path: /tmp}}\n"
HOOK = TRIGGER.replace("    webhook: http://localhost:9000/\n", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            STORE + "triggers:\n  t: {type: FILE_CREATE, webhook: http://h/, format: hasura}\n",
            "c.yaml:6:54: triggers.t.format: `hasura` is for rows: Hasura has no such events; use json or raw",
        ),
        (
            TRIGGER.replace("DB_INSERT", "[DB_INSERT, DB_TRUNCATE]") + "    format: hasura\n",
            "c.yaml:9:13: triggers.t.format: `hasura` has no DB_TRUNCATE; make a trigger of its own for that",
        ),
        (
            TRIGGER + "    format: cloudevents\n    payload: {a: 1}\n",
            "c.yaml:10:5: triggers.t.payload: has no meaning with `format: cloudevents`, which says what the body is; "
            "use json or cloudevents-binary",
        ),
        (
            HOOK + "    webhook: {url: http://h/, method: DELETE}\n    format: raw\n",
            "c.yaml:9:13: triggers.t.format: `raw` has no meaning with `method: DELETE`, which sends no body; "
            "put the event in url and headers",
        ),
        (
            HOOK + "    webhook: {url: http://h/, method: GET}\n    payload: x\n",
            "c.yaml:9:5: triggers.t.payload: has no meaning with `method: GET`, whose requests have no body",
        ),
        (
            TRIGGER + "    claims: {tenant: a, sub: b}\n",
            "c.yaml:9:25: triggers.t.claims.sub: is set by cdcd itself and cannot be given",
        ),
        (
            HOOK + '    webhook: {url: "http://${ new.host }/"}\n',
            "c.yaml:8:20: triggers.t.webhook.url: scheme, host and port must be plain; expressions may stand in path and query",
        ),
        (
            HOOK + '    webhook: "http://h:${ string(new.port) }/"\n',
            "c.yaml:8:14: triggers.t.webhook: scheme, host and port must be plain; expressions may stand in path and query",
        ),
        (
            HOOK + '    webhook: {url: http://h/, headers: {X-A: "a\\nb"}}\n',
            "c.yaml:8:46: triggers.t.webhook.headers.X-A: a header's value cannot have line breaks or control characters",
        ),
    ],
)
def test_what_does_not_fit_together(tmp_path: Path, text: str, expected: str) -> None:
    assert mistakes(tmp_path, text) == [expected]


@pytest.mark.parametrize("levels", [97, 5_000])
def test_a_payload_that_is_nested_too_deeply(tmp_path: Path, levels: int) -> None:
    [mistake] = mistakes(tmp_path, TRIGGER + f"    payload: {'[' * levels}1{']' * levels}\n")
    assert "nested" in mistake
    path = tmp_path / "c.yaml"
    path.write_text(TRIGGER + f"    payload: {'[' * 96}1{']' * 96}\n")
    assert len(compile_all(load(path, {}, mistakes_of))) == 1


EVERYTHING = """\
project: shop
secret: 0123456789abcdef01234567
databases: {main: {url: postgresql://localhost/shop}}
triggers:
  a:
    type: DB_INSERT
    table: users
    whne: x
    when: new.x ==
    key: nwe.id
    webhook:
      url: http://h/${ nwe.id }?b=${ 1 + "a" }
      headers:
        X-Good: ${ new.id }
        X-Bad: a ${ foo() }
    claims: {tenant: "${ new.tenant }", all: ["${ evnt.id }"]}
    payload:
      id: ${ event.id }
      items:
        - deep: [1, "${ event.nope }"]
  b: {type: NOPE_IT, webhook: "http://h/", payload: "${ new.id }"}
  c: {type: [DB_INSERT, PAID], table: t, webhook: "http://h/", payload: "${ nope }"}
  d: {type: DB_INSERT, table: t, when: "${env:X}", webhook: "http://h/${ new.x"}
  e: 5
"""


def test_mistakes_in_expressions_are_told_with_all_others(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(EVERYTHING)
    with pytest.raises(ConfigError) as caught:
        load(path, {}, mistakes_of)
    told = [mistake.removeprefix(f"{tmp_path}/") for mistake in caught.value.mistakes]
    starts = [
        "c.yaml:8:5: triggers.a: unknown option 'whne'",
        "c.yaml:9:11: triggers.a.when: at character",
        "c.yaml:10:10: triggers.a.key: there is no 'nwe'",
        "c.yaml:12:12: triggers.a.webhook.url: there is no 'nwe'",
        'c.yaml:12:12: triggers.a.webhook.url: `1 + "a"` raised: the types of its operands do not fit together',
        "c.yaml:15:16: triggers.a.webhook.headers.X-Bad: there is no function 'foo'",
        "c.yaml:16:47: triggers.a.claims.all[1]: there is no 'evnt'; did you mean 'event'?",
        "c.yaml:20:21: triggers.a.payload.items[1].deep[2]: event has no 'nope'",
        "c.yaml:21:53: triggers.b.payload: there is no 'new'",  # NOPE_IT is a custom type
        "c.yaml:22:13: triggers.c.type: all types of a trigger come from one kind of source",
        "c.yaml:23:40: an expression is taken as it is written",
        "c.yaml:23:61: a ${ without its }",
        "c.yaml:24:6: triggers.e: must be a mapping",
    ]
    assert [mistake[: len(start)] for mistake, start in zip(told, starts, strict=True)] == starts


GOOD = """\
project: shop
secret: 0123456789abcdef01234567
databases: {main: {url: postgresql://localhost/shop}}
triggers:
  a:
    type: [DB_UPDATE]
    table: users
    when: new.x == 1
    key: string(new.id)
    order: key
    webhook:
      url: http://h/${ new.id }
      method: PUT
      headers: {X-Id: "${ new.id }", X-Token: "${env:TOKEN}"}
    claims: {tenant: "${ new.tenant }"}
    payload: {id: "${ event.id }", secret: "a ${file:s} b"}
  b: {type: PAID, webhook: "http://h/$${x}"}
"""


def test_an_outline_has_the_expressions_of_the_whole(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("from-a-file")
    (tmp_path / "c.yaml").write_text(GOOD)
    config = load(tmp_path / "c.yaml", {"TOKEN": "from-the-environment"}, mistakes_of)
    for trigger in config.triggers.values():
        raw = {"type": sorted(trigger.types), "when": trigger.when, "key": trigger.key, "payload": trigger.payload}
        known = outline(
            trigger.name,
            {
                **raw,
                "claims": trigger.claims,
                "webhook": {"url": trigger.webhook.url, "headers": dict(trigger.webhook.headers)},
            },
        )
        assert known is not None
        for name in ("name", "types", "kind", "when", "key", "order", "payload", "claims"):
            assert getattr(known, name) == getattr(trigger, name)
        assert known.webhook.headers == trigger.webhook.headers
        assert known.webhook.url == trigger.webhook.url
    first, second = compile_all(config)
    assert [option for option, _ in first.expressions] == [
        *("when", "key", "payload.id", "claims.tenant", "webhook.headers.X-Id", "webhook.url")
    ]
    assert first.config.put_in == {"from-a-file", "from-the-environment"}
    assert second.templates is None
    assert first.config.place("payload.id") == f"{tmp_path}/c.yaml:16:19"
    assert first.config.place("payload.id.deeper[3]") == f"{tmp_path}/c.yaml:16:19"
    assert first.config.place("nothing") == first.config.where
    assert "from-" not in repr(config)


def test_the_documented_trigger_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text("utf-8")
    shown = page.partition("### The shape of the request")[2].partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "c.yaml").write_text(VALID + shown)
    config = load(tmp_path / "c.yaml", {"SEARCH_TOKEN": "token"}, mistakes_of)
    (trigger,) = compile_all(config)
    assert ("new", "tags") in trigger.columns_used
