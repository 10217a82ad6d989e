"""Supabase's database webhooks, which are triggers: `supabase_functions.http_request(url, method, headers, params, timeout)`.

And triggers whose function calls `net.http_post` (pg_net) with what stands in it; a function that does more than that is told and
switched off. The body is the one that the endpoint knows: `type`, `table`, `schema`, `record`, `old_record`.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from cdcd.imports import secrecy, sql
from cdcd.imports.found import Draft, Found, duration, table, trigger_name
from cdcd.imports.templates import NoEqual
from cdcd.replication import quoting

_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE, _INSTEAD = 1, 2, 4, 8, 16, 32, 64
"""`pg_trigger.tgtype` (PostgreSQL, catalog/pg_trigger.h)."""
_TYPES = ((_INSERT, "DB_INSERT"), (_UPDATE, "DB_UPDATE"), (_DELETE, "DB_DELETE"), (_TRUNCATE, "DB_TRUNCATE"))
_OPERATIONS = {"DB_INSERT": "INSERT", "DB_UPDATE": "UPDATE", "DB_DELETE": "DELETE", "DB_TRUNCATE": "TRUNCATE"}
HTTP_REQUEST = "supabase_functions.http_request"


@dataclass(slots=True, frozen=True)
class DatabaseTrigger:
    """A trigger as the catalog has it. `type` are the bits of `tgtype`; `full`: the table has REPLICA IDENTITY FULL."""

    name: str
    schema: str
    table: str
    type: int
    enabled: bool
    arguments: tuple[str, ...]
    definition: str
    full: bool
    function: str
    source: str = ""
    columns: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it is: `trigger NAME on schema.table`."""
        return f"trigger {self.name} on {self.schema}.{self.table}"


@dataclass(slots=True)
class Call:
    """What a trigger sends. `body` is a payload, None for Supabase's own shape."""

    url: str | sql.Composed
    method: str = "POST"
    headers: Any = None
    parameters: Any = None
    timeout: float = 1.0
    body: Any = None


def translate(triggers: list[DatabaseTrigger], database: str, *, known: bool) -> Found:
    """`database` is its name in the configuration; `known`: it stands there already."""
    found = Found()
    names = [trigger_name(trigger.name) for trigger in triggers]
    for trigger in triggers:
        name = trigger_name(trigger.name)
        if names.count(name) > 1:
            name = trigger_name(f"{trigger.table}-{trigger.name}")
        _Translator(found, trigger, name, database).run()
    if found.triggers and not known:
        found.databases[database] = {"url": found.from_environment(f"{database.upper()}_URL", "the database")}
    found.close()
    return found


