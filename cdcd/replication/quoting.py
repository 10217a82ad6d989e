"""Names and strings inside SQL text, for statements that take no parameters (manual, "Lexical Structure")."""


def identifier(name: str) -> str:
    """`"name"`, always quoted."""
    if "\0" in name:
        raise ValueError("an identifier cannot hold a zero character")
    return '"' + name.replace('"', '""') + '"'


def table(schema: str, name: str) -> str:
    """`"schema"."name"`."""
    return f"{identifier(schema)}.{identifier(name)}"


def literal(text: str) -> str:
    """`'text'`, right whatever `standard_conforming_strings` is. The replication commands know no `E''`: no backslash there."""
    if "\0" in text:
        raise ValueError("a string cannot hold a zero character")
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted
