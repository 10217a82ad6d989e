"""Space Cloud's eventing triggers, schemas and security rules, of any of the forms that its configuration had.

- Resources, one a document, as `space-cli get` and `space-cli apply` write them: `api`, `type: eventing-triggers`, `meta`, `spec`.
- A whole configuration of v0.19 or older: `projects[].modules.eventing.triggers` (older still: `rules`).
- A whole configuration of v0.20 and later: `projects.NAME.eventingTriggers`, keyed by `cluster--project--eventing-trigger--NAME`.
- What the configuration API answers: `{"result": [...]}`.

What its code does, not what its documentation says, is what is kept: three retries where there is no number, 5 s between them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cdcd.config.model import Kind
from cdcd.config.requests import CLAIMS
from cdcd.config.types import custom_type, kind_of, reserved
from cdcd.imports import rules, secrecy
from cdcd.imports.document import NOTHING, Node
from cdcd.imports.found import Draft, Found, duration, environment_name, quoted, source_name, trigger_name
from cdcd.imports.sdl import json_schema
from cdcd.imports.templates import NoEqual, body, member

_OLD_TYPES = {"CRUD_CREATE": "DB_INSERT", "CRUD_UPDATE": "DB_UPDATE", "CRUD_DELETE": "DB_DELETE"}
_POSTGRES = ("postgres", "sql-postgres", "postgresql")
_KNOWN = (
    "id", "name", "type", "url", "retries", "timeout", "options", "template", "tmpl", "requestTemplate", "outputFormat", "claims",
    "filter", "triggerType",
)  # fmt: skip
_PATH = re.compile(r"\.?([\w$]+)")


@dataclass(slots=True)
class Project:
    """What one project says, by name."""

    name: str
    triggers: dict[str, Node] = field(default_factory=dict)
    schemas: dict[str, Node] = field(default_factory=dict)
    rules: dict[str, Node] = field(default_factory=dict)
    databases: dict[str, Node] = field(default_factory=dict)
    config: Node = NOTHING
    files: Node = NOTHING


def translate(documents: list[Node], rename: Callable[[str], str] = source_name) -> Found:
    """`rename` gives the name of a database here for its alias there."""
    found = Found()
    projects: dict[str, Project] = {}
    for document in documents:
        _collect(document, projects, found)
    names = [trigger_name(name) for project in projects.values() for name in project.triggers]
    for project in projects.values():
        _Translator(found, project, rename, {name for name in names if names.count(name) > 1}).run()
    found.close()
    return found


def _collect(document: Node, projects: dict[str, Project], found: Found) -> None:
    for node in document.items or [document]:
        if node.get("projects").there:
            listed = node.get("projects")
            for name, each in listed.members.items():
                _whole(name, each, projects)
            for each in listed.items:
                _whole(each.get("id").text, each, projects)
        elif node.get("modules").there:
            _whole(node.get("id").text, node, projects)
        elif node.get("api").there or node.get("spec").there:
            _resource(node, projects, found)
        elif node.get("result").there:
            for each in node.get("result").items:
                _add_trigger(_project(projects, ""), each.get("id").text, each)
        elif node.get("url").there and node.get("type").there:
            _add_trigger(_project(projects, ""), node.get("id").text, node)
        else:
            found.remark(node.place, "", "this is no configuration of Space Cloud's that this import knows", "it was left out")


def _project(projects: dict[str, Project], name: str) -> Project:
    return projects.setdefault(name, Project(name))


def _whole(name: str, node: Node, projects: dict[str, Project]) -> None:
    project = _project(projects, name)
    eventing = node.at("modules", "eventing")
    databases = node.at("modules", "db") if node.at("modules", "db").there else node.at("modules", "crud")
    project.config = eventing if eventing.there else node.get("eventingConfig")
    project.files = node.at("modules", "fileStore") if node.at("modules", "fileStore").there else node.get("fileStoreConfig")
    for into, places in (
        (project.triggers, (eventing.get("triggers"), eventing.get("rules"), node.get("eventingTriggers"))),
        (project.schemas, (eventing.get("schemas"), node.get("eventingSchemas"))),
        (project.rules, (eventing.get("securityRules"), node.get("eventingRules"))),
        (project.databases, (databases, node.get("dbConfigs"))),
    ):
        for place in places:
            for key, each in place.members.items():
                own = each.get("dbAlias") if into is project.databases else each.get("id")
                into[own.text or key.rpartition("--")[2]] = each


def _resource(node: Node, projects: dict[str, Project], found: Found) -> None:
    kind = node.get("type").text.rstrip("s")
    api = node.get("api").text
    name = node.at("meta", "id").text or api.rstrip("/").rpartition("/")[2]
    project = _project(projects, node.at("meta", "project").text)
    spec = node.get("spec")
    if kind == "eventing-trigger" or "/eventing/triggers/" in api:
        _add_trigger(project, name, spec)
    elif kind == "eventing-schema" or "/eventing/schema/" in api:
        project.schemas[name] = spec
    elif kind == "eventing-rule" or "/eventing/rules/" in api:
        project.rules[name] = spec
    elif kind == "eventing-config" or "/eventing/config" in api:
        project.config = spec
    elif kind == "db-config":
        project.databases[node.at("meta", "dbAlias").text or name] = spec
    elif kind == "filestore-config":
        project.files = spec


def _add_trigger(project: Project, name: str, node: Node) -> None:
    project.triggers[name or node.get("id").text] = node


class _Translator:
    """One project."""

    def __init__(self, found: Found, project: Project, rename: Callable[[str], str], taken: set[str]) -> None:
        self._found = found
        self._project = project
        self._rename = rename
        self._taken = taken

    def run(self) -> None:
        for name, node in self._project.triggers.items():
            self._trigger(name, node)
        self._types()
        if (used := self._project.config.get("dbAlias")).there and self._project.triggers:
            self._found.remark(
                used.place, "", f"the event logs were kept in the database {used.text}",
                f"write `eventing: {{database: {self._rename(used.text)}}}` to keep them there; what is in the old tables stays there",
            )  # fmt: skip

    def _trigger(self, old: str, node: Node) -> None:
        found, name = self._found, trigger_name(old)
        if name in self._taken and self._project.name:
            name = trigger_name(f"{self._project.name}-{old}")
        if name != old:
            found.remark(node.place, name, f"was named {old}")
        found.leftovers(node, _KNOWN, name)
        if node.get("triggerType").text == "internal":
            found.remark(node.place, name, "is one of Space Cloud's own", "it was left out")
            return
        kind = _OLD_TYPES.get(node.get("type").text, node.get("type").text)
        options: dict[str, Any] = {"type": kind}
        where = self._where(name, kind, node)
        if where is None:
            return
        self._filter(name, kind, node, options)
        shared: dict[str, Any] = {}
        self._webhook(name, node, shared)
        self._retries(node, shared)
        self._body(name, kind, node, shared)
        if self._project.config.there and self._project.config.get("enabled").value is False:
            found.remark(self._project.config.place, name, "eventing was switched off in this project", off=True)
        for suffix, selectors in where:
            made = {"type": options["type"], **selectors, **{key: options[key] for key in options if key != "type"}, **shared}
            found.add(Draft(name + suffix, node.place, made))

    def _where(self, name: str, kind: str, node: Node) -> list[tuple[str, dict[str, Any]]] | None:
        """What tells one trigger from another: a suffix of the name, and the selectors. None: there is no equal."""
        found, chosen = self._found, node.get("options")
        if not reserved(kind):
            try:
                custom_type(kind)
            except ValueError as error:
                found.remark(
                    node.get("type").place, name, f"the type {kind!r} cannot be a type here: {error}", "it was left out"
                )
                return None
            for option, value in chosen.members.items():
                if value.there:
                    what = f"options.{option}: events carry no options here"
                    found.remark(
                        value.place,
                        name,
                        what,
                        f'queue it in the payload and write `when: data.{option} == "{value.text}"`',
                        off=True,
                    )
            return [("", {})]
        if kind_of(kind) is Kind.STORAGE:
            return self._store(name, kind, node)
        if kind not in ("DB_INSERT", "DB_UPDATE", "DB_DELETE"):
            found.remark(node.get("type").place, name, f"the type {kind!r} is none of Space Cloud's", "it was left out")
            return None
        for option in chosen.members.keys() - {"db", "col"}:
            found.remark(chosen.get(option).place, name, f"options.{option} has no meaning for {kind}", "it was left out")
        aliases = [part.strip() for part in chosen.get("db").text.split(",") if part.strip()]
        known = list(self._project.databases)
        wanted = aliases or known
        columns = [part.strip() for part in chosen.get("col").text.split(",") if part.strip()]
        made: list[tuple[str, dict[str, Any]]] = []
        for alias in wanted or [""]:
            selectors = self._tables(name, alias, columns, node)
            if selectors is not None:
                made.append((alias, selectors))
        made = [(f"-{alias}" if len(made) > 1 else "", selectors) for alias, selectors in made]
        return made or None

    def _tables(self, name: str, alias: str, columns: list[str], node: Node) -> dict[str, Any] | None:
        found, place = self._found, node.get("options").place
        config = self._project.databases.get(alias, NOTHING)
        kind = config.get("type").text
        if kind and kind not in _POSTGRES:
            found.remark(
                config.place,
                name,
                f"the database {alias} is {kind}, and cdcd reads PostgreSQL",
                "it was left out for that database",
            )
            return None
        schema = config.get("name").text
        if not schema:
            schema = "public"
            found.remark(
                place,
                name,
                f"the schema of {alias or 'the database'} is not in this file",
                "public is assumed: mend `table` if it is another",
            )
        tables = [f"{quoted(schema)}.{quoted(each)}" for each in columns] or [f"{quoted(schema)}.*"]
        selectors: dict[str, Any] = {}
        if alias:
            database = self._rename(alias)
            selectors["database"] = database
            self._found.databases.setdefault(
                database, {"url": found.from_environment(f"{environment_name(database)}_URL", config.place or place)}
            )
        return {**selectors, "table": tables[0] if len(tables) == 1 else tables}

    def _store(self, name: str, kind: str, node: Node) -> list[tuple[str, dict[str, Any]]] | None:
        found, files = self._found, self._project.files
        if kind not in ("FILE_CREATE", "FILE_DELETE"):
            found.remark(node.get("type").place, name, f"the type {kind!r} is none of Space Cloud's", "it was left out")
            return None
        if (where := files.get("storeType").text) and where != "local":
            what = f"the files are kept in {where}, and cdcd watches directories"
            found.remark(files.get("storeType").place, name, what, "queue a custom event where files are written")
            return None
        path = files.get("conn").text or "./files"
        if not files.there:
            found.remark(node.place, name, "the file store is not in this file", "mend `storage.files.path`")
        found.storage.setdefault("files", {"path": path})
        what = "Space Cloud told of writes through its own API alone; here every change of the directory is told"
        found.remark(node.place, name, what + (", an overwrite as FILE_UPDATE" if kind == "FILE_CREATE" else ""))
        return [("", {"storage": "files"})]

    def _filter(self, name: str, kind: str, node: Node, options: dict[str, Any]) -> None:
        rule = node.get("filter")
        if not rule.there:
            return
        if reserved(kind) and kind_of(kind) is Kind.STORAGE:
            self._found.remark(
                rule.place, name, "filter: Space Cloud ignored it for files", "it was left out; write `when` if it is meant"
            )
            return
        try:
            when = rules.expression(rule, rules.of_rows(kind) if reserved(kind) else rules.of_custom)
        except NoEqual as error:
            self._found.remark(rule.place, name, f"filter: {error} has no equal", "write `when` by hand", off=True)
            return
        if when == rules.FALSE:
            self._found.remark(rule.place, name, "filter: it is always false", off=True)
        elif when != rules.TRUE:
            options["when"] = when
            if "old." in when or "old[" in when:
                what = "filter: the old row is whole only where the table has REPLICA IDENTITY FULL (Space Cloud needed it too)"
                self._found.remark(rule.place, name, what, "ALTER TABLE ... REPLICA IDENTITY FULL")

    def _webhook(self, name: str, node: Node, options: dict[str, Any]) -> None:
        url = node.get("url")
        if re.search(r"\{\{|/v1/api/[^/]+/(realtime|eventing)", url.text):
            self._found.remark(url.place, name, "url: it is Space Cloud's own", "name the service's own address", off=True)
        made, authorization = secrecy.webhook(self._found, name, url.text, url.place)
        milliseconds = node.get("timeout").number
        webhook: dict[str, Any] = {"url": made}
        if authorization:
            webhook["headers"] = {"Authorization": authorization}
        if milliseconds and milliseconds != 5000:
            webhook["timeout"] = duration(milliseconds / 1000)
        options["webhook"] = webhook if len(webhook) > 1 else made

    def _retries(self, node: Node, options: dict[str, Any]) -> None:
        number = node.get("retries").number or 0
        options["retries"] = {"max": int(number) if number > 0 else 3, "backoff": "fixed", "first": "5s"}

    def _body(self, name: str, kind: str, node: Node, options: dict[str, Any]) -> None:
        found = self._found
        for part, into in (("requestTemplate", "payload"), ("claims", "claims")):
            template = node.get(part)
            if not template.there:
                continue
            try:
                made = body(template.text, _go(kind))
            except NoEqual as error:
                found.remark(template.place, name, f"{part}: {error} has no equal", f"write `{into}` by hand", off=True)
                continue
            if into == "payload" and node.get("outputFormat").text == "string":
                made = made if isinstance(made, str) else template.text
            if into == "claims" and not isinstance(made, dict):
                found.remark(template.place, name, "claims: it makes no object", "write `claims` by hand", off=True)
                continue
            if into == "claims":
                for claim in made.keys() & set(CLAIMS):
                    del made[claim]
                    found.remark(template.place, name, f"claims: {claim} is set by cdcd itself", "it was left out")
            options[into] = secrecy.composed(found, name, made, template.place)
            if into == "claims":
                found.remark(
                    template.place, name, "claims: they stand in the token of X-SC-Token here, there is no Authorization"
                )

    def _types(self) -> None:
        found = self._found
        for name in dict.fromkeys([*self._project.schemas, *self._project.rules]):
            if name == "default":
                rule = self._project.rules[name]
                found.remark(
                    rule.place,
                    "",
                    "the security rule `default`: types without an entry take any valid token here",
                    "write `events.TYPE.allow`",
                )
                continue
            event: dict[str, Any] = {}
            if (schema := self._project.schemas.get(name, NOTHING)).there:
                try:
                    event["schema"] = json_schema(name, schema.get("schema").text or schema.text)
                except NoEqual as error:
                    found.remark(schema.place, "", f"the schema of {name}: {error}", f"write `events.{name}.schema` by hand")
            if (rule := self._project.rules.get(name, NOTHING)).there:
                self._allow(name, rule, event)
            found.events[name] = event

    def _allow(self, name: str, rule: Node, event: dict[str, Any]) -> None:
        found, kind = self._found, rule.get("rule").text
        try:
            allow = rules.expression(rule, rules.of_queueing)
        except NoEqual as error:
            event["allow"] = rules.FALSE
            what = f"the security rule of {name}: {error} has no equal"
            found.remark(rule.place, "", what, f"nobody may queue it until you write `events.{name}.allow`")
            return
        if kind == "allow":
            found.remark(
                rule.place, "", f"the security rule of {name}: whoever queues needs a token here", "`cdcd token` makes one"
            )
        if allow != rules.TRUE:
            event["allow"] = allow


def _go(kind: str) -> Callable[[str], str]:
    """What stands between `{{` and `}}` of a Go template as an expression."""

    def express(code: str) -> str:
        if match := re.fullmatch(r"\.args((?:\.[\w$]+)+)", code):
            path = match[1][1:].split(".")
        elif match := re.fullmatch(r'index \.?\s*"args"((?:\s+"[^"]+")+)|index \.args((?:\s+"[^"]+")+)', code):
            path = re.findall(r'"([^"]+)"', match[1] or match[2])
        else:
            raise NoEqual(f"`{{{{ {code} }}}}`")
        return f"${{ {_of_envelope(path, kind)} }}"

    return express


def _of_envelope(path: list[str], kind: str) -> str:
    """The expression for a member of the CloudEvent."""
    head, rest = path[0], path[1:]
    if head in ("id", "time", "source", "type") and not rest:
        return "type" if head == "type" else f"event.{head}"
    if head != "data":
        raise NoEqual(f"`args.{'.'.join(path)}`")
    if not reserved(kind):
        return member("data", rest)
    if kind_of(kind) is Kind.STORAGE:
        if rest in (["path"], ["type"]):
            return f"file.{rest[0]}"
        raise NoEqual(f"`args.{'.'.join(path)}` of a file")
    return rules.of_rows(kind)(path)