class _Translator:
    """One trigger."""

    def __init__(self, found: Found, trigger: DatabaseTrigger, name: str, database: str) -> None:
        self._found = found
        self._trigger = trigger
        self._name = name
        self._database = database

    def run(self) -> None:
        trigger = self._trigger
        types = [kind for bit, kind in _TYPES if trigger.type & bit]
        call = self._call()
        if call is None or not types:
            return
        if self._name != trigger.name:
            self._tell(f"was named {trigger.name}")
        options: dict[str, Any] = {
            "type": types if len(types) > 1 else types[0],
            "database": self._database,
            "table": table(trigger.schema, trigger.table),
        }
        if trigger.columns and "DB_UPDATE" in types:
            options["columns"] = list(trigger.columns)
            full = f"ALTER TABLE {quoting.table(trigger.schema, trigger.table)} REPLICA IDENTITY FULL"
            self._tell(
                "UPDATE OF fires when a column is set, `columns` when it changed",
                "" if trigger.full else f"what changed is known only with {full}",
            )
        self._when(types, options)
        self._webhook(call, options)
        if call.method == "POST":
            options["payload"] = self._payload(types) if call.body is None else self._made(call.body)
        self._old(types, options)
        if trigger.type & (_BEFORE | _INSTEAD):
            self._tell("it fires before the row is written; cdcd tells what was committed")
        if not trigger.type & _ROW and types != ["DB_TRUNCATE"]:
            self._tell(
                "it fires once a statement, without a row; here every row fires",
                "set `payload` to what the endpoint needs",
                off=True,
            )
        if not trigger.enabled:
            options["enabled"] = False
            self._tell("it is disabled in the database", "set `enabled` when it is wanted")
        drop = f"DROP TRIGGER {quoting.identifier(trigger.name)} ON {quoting.table(trigger.schema, trigger.table)};"
        self._tell("as long as it is in the database, both send", f"when cdcd runs: {drop}")
        self._found.add(Draft(self._name, trigger.place, options))

    def _tell(self, what: str, instead: str = "", *, off: bool = False) -> None:
        self._found.remark(self._trigger.place, self._name, what, instead, off=off)

    def _call(self) -> Call | None:
        trigger = self._trigger
        if trigger.function == HTTP_REQUEST:
            url, method, headers, parameters, timeout = (*trigger.arguments, *[""] * 5)[:5]
            if not url or url == "null":
                self._tell("it has no URL", "it was left out")
                return None
            call = Call(url, method.upper() or "POST", _json(headers), _json(parameters))
            if timeout.isdecimal():
                call.timeout = int(timeout) / 1000
        else:
            try:
                call = called(trigger.source)
            except NoEqual as error:
                self._tell(
                    f"its function {trigger.function} does more than send a request: {error}",
                    "it was left out: write it by hand",
                )
                return None
        if call.method not in ("POST", "GET"):
            self._tell(f"the method {call.method} is none that Supabase has", "it was left out")
            return None
        return call

    def _when(self, types: list[str], options: dict[str, Any]) -> None:
        text = when_clause(self._trigger.definition)
        if not text:
            return
        try:
            when = sql.condition(text)
        except NoEqual as error:
            self._tell(f"WHEN {text[:200]}: {error} has no equal", "write `when` by hand", off=True)
            return
        options["when"] = when

    def _webhook(self, call: Call, options: dict[str, Any]) -> None:
        found, place = self._found, self._trigger.place
        given = call.parameters if isinstance(call.parameters, dict) else {}
        headers: dict[str, str] = {}
        if isinstance(call.url, sql.Composed):
            made = secrecy.composed_url(found, self._name, self._known(call.url), place)
        else:
            url = secrecy.with_parameters(call.url, {str(name): _text(value) for name, value in given.items()})
            made, authorization = secrecy.webhook(found, self._name, url, place)
            headers = {"Authorization": authorization} if authorization else {}
        for name, value in (call.headers if isinstance(call.headers, dict) else {}).items():
            if name.lower() in secrecy.SET_BY_CDCD or name.lower().startswith(("webhook-", "ce-")):
                if name.lower() != "content-type" or not _text(value).startswith("application/json"):
                    self._tell(f"the header {name} is set by cdcd itself", "it was left out")
            elif isinstance(value, sql.Composed):
                headers[name] = secrecy.composed(found, self._name, self._known(value), place, name)
            else:
                headers[name] = secrecy.header(found, self._name, name, _text(value), place)
        webhook: dict[str, Any] = {"url": made}
        if call.method != "POST":
            webhook["method"] = call.method
        if headers:
            webhook["headers"] = headers
        if call.timeout != 5.0:
            webhook["timeout"] = duration(call.timeout)
        options["webhook"] = webhook if len(webhook) > 1 else made

    def _known(self, value: sql.Composed) -> str:
        """Its text; the variables in it, which were settings or secrets of the database, are told."""
        for name in re.findall(r"\$\{env:(\w+)\}", value.text):
            self._found.from_environment(name, self._trigger.place)
        return value.text

    def _made(self, value: Any, name: str = "") -> Any:
        """A body as it is written."""
        if isinstance(value, dict):
            return {inner: self._made(item, inner) for inner, item in value.items()}
        if isinstance(value, list):
            return [self._made(item, name) for item in value]
        if isinstance(value, sql.Composed):
            return secrecy.composed(self._found, self._name, self._known(value), self._trigger.place, name)
        return secrecy.payload(self._found, self._name, value, self._trigger.place, name)

    def _payload(self, types: list[str]) -> dict[str, Any]:
        kind = _OPERATIONS[types[0]] if len(types) == 1 else "${ " + _operation(types) + " }"
        made = {"type": kind, "table": self._trigger.table, "schema": self._trigger.schema}
        return {**made, "record": "${ new }", "old_record": "${ old }"}

    def _old(self, types: list[str], options: dict[str, Any]) -> None:
        """Whether something asks for the old row, and the table sends it."""
        if self._trigger.full or not {"DB_UPDATE", "DB_DELETE"} & set(types):
            return
        used = [
            part
            for part in ("when", "payload")
            if re.search(r"\bold\b", json.dumps(options.get(part, "")).replace("old_record", ""))
        ]
        if used:
            self._tell(
                f"`{'` and `'.join(used)}` ask for the old row, of which only the key is sent as the table is",
                f"ALTER TABLE {quoting.table(self._trigger.schema, self._trigger.table)} REPLICA IDENTITY FULL;",
            )


