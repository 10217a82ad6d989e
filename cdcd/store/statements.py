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


WALKS = ("by_id", "by_trigger", "by_key", "by_status", "by_status_and_trigger")
"""Ways through `event_logs` in the order of time, each along its own index. In `SQL` there are for each of them `PATH.newest` and
`PATH.oldest` (rows), `PATH.newest.count` (how many) and `PATH.newest.edge` (where so many rows end), and the same for oldest."""


def _derive_walks() -> None:
    matching, columns = SQL.pop("matching"), SQL.pop("columns")
    page, count, edge = SQL.pop("walk_page"), SQL.pop("walk_count"), SQL.pop("walk_edge")
    types = {4: "text[]", 5: "text[]", 6: "text", 7: "text[]", 8: "text", 9: "text", 10: "text", 11: "text"}
    anything = " AND ".join(f"(${number}::{kind} IS NULL OR true)" for number, kind in types.items())
    for path in WALKS:
        newest = SQL.pop(path).replace("{columns}", columns)
        for order, walk in (("newest", newest), ("oldest", newest.replace(" DESC", " ASC"))):
            SQL[f"{path}.{order}"] = page.replace("{walk}", walk.replace("{matching}", matching))
            SQL[f"{path}.{order}.count"] = count.replace("{walk}", walk.replace("{matching}", matching))
            SQL[f"{path}.{order}.edge"] = edge.replace("{walk}", walk.replace("{matching}", anything))


_derive_walks()
