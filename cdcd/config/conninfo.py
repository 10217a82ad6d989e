"""Whether a database's URL says what its author meant, told without libpq's words: those quote pieces of the password.

A character of the password that has a meaning of its own in a URL makes libpq take the password's rest for a host, a port or a
database, which then stands in every message of a connection that fails.
"""

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

ENCODE = "percent-encode the user and the password: @ is %40, % is %25, / is %2F, : is %3A"
_QUOTE = "put a value with spaces or quotes in single quotes, with \\ before ' and \\"
_PORTS = re.compile(r"[0-9, ]*").fullmatch


def conninfo_problem(url: str) -> str:
    """What is wrong with a database's URL (or libpq's key=value form), without repeating any of it; empty when nothing is."""
    is_url = url.startswith(("postgresql://", "postgres://"))
    try:
        given = conninfo_to_dict(url)
    except (psycopg.Error, ValueError):  # ValueError: it has no UTF-8 form
        return f"cannot be read as a URL; {ENCODE}" if is_url else f"cannot be read as key=value; {_QUOTE}"
    host, port, dbname = (str(given.get(part) or "") for part in ("host", "port", "dbname"))
    if is_url and (
        any("@" in name and not name.startswith("/") for name in host.split(","))
        or not _PORTS(port)
        or ("@" in dbname and "%40" not in url)
    ):
        return f"a part of the user or the password would be taken for the host, the port or the database; {ENCODE}"
    return "" if _PORTS(port) else "the port is not a number"