def when_clause(definition: str) -> str:
    """What stands behind WHEN in what `pg_get_triggerdef` prints; empty when there is none."""
    match = re.search(r" (?:FOR EACH (?:ROW|STATEMENT)) WHEN \((.*)\) EXECUTE (?:FUNCTION|PROCEDURE) ", definition, re.DOTALL)
    return match[1] if match else ""


def called(source: str) -> Call:
    """What a function sends that does nothing else: one `net.http_post(...)` and `RETURN`. Raises NoEqual."""
    text = re.sub(r"/\*.*?\*/", " ", source, flags=re.DOTALL)
    match = re.fullmatch(r"\s*(?:declare\s+[\w\s;]*?)?begin\s+(.*?)end\s*;?\s*", text, re.DOTALL | re.IGNORECASE)
    if match is None:
        raise NoEqual("variables, or no PL/pgSQL")
    reader = sql.Reader(sql.tokens(match[1]))
    if not (reader.accept("perform") or reader.accept("select")):
        raise NoEqual(f"`{reader.peek() or 'a text'}`")
    reader.accept("extensions", ".")
    reader.expect("net")
    reader.expect(".")
    function = reader.take().text
    if function not in ("http_post", "http_get"):
        raise NoEqual(f"`net.{function}`")
    reader.expect("(")
    arguments = _arguments(
        reader, ("url", "body", "params", "headers", "timeout_milliseconds") if function == "http_post" else _GET
    )
    if reader.accept("as"):
        reader.take()
    if reader.peek() == "into":
        raise NoEqual("INTO")
    reader.expect(";")
    if not reader.accept("return") or reader.take().text not in ("new", "old", "null", "coalesce"):
        raise NoEqual("more than one statement")
    url = arguments.get("url")
    if not isinstance(url, str | sql.Composed) or re.match(r"\$\{ ", url.text if isinstance(url, sql.Composed) else ""):
        raise NoEqual("a URL that is computed of the row")
    call = Call(url, "POST" if function == "http_post" else "GET", arguments.get("headers"), arguments.get("params"), 5.0)
    if isinstance(milliseconds := arguments.get("timeout_milliseconds"), int):
        call.timeout = milliseconds / 1000
    call.body = arguments.get("body", {}) if function == "http_post" else None
    return call


_GET = ("url", "params", "headers", "timeout_milliseconds")


def _arguments(reader: sql.Reader, names: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of a call, by place or by name."""
    made: dict[str, Any] = {}
    while not reader.accept(")"):
        name = names[len(made)] if len(made) < len(names) else ""
        if reader.peek(1) in (":=", "=>"):
            name = reader.take().text
            reader.take()
        value = sql.built(reader)
        made[name] = value
        if not reader.accept(","):
            reader.expect(")")
            break
    return made


def _operation(types: list[str]) -> str:
    """The operation's name in CEL, for the types that there are."""
    made = f'"{_OPERATIONS[types[-1]]}"'
    for kind in reversed(types[:-1]):
        made = f'type == "{kind}" ? "{_OPERATIONS[kind]}" : {made}'
    return made


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text and text != "null" else {}
    except ValueError:
        return {}


def _text(value: Any) -> str:
    if isinstance(value, sql.Composed):
        return value.text
    return value if isinstance(value, str) else json.dumps(value)
