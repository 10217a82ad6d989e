"""Hasura's event triggers and cron triggers, of metadata version 2 and 3.

Its defaults are kept where it says nothing: no retry, 10 s between two, 60 s for an answer. `{{NAME}}` in a URL is an environment
variable, as is what `..._from_env` names.
"""

import re
from collections.abc import Callable
from typing import Any

from cdcd.config.templates import escaped
from cdcd.imports import kriti, secrecy, transforms
from cdcd.imports.document import Node
from cdcd.imports.found import Draft, Found, duration, source_name, table, trigger_name
from cdcd.replication import quoting

_EVENT = (
    "name", "definition", "webhook", "webhook_from_env", "headers", "retry_conf", "request_transform", "response_transform",
    "cleanup_config", "trigger_on_replication", "comment",
)  # fmt: skip
_CRON = (
    "name", "webhook", "schedule", "payload", "headers", "retry_conf", "request_transform", "response_transform", "comment",
    "include_in_metadata",
)  # fmt: skip
_OPERATIONS = (("insert", "DB_INSERT"), ("update", "DB_UPDATE"), ("delete", "DB_DELETE"))
_POSTGRES = ("", "postgres", "pg", "citus")
_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


def translate(metadata: Node, rename: Callable[[str], str] = source_name) -> Found:
    """`rename` gives the name of a database here for the name of a source there."""
    found = Found()
    sources = metadata.get("sources").items
    if metadata.get("tables").there:
        sources = [*sources, Node({"name": Node("default", metadata.place), "tables": metadata.get("tables")}, metadata.place)]
    for source in sources:
        _source(found, source, rename)
    for cron in metadata.get("cron_triggers").items:
        _cron(found, cron)
    found.close()
    return found


def _source(found: Found, source: Node, rename: Callable[[str], str]) -> None:
    tables = [each for each in source.get("tables").items if each.get("event_triggers").there]
    if not tables:
        return
    name, kind = source.get("name").text or "default", source.get("kind").text
    if kind not in _POSTGRES:
        for each in tables:
            for trigger in each.get("event_triggers").items:
                what = f"its database {name} is {kind}, and cdcd reads PostgreSQL"
                found.remark(trigger.place, trigger_name(trigger.get("name").text), what, "it was left out")
        return
    database = rename(name)
    found.databases[database] = {"url": _database_url(found, source, database)}
    for each in tables:
        where = each.get("table")
        qualified = (where.get("schema").text or "public", where.get("name").text or where.text)
        for trigger in each.get("event_triggers").items:
            _event(found, trigger, database, qualified)


def _database_url(found: Found, source: Node, database: str) -> str:
    url = source.at("configuration", "connection_info", "database_url")
    if (variable := url.get("from_env")).there:
        return found.from_environment(variable.text, variable.place)
    if url.text:
        return found.variable(f"{database}_URL", url.text, url.place)
    return found.from_environment(f"{database.upper()}_URL", url.place or source.place)


def _event(found: Found, node: Node, database: str, qualified: tuple[str, str]) -> None:
    name = trigger_name(node.get("name").text)
    found.leftovers(node, _EVENT, name)
    definition = node.get("definition")
    types = [kind for operation, kind in _OPERATIONS if definition.get(operation).value is not None]
    if definition.get("enable_manual").value is True:
        what = "definition.enable_manual: an operator replays past deliveries instead, or an application queues a custom event"
        found.remark(definition.get("enable_manual").place, name, what, "nothing to do unless something invokes it by hand")
    if not types:
        found.remark(
            definition.place, name, "definition: it fires on no operation", "it was left out; make a custom event of it"
        )
        return
    options: dict[str, Any] = {"type": types if len(types) > 1 else types[0], "database": database, "table": table(*qualified)}
    columns = definition.at("update", "columns")
    if columns.items:
        options["columns"] = [each.text for each in columns.items]
        what = "definition.update.columns: what changed is known only with REPLICA IDENTITY FULL; else every update fires"
        found.remark(columns.place, name, what, f"ALTER TABLE {quoting.table(*qualified)} REPLICA IDENTITY FULL")
    for operation, _ in _OPERATIONS:
        if definition.get(operation).value is None:
            continue
        found.leftovers(definition.get(operation), ("columns", "payload"), name, f"definition.{operation}.")
        chosen = definition.at(operation, "payload")
        if chosen.items:
            what = f"definition.{operation}.payload: the body has all columns"
            found.remark(chosen.place, name, what, "name them in `payload` if that matters")
    webhook = _webhook(found, node, name)
    if webhook is None:
        return
    _retries(found, node.get("retry_conf"), name, options, webhook, ("num_retries", "interval_sec", "timeout_sec"))
    options["webhook"] = webhook
    options["format"] = "hasura"
    transforms.apply(found, node.get("request_transform"), name, options, kriti.of_event(name))
    for part, instead in (
        ("response_transform", "the answer's body is not used"),
        ("cleanup_config", "`eventing.retention` is for all triggers"),
        ("trigger_on_replication", "what a server has replicated from another is captured too"),
    ):
        if node.get(part).value not in (None, {}, False):
            found.remark(node.get(part).place, name, f"{part} has no equal", instead)
    if options.get("format") == "hasura" and ("DB_UPDATE" in types or "DB_DELETE" in types):
        what = "event.data.old is whole only where the table has REPLICA IDENTITY FULL"
        found.remark(node.place, name, what, f"ALTER TABLE {quoting.table(*qualified)} REPLICA IDENTITY FULL")
    found.add(Draft(name, node.place, options, node.get("comment").text))


