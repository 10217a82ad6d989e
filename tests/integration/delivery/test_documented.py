"""docs/receiving.md is true: its bodies and values are what the code makes, its headers what is sent, its code verifies it."""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cdcd.config.model import Format, Limits, Retries, Secret
from cdcd.delivery.answers import events_of
from cdcd.delivery.following import Following
from cdcd.delivery.outcome import classify
from cdcd.delivery.request import CONTENT_TYPE, STRUCTURED
from cdcd.event import Answer, Attempt, Delivered, Delivery, Event, GiveUp, Record, Retry, Status
from cdcd.replication.messages import Column, Relation
from cdcd.replication.values import TypeInfo, codec
from cdcd.sources.rows import Change
from cdcd.sources.truncation import TRUNCATE, truncation_data
from cdcd.triggers.cloudevents import Incoming
from cdcd.triggers.payload import attributes, envelope, hasura
from tests.integration.delivery.endpoints import KEY, delivery
from tests.integration.delivery.test_interop import one_request
from tests.unit.sources.rows import TRANSACTION, U, delete, insert, row, table, update

PAGE = (Path(__file__).parents[3] / "docs" / "receiving.md").read_text("utf-8")
ID = "01a20990-957b-8f2c-9d41-7be03c55a1d2"
WHSEC = "whsec_" + base64.b64encode(KEY).decode()


