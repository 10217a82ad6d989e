"""Reads from a database's catalog the triggers that call out: Supabase's webhooks and functions that use pg_net. Changes nothing."""

from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from cdcd.config.conninfo import ENCODE, conninfo_problem
from cdcd.errors import SourceUnavailable
from cdcd.imports.supabase import DatabaseTrigger

_TRIGGERS = """
SELECT t.tgname AS name, n.nspname AS schema, c.relname AS "table", t.tgtype::int AS type, t.tgenabled::text AS enabled,
       t.tgnargs::int AS arguments, t.tgargs AS raw,
       pg_catalog.pg_get_triggerdef(t.oid) AS definition, c.relreplident::text AS identity,
       f.proname AS function, fn.nspname AS function_schema, f.prosrc AS source,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(t.tgattr) WITH ORDINALITY AS u(number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = u.number ORDER BY u.place) AS columns
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid
JOIN pg_catalog.pg_namespace fn ON fn.oid = f.pronamespace
WHERE NOT t.tgisinternal AND t.tgparentid = 0
  AND ((fn.nspname = 'supabase_functions' AND f.proname = 'http_request')
       OR f.prosrc ~* '\\m(net|extensions|http)\\s*\\.\\s*http_(post|get|put|delete)\\M|\\mhttp_(post|get)\\s*\\(')
ORDER BY n.nspname, c.relname, t.tgname
"""


async def webhook_triggers(url: str) -> tuple[str, list[DatabaseTrigger]]:
    """The database's name, and its triggers that call out, by table and name. Raises SourceUnavailable."""
    if problem := conninfo_problem(url):
        raise SourceUnavailable(f"the database's URL cannot be used: {problem}", hint=ENCODE)
    try:
        async with (
            await AsyncConnection.connect(
                url, autocommit=True, application_name="cdcd import", connect_timeout=10
            ) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute("SET default_transaction_read_only = on")
            await cursor.execute(_TRIGGERS)
            return connection.info.dbname, [_trigger(row) for row in await cursor.fetchall()]
    except psycopg.Error as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceUnavailable(
            f"the database cannot be read: {text}", hint="name a role that may connect; it needs no rights on tables"
        ) from error


def _trigger(row: dict[str, Any]) -> DatabaseTrigger:
    arguments = bytes(row["raw"]).split(b"\0")[: row["arguments"]]
    return DatabaseTrigger(
        name=row["name"],
        schema=row["schema"],
        table=row["table"],
        type=row["type"],
        enabled=row["enabled"] in ("O", "A"),
        arguments=tuple(argument.decode("utf-8", "replace") for argument in arguments),
        definition=row["definition"],
        full=row["identity"] == "f",
        function=f"{row['function_schema']}.{row['function']}",
        source=row["source"],
        columns=tuple(row["columns"]),
    )