def _cron(found: Found, node: Node) -> None:
    name = trigger_name(node.get("name").text)
    found.leftovers(node, _CRON, name)
    webhook = _webhook(found, node, name)
    if webhook is None:
        return
    options: dict[str, Any] = {"type": "SCHEDULE", "schedule": node.get("schedule").text}
    retry = ("num_retries", "retry_interval_seconds", "timeout_seconds", "tolerance_seconds")
    _retries(found, node.get("retry_conf"), name, options, webhook, retry)
    tolerance = node.get("retry_conf").get("tolerance_seconds")
    what = "ticks that are missed while nothing runs: of all of them the newest is delivered, late or not"
    found.remark(tolerance.place, name, what, "`missed: all` delivers each, `missed: skip` none")
    options["webhook"] = webhook
    comment, payload = node.get("comment").text, node.get("payload").plain()
    made = {"id": "${ event.id }", "name": escaped(name), "scheduled_time": "${ event.time }"}
    options["payload"] = {**made, "payload": secrecy.payload(found, name, payload, node.get("payload").place)}
    if comment:
        options["payload"]["comment"] = escaped(comment)
    transforms.apply(found, node.get("request_transform"), name, options, kriti.of_cron(name, comment, payload))
    found.add(Draft(name, node.place, options, comment))


def _webhook(found: Found, node: Node, name: str) -> dict[str, Any] | None:
    url, variable = node.get("webhook"), node.get("webhook_from_env")
    if isinstance(url.value, dict):  # version 2 wrote cron triggers so
        url, variable = url.get("value"), url.get("from_env")
    headers = _headers(found, node.get("headers"), name)
    if variable.there:
        made = found.from_environment(variable.text, variable.place)
    elif url.text:
        made, authorization = _templated_url(found, name, url)
        if authorization and not any(each.lower() == "authorization" for each in headers):
            headers["Authorization"] = authorization
    else:
        found.remark(node.place, name, "it has no webhook", "it was left out")
        return None
    return {"url": made, **({"headers": headers} if headers else {})}


def _templated_url(found: Found, name: str, url: Node) -> tuple[str, str]:
    variables: list[str] = []

    def mark(match: re.Match[str]) -> str:
        variables.append(found.from_environment(match[1], url.place))
        return f"cdcdvariable{len(variables) - 1}x"

    marked = _VARIABLE.sub(mark, url.text)
    made, authorization = marked, ""
    if not marked.startswith("cdcdvariable"):
        made, authorization = secrecy.webhook(found, name, marked, url.place)
    elif "?" in marked or "/" in marked:
        head, slash, rest = marked.partition("/")
        made = (
            head + slash + secrecy.webhook(found, name, f"http://x/{rest}", url.place)[0].removeprefix("http://x/")
            if slash
            else marked
        )
    return re.sub(r"cdcdvariable(\d+)x", lambda match: variables[int(match[1])], made), authorization


def _headers(found: Found, node: Node, name: str) -> dict[str, str]:
    made: dict[str, str] = {}
    for each in node.items:
        header = each.get("name").text
        if header.lower() in secrecy.SET_BY_CDCD or header.lower().startswith(("webhook-", "ce-")):
            if not (header.lower() == "content-type" and each.get("value").text.startswith("application/json")):
                found.remark(each.place, name, f"the header {header} is set by cdcd itself", "it was left out")
        elif each.get("value_from_env").there:
            made[header] = found.from_environment(each.get("value_from_env").text, each.place)
        else:
            made[header] = secrecy.header(found, name, header, each.get("value").text, each.place)
    return made


def _retries(
    found: Found, node: Node, name: str, options: dict[str, Any], webhook: dict[str, Any], names: tuple[str, ...]
) -> None:
    found.leftovers(node, names, name, "retry_conf.")
    number, interval, timeout = (node.get(each).number for each in names[:3])
    options["retries"] = 0
    if number:
        options["retries"] = {"max": min(int(number), 1000), "backoff": "fixed", "first": duration(interval or 10)}
        if (interval or 10) > 3600:
            options["retries"]["max_interval"] = duration(interval or 10)
        if number * (interval or 10) > 3 * 86400:
            options["retries"]["max_age"] = duration(number * (interval or 10) + 3600)
    webhook["timeout"] = duration(timeout or 60)