def section(heading: str) -> str:
    """What stands under a heading of the second or third level."""
    (found,) = re.findall(rf"^###? {re.escape(heading)}$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def code(language: str, heading: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL)
    return str(found)


# Bodies

COLUMNS = {"id": 20, "name": 25, "price": 1700, "manual": 25}


def products(identity: str = "d") -> Relation:
    columns = tuple(Column(name == "id" or identity == "f", name, oid, -1) for name, oid in COLUMNS.items())
    assert identity in ("d", "f")
    return Relation(16400, "public", "products", "f" if identity == "f" else "d", columns)


PLAIN, FULL = table(products()), table(products("f"), ["id"])
CHANGES = {
    "An insert": insert(PLAIN, "42", "Lamp", "9.50", None),
    "An update": update(PLAIN, row("42", "Lamp", "8.25", U)),
    "An update with the whole old row": update(
        FULL, row("42", "Lamp", "8.25", U), row("42", "Lamp", "9.50", "long text"), "full"
    ),
    "An update that changed the key": update(PLAIN, row("43", "Lamp", "8.25", None), row("42", None, None, None), "key"),
    "A delete": delete(PLAIN, row("43", None, None, None)),
    "A delete with the whole old row": delete(FULL, row("43", "Lamp", "8.25", None), "full"),
}


def made(change: Change) -> str:
    """The body that is sent for it."""
    about = delivery()
    about.id = ID
    about.event.type, about.event.subject = change.type, change.subject
    about.event.time, about.event.data = change.transaction.time, change.data()
    return envelope(about, about.event).decode()


@pytest.mark.parametrize("heading", CHANGES)
def test_the_bodies_are_what_the_code_makes(heading: str) -> None:
    shown = code("json", heading)
    assert json.dumps(json.loads(shown)) == json.dumps(json.loads(made(CHANGES[heading])))  # the order of fields too


def test_the_body_of_an_emptied_table() -> None:
    about = delivery()
    about.id = ID
    about.event.type, about.event.subject, about.event.time = TRUNCATE, PLAIN.path, TRANSACTION.time
    about.event.data = truncation_data(PLAIN, TRANSACTION, False, False)
    shown = code("json", "A table that was emptied")
    assert json.dumps(json.loads(shown)) == json.dumps(json.loads(envelope(about, about.event)))


def test_the_events_of_an_answer_are_read_as_shown() -> None:
    """And every field that stands in the table is one that is read, or said to have no effect."""
    body = code("json", "Answers that carry events").encode()
    events = events_of(Answer({"content-type": "application/json"}, body), 1_000_000)
    assert [(event.type, event.data) for event in events if isinstance(event, Incoming)] == [
        ("ORDER_PAID", b'{"id":1}'),
        ("REMINDER", b'{"id":1}'),
        ("AUDIT", b"null"),
    ]
    assert [event.time for event in events if isinstance(event, Incoming)] == [None, 61_000_000, 1_795_510_800_000_000]
    fields = set(re.findall(r"^\| `(\w+)` \|", section("Answers that carry events"), re.MULTILINE))
    assert fields == {"type", "payload", "delay", "timestamp", "options", "key"}


def test_the_last_resort_has_the_form_that_is_shown() -> None:
    shown = json.loads(code("json", "The last resort"))
    about = delivery()
    about.id, about.trigger = ID, "NAME"
    about.event.type, about.event.time, about.event.data = "DB_INSERT", TRANSACTION.time, b'{"db": "main"}'
    record = Record(about, Status.FAILED, False)
    Following("shop", lambda kind: kind == "dlq_NAME", Limits()).failed(record, 0.0)
    assert json.dumps(json.loads(record.follows[0].data)) == json.dumps(shown)


def welcome() -> Delivery:
    """The delivery that the formats are shown with."""
    change = CHANGES["An insert"]
    event = Event(change.type, "cdcd/shop/main", change.subject, "42", change.transaction.time, change.data())
    return Delivery(ID, "welcome", event, None)


def test_the_hasura_format_is_what_the_code_makes() -> None:
    made = json.loads(hasura(welcome(), 3))
    assert json.dumps(json.loads(code("json", "Hasura"))) == json.dumps(made)


def test_the_headers_of_binary_mode_are_what_the_code_makes() -> None:
    assert code("http", "CloudEvents in binary mode") == "".join(f"{name}: {value}\n" for name, value in attributes(welcome()))


def test_every_format_is_described() -> None:
    told = dict(re.findall(r"^\| `([\w-]+)` \| [^|]+ \| `([\w/+]+)` \|", section("Formats"), re.MULTILINE))
    assert told == {each: STRUCTURED if each is Format.CLOUDEVENTS else CONTENT_TYPE for each in Format}


def test_every_field_is_described() -> None:
    fields: set[str] = set()
    for change in CHANGES.values():
        body = json.loads(made(change))
        fields |= body.keys() | {f"data.{name}" for name in body["data"]}
    assert set(re.findall(r"^\| `([\w.]+)` \|", section("The body"), re.MULTILINE)) == fields


OIDS = {
    "smallint, integer, bigint, oid": 20, "boolean": 16, "numeric": 1700, "real, double precision": 701,
    "json, jsonb": 3802, "timestamp": 1114, "timestamptz": 1184, "date": 1082, "time": 1083, "timetz": 1266,
    "interval": 1186, "bytea": 17, "uuid": 2950, "text[]": 1009, "integer[][]": 1007, "numeric[]": 1231,
    "an enum": 20001, "a domain over integer": 20002, "a composite": 20003, "int4range": 3904, "inet": 869,
}  # fmt: skip
VALUES = re.findall(r"^\| ([^|`]+) \| `([^`]+)` \| `([^`]+)` \|", section("Values"), re.MULTILINE)


@pytest.mark.parametrize(("kind", "text", "shown"), VALUES)
def test_values_are_what_the_code_makes(kind: str, text: str, shown: str) -> None:
    found = codec(OIDS[kind], lambda oid: TypeInfo(base=23) if oid == OIDS["a domain over integer"] else None)
    assert found.json(text.encode()).decode() == shown


def test_every_kind_of_value_is_shown() -> None:
    assert {kind for kind, _, _ in VALUES} == OIDS.keys()


# Headers


async def test_every_header_that_is_sent_is_described() -> None:
    _, headers, _ = await one_request()
    told = set(re.findall(r"^\| `([\w-]+)` \|", section("Headers"), re.MULTILINE))
    assert told - {"X-Cdcd-Test", "traceparent"} == headers.keys()  # of a trial, and with `tracing`


# Outcomes


@pytest.mark.parametrize(
    ("shown", "status", "kind"),
    [
        ("any 2xx", 204, Delivered),
        ("410", 410, GiveUp),
        ("a status in the trigger's `no_retry`", 422, GiveUp),
        ("429, 503", 429, Retry),
        ("3xx", 301, Retry),
        ("any other status", 404, Retry),
        ("no answer", 0, Retry),
    ],
)
def test_outcomes_are_as_told(shown: str, status: int, kind: type) -> None:
    policy = Retries(no_retry=frozenset({422}))
    found = classify(Attempt(1, 0.0, 0.1, status, "", "" if status == 204 else "why"), policy, 1, 0.0, 0.0, lambda: 0.5)
    assert isinstance(found, kind)
    told = {Delivered: "delivered", GiveUp: "`failed` at once", Retry: "tried again"}[kind]
    assert re.search(rf"^\| {re.escape(shown)}[^|]*\| {re.escape(told)}", section("What an answer means"), re.MULTILINE)


# Code that verifies

PYTHON = """
import base64, sys
for case in json.load(open(sys.argv[1])):
    body = base64.b64decode(case["body"])
    print(json.dumps([is_signed(case["headers"], body, case["secret"]), bool(claims(case["headers"], case["secret"], case["origin"]))]))
"""
NODE = """
import { readFileSync } from "node:fs";
for (const each of JSON.parse(readFileSync(process.argv[2]))) {
  const body = Buffer.from(each.body, "base64");
  console.log(JSON.stringify([isSigned(each.headers, body, each.secret), Boolean(claims(each.headers, each.secret, each.origin))]));
}
"""
PHP = """
foreach (json_decode(file_get_contents($argv[1]), true) as $case) {
    $body = base64_decode($case['body']);
    $good = [
        is_signed($case['headers'], $body, $case['secret']),
        claims($case['headers'], $case['secret'], $case['origin']) !== null,
    ];
    echo json_encode($good), "\\n";
}
"""
RUBY = """
JSON.parse(File.read(ARGV[0])).each do |each|
  body = each["body"].unpack1("m")
  good = [signed?(each["headers"], body, each["secret"]), !claims(each["headers"], each["secret"], each["origin"]).nil?]
  puts JSON.generate(good)
end
"""
GO = """package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func main() {
	text, _ := os.ReadFile(os.Args[1])
	var cases []struct {
		Headers              map[string]string
		Body                 []byte
		Secret, Origin string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		panic(err)
	}
	for _, each := range cases {
		headers := http.Header{}
		for name, value := range each.Headers {
			headers.Set(name, value)
		}
		fmt.Printf("[%t, %t]\\n", IsSigned(headers, each.Body, each.Secret), Claims(headers, each.Secret, each.Origin) != nil)
	}
}
"""


async def cases() -> list[tuple[dict[str, Any], list[bool]]]:
    """Really signed requests, true and tampered with; and whether signature and token are right."""
    here, sent, body = await one_request()
    headers = {name.lower(): value for name, value in sent.items()}
    rotating = (Secret(b"n" * 32, "new"), Secret(KEY, "old"))
    also_there, also_sent, also_body = await one_request(secrets=rotating)
    also_headers = {name.lower(): value for name, value in also_sent.items()}

    def case(of: Mapping[str, str], text: bytes, secret: str = WHSEC, origin: str = here.origin) -> dict[str, Any]:
        return {"headers": dict(of), "body": base64.b64encode(text).decode(), "secret": secret, "origin": origin}

    stale = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}
    unsigned = {name: value for name, value in headers.items() if name not in ("webhook-signature", "x-sc-token")}
    return [
        (case(headers, body), [True, True]),
        (case(headers, body, KEY.decode()), [True, True]),  # the same key as plain text
        (case(also_headers, also_body, origin=also_there.origin), [True, False]),  # the second key signs webhooks only
        (case(also_headers, also_body, "n" * 32, also_there.origin), [True, True]),
        (case(headers, body + b" "), [False, True]),
        (case(headers, body, "another secret of some bytes"), [False, False]),
        (case(headers, body, origin="https://elsewhere.example"), [True, False]),
        (case(stale, body), [False, True]),
        (case(unsigned, body), [False, False]),
        (case({**headers, "x-sc-token": headers["x-sc-token"][:-4] + "AAAA"}, body), [True, False]),
        (case({**headers, "x-sc-token": "Bearer x"}, body), [True, False]),
    ]


