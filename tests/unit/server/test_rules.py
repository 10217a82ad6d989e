"""What may be queued: schemas and `allow`, compiled with every mistake told at its place."""

from pathlib import Path
from typing import Any

import pytest

from cdcd.config import load
from cdcd.errors import ConfigError
from cdcd.server import rules
from cdcd.server.problems import Reasons
from cdcd.server.rules import Rules, compile_rules

BASE = """\
project: shop
secret: 0123456789abcdef01234567
triggers:
  t: {type: WANTED, webhook: "http://localhost:9/"}
  off: {type: UNWANTED, webhook: "http://localhost:9/", enabled: false}
events:
  FREE:
"""


def made(tmp_path: Path, events: str) -> Rules:
    path = tmp_path / "c.yaml"
    path.write_text(BASE + events)
    return compile_rules(load(path, {}, None, rules.mistakes_of))


def reasons(known: Rules, kind: str, payload: object, claims: Any = None) -> tuple[int, list[tuple[str, str]]]:
    into = Reasons()
    known.check(kind, payload, {} if claims is None else claims, "/data", into)
    return into.status, [(reason.pointer, reason.detail) for reason in into.found]


def test_which_types_exist(tmp_path: Path) -> None:
    known = made(tmp_path, "  BOUND: {schema: {type: object}}\n")
    assert known.types == ("BOUND", "FREE", "WANTED")
    assert [known.free(kind) for kind in known.types] == [False, True, True]
    assert not known.known("UNWANTED")


def test_a_last_resort_is_queued_by_others_only_when_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(BASE.replace("type: WANTED", "type: [dlq_ship, dlq_mine]") + "  dlq_mine:\n")
    assert compile_rules(load(path, {}, None, rules.mistakes_of)).types == ("FREE", "dlq_mine")


def test_a_schema_tells_every_violation(tmp_path: Path) -> None:
    schema = "{type: object, required: [id], properties: {id: {type: integer}, a/b: {$ref: '#/$defs/t'}}, $defs: {t: {type: string}}}"
    known = made(tmp_path, f"  A: {{schema: {schema}}}\n")
    assert reasons(known, "A", {"id": 1, "a/b": "x"}) == (0, [])
    status, found = reasons(known, "A", {"a/b": 5})
    assert status == 422
    assert sorted(found) == [("/data", '"id" is a required property'), ("/data/a~1b", 'it is not of type "string"')]


def test_a_reason_repeats_nothing_of_the_payload(tmp_path: Path) -> None:
    rules = [
        *("type: integer", "enum: [1, 2]", "const: 1", "maxLength: 2", "pattern: ^a$", "not: {type: string}", "{}: false"),
        *("oneOf: [{type: integer}, {type: 'null'}]", "anyOf: [{type: integer}]", "minLength: 99", "uniqueItems: true"),
        *(
            "additionalProperties: false",
            "propertyNames: {maxLength: 1}",
            "unevaluatedProperties: false",
            "contains: {type: 'null'}",
        ),
        *("unevaluatedItems: false", "multipleOf: 5", "maximum: 1", "maxProperties: 0", "items: false"),
    ]
    known = made(
        tmp_path, "".join(f"  T{number}: {{schema: {{{rule}}}}}\n" for number, rule in enumerate(rules) if rule[0] != "{")
    )
    payloads: list[Any] = ["SECRET", ["SECRET", "SECRET"], {"SECRET": "SECRET"}, 424242]
    found = [reasons(known, kind, payload)[1] for kind in known.types if kind[1:].isdigit() for payload in payloads]
    assert all(found[number : number + 4] for number in range(0, len(found), 4))
    assert not [detail for each in found for _, detail in each if "SECRET" in detail or "424242" in detail]


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        ("pattern: '^(a+)+$'", "a" * 500_000 + "b"),
        ("pattern: 'x*x*x*x*y'", "x" * 500_000),
        ("patternProperties: {'^(a+)+$': true}, additionalProperties: false", {"a" * 500_000 + "b": 1}),
        ("patternProperties: {'^(a+)+$': true}, unevaluatedProperties: false", {"a" * 500_000 + "b": 1}),
        ("uniqueItems: true", [{"a": n} for n in range(50_000)] + [{"a": 1}]),
        ("items: {type: string}", list(range(200_000))),
        ("anyOf: [{items: {$ref: '#'}, type: array}, {additionalProperties: {$ref: '#'}, type: object}]", [["x"] * 1000] * 100),
    ],
)
def test_checking_takes_time_in_proportion_to_the_size(tmp_path: Path, schema: str, payload: Any) -> None:
    """Whatever is worse than that would not end before pytest's time is over."""
    known = made(tmp_path, f"  A: {{schema: {{{schema}}}}}\n")
    into = Reasons()
    known.check("A", payload, None, "/data", into, large=True)
    assert len(into.found) == 1
    assert len(into.found[0].detail) + len(into.found[0].pointer) < 1000


def test_deep_payloads_and_schemas_that_hold_themselves(tmp_path: Path) -> None:
    known = made(tmp_path, "  A: {schema: {$ref: '#'}}\n  B: {schema: {items: {$ref: '#'}}}\n")
    deep: list[Any] = []
    for _ in range(1000):
        deep = [deep]
    assert reasons(known, "A", {})[0] in (0, 422)
    assert reasons(known, "B", deep)[0] in (0, 422)


def test_allow(tmp_path: Path) -> None:
    known = made(tmp_path, """  A: {allow: 'auth.role == "clerk" && payload.total < 100.0'}\n""")
    assert reasons(known, "A", {"total": 5.0}, {"role": "clerk"}) == (0, [])
    assert reasons(known, "A", {"total": 500.0}, {"role": "clerk"})[0] == 403
    status, found = reasons(known, "A", {}, {"role": "clerk"})
    assert (status, found) == (403, [("/data", "`allow` of A could not be evaluated: payload.total is not in this A")])
    assert reasons(known, "A", [1], {"role": "clerk"})[0] == 403
    assert reasons(known, "A", {"total": 5.0}, {})[0] == 403


def test_allow_that_is_no_condition_allows_nothing(tmp_path: Path) -> None:
    assert reasons(made(tmp_path, "  A: {allow: payload.x}\n"), "A", {"x": 1})[0] == 403


def test_every_mistake_is_told_at_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        made(
            tmp_path,
            """\
  A: {schema: {type: strnig}, allow: auth.role ==}
  B: {schema: {$ref: "https://example.com/schema.json"}}
  C: {schema: {$ref: "#/$defs/none"}}
  D: {schema: {$schema: "http://json-schema.org/draft-07/schema#"}}
  E: {allow: claims.role == "x"}
  F: {schema: {pattern: "("}}
  G: {schema: {patternProperties: {"(?=a)": true}}}
""",
        )
    found = [mistake.partition("c.yaml:")[2] for mistake in caught.value.mistakes]
    assert [each.split(": ")[:2] for each in found] == [
        ["8:15", "events.A.schema"],
        ["8:38", "events.A.allow"],
        ["9:15", "events.B.schema"],
        ["10:15", "events.C.schema"],
        ["11:15", "events.D.schema"],
        ["12:14", "events.E.allow"],
        ["13:15", "events.F.schema"],
        ["14:15", "events.G.schema"],
    ]
    assert "nothing is fetched" in found[2]
    assert "there is no 'claims'" in found[5]
    assert "at /patternProperties/(?=a), or one that is not matched in linear time" in found[7]
