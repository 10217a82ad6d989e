"""The store's SQL statements by name, read once from `queries.sql`.

A statement begins with `-- name: <name>`, and the comment lines under it say in a sentence what it does.
"""

from importlib.resources import files

_MARK = "-- name: "


def parse(text: str) -> dict[str, str]:
    """Split the text of a `.sql` file into its named statements, comments left out."""
    statements: dict[str, str] = {}
    for part in ("\n" + text).split("\n" + _MARK)[1:]:
        name, _, body = part.partition("\n")
        lines = (line for line in body.splitlines() if line.strip() and not line.lstrip().startswith("--"))
        statements[name.strip()] = "\n".join(lines).rstrip().rstrip(";")
    return statements


SQL = parse(files("cdcd.store").joinpath("queries.sql").read_text("utf-8"))
for _name in ("record", "stage"):
    SQL[_name] = SQL[f"{_name}_again"].replace("ON CONFLICT DO NOTHING", "")