@pytest.mark.timeout(600)  # Go may have to compile its library first
@pytest.mark.parametrize("language", ["python", "javascript", "go", "php", "ruby"])
def test_the_code_verifies_what_is_sent(language: str, tmp_path: Path) -> None:
    text = code(language, {"python": "Python", "javascript": "Node", "go": "Go", "php": "PHP", "ruby": "Ruby"}[language])
    if language == "python":
        (tmp_path / "verify.py").write_text(text + PYTHON)
        command = [sys.executable, "verify.py"]
    elif language == "javascript":
        (tmp_path / "verify.mjs").write_text(text + NODE)
        command = ["node", "verify.mjs"]
    elif language == "php":
        (tmp_path / "verify.php").write_text(text + PHP)
        command = ["php", "verify.php"]
    elif language == "ruby":
        (tmp_path / "verify.rb").write_text(text + RUBY)
        command = ["ruby", "verify.rb"]
    else:
        (tmp_path / "verify.go").write_text(text)
        (tmp_path / "main.go").write_text(GO)
        command = ["go", "run", "verify.go", "main.go"]
    if not shutil.which(command[0]):
        pytest.skip(f"needs {command[0]}")
    if language == "go":  # compiled first: a slow machine must not make the timestamps old
        build = ["go", "build", "-o", "verify", "verify.go", "main.go"]
        subprocess.run(build, cwd=tmp_path, check=True, timeout=500, env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""})
        command = ["./verify"]
    asked = asyncio.run(cases())
    (tmp_path / "cases.json").write_text(json.dumps([case for case, _ in asked]))
    ended = subprocess.run([*command, "cases.json"], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert [json.loads(line) for line in ended.stdout.splitlines()] == [expected for _, expected in asked]
