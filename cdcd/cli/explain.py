"""`cdcd explain`: a delivery from commit to answer; a row, and the check that says no."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from cdcd.cli.doing import DONE, do, print_json
from cdcd.cli.options import ConfigOption, JsonOption, TokenOption, UrlOption, Where
from cdcd.cli.showing import Body, console, mark, moment, show_deliveries, show_fields
from cdcd.cli.showing import status as shown_status

if TYPE_CHECKING:
    from cdcd.cli.reach import Reach


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A delivery. Or name a row with --table.")] = None,
    table: Annotated[str | None, typer.Option(help="A row of this table: public.orders.")] = None,
    key: Annotated[str | None, typer.Option(help="Its primary key's values, with commas between.")] = None,
    row: Annotated[str | None, typer.Option(help="The row as JSON, @FILE or - (stdin), instead of reading it.")] = None,
    old: Annotated[str | None, typer.Option(help="The row as it was before the update: JSON, @FILE or -.")] = None,
    type: Annotated[
        str | None, typer.Option(help="DB_INSERT, DB_UPDATE or DB_DELETE; left out: as an insert and as an update.")
    ] = None,
    database: Annotated[str | None, typer.Option(help="The database, where it is not clear from the triggers.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also the triggers of other tables, and the checks that said yes.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = Path("cdcd.yaml"),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Explain a delivery: every step from the commit to the answer with its time, why its trigger fired, what it comes from and what
    followed. Or explain a row that made none: each trigger's checks on it as it is now, and which said no.

    A trigger is judged as it is configured now. What nobody can know (the row before an update, say) is told.

    Exit codes: 0 explained, 1 there is no such delivery, or it cannot be asked like this, 2 nobody could be reached.

    Examples: `cdcd explain 0193f0c2-8a10-8c1e-9a3f-0a1b2c3d4e5f`, `cdcd explain --table public.orders --key 42`,
    `cdcd explain --table orders --row '{"id": 42, "total": 5}' --type DB_UPDATE --old '{"id": 42, "total": 7}'`
    """
    if (id is None) is (table is None):
        raise typer.BadParameter("name a delivery by its id, or a row with --table and --key (or --row)")
    if id is not None and any(each is not None for each in (key, row, old, type, database)):
        raise typer.BadParameter("--key, --row, --old, --type and --database go with --table")
    asked = {
        "table": table,
        "key": key,
        "database": database,
        "type": type,
        "row": _json(row, "--row"),
        "old": _json(old, "--old"),
    }

    async def main(reach: "Reach") -> int:
        if id is not None:
            found = await reach.explain(id)
            print_json(found) if as_json else _delivery(console(), found, every)
        else:
            found = await reach.explain_row({name: value for name, value in asked.items() if value is not None})
            print_json(found) if as_json else _row(console(), found, every)
        return DONE

    do(Where(config, url, token, as_json), main)


def _json(text: str | None, option: str) -> Any:
    from cdcd.cli.reading import Unreadable, json_of

    if text is None:
        return None
    try:
        return json_of(text)
    except Unreadable as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _delivery(out: Console, found: Body, every: bool) -> None:
    from cdcd.cli.times import apart, seconds_of

    one = found["delivery"]
    show_fields(
        out,
        [
            ("delivery", one["id"]),
            ("event", f"{one['type']} {one['subject']}".strip()),
            ("trigger", one["trigger"]),
            ("status", shown_status(one["status"])),
        ],
    )
    _heading(out, "What happened")
    began = seconds_of(one["time"])
    for step in found["steps"]:
        when = "" if step["at"] is None else moment(step["at"])
        since = "" if step["at"] is None else apart(seconds_of(step["at"]) - began)
        _line(out, Text.assemble((f"{when:<23} ", "dim"), (f"{since:>10} ", "cyan"), mark(step["good"]), " ", step["words"]))
    _heading(out, "Why it fired")
    if found["judgement"] is None:
        _line(out, Text(f"It cannot be told: {found['unjudged']}."))
    else:
        judgement = found["judgement"]
        if not judgement["fires"] or judgement["problem"]:
            _line(out, Text(f"As the trigger is now, this would be otherwise: {judgement['why']}", "yellow"))
        show_checks(out, judgement)
    if found["causes"] or found["origin"]:
        _heading(out, "What it comes from")
        if found["origin"]:
            _line(out, Text(f"It begins with {found['origin']}."))
        show_deliveries(out, found["causes"])
    if found["caused"] or found["queued"]:
        _heading(out, "What followed")
        show_deliveries(out, found["caused"])
        for event in found["queued"]:
            _line(out, Text(f"{event['type']} is queued ({event['id']}), due {moment(event['dueAt'])}"))
    _unknown(out, found["unknown"])


def _row(out: Console, found: Body, every: bool) -> None:
    where = f"{found['table']} of the database {found['database']}"
    key = f", key {found['key']}" if found["key"] else ""
    _line(out, Text.assemble(("row of ", "dim"), where, key))
    if found["obstacles"]:
        _heading(out, "What stands in the way")
        for obstacle in found["obstacles"]:
            _line(out, Text.assemble(mark(good=False), " ", obstacle["what"]))
            if obstacle["fix"]:
                _line(out, Text(f"    fix: {obstacle['fix']}", "cyan"))
    for judged in found["judgements"]:
        _heading(out, f"As {judged['type']}, as the row is now")
        near = [each for each in judged["triggers"] if every or _near(each)]
        for judgement in near:
            fires = judgement["fires"]
            verdict = ("fires, and fails" if judgement["problem"] else "fires") if fires else "does not fire"
            _line(out, Text.assemble(mark(fires), " ", (judgement["trigger"], "bold"), f" {verdict}"))
            show_checks(out, judgement, of_interest=not every)
        left = len(judged["triggers"]) - len(near)
        if left:
            others = f"{left} other trigger{'s are' if left > 1 else ' is'} about other tables (--all shows {'them' if left > 1 else 'it'})"
            _line(out, Text(others, "dim"))
    if found["recent"]:
        _heading(out, "Its last deliveries")
        show_deliveries(out, found["recent"])
    elif found["key"] and found["judgements"]:
        _heading(out, "Its last deliveries")
        _line(out, Text("The event log has none of this row."))
    _unknown(out, found["unknown"])


def _near(judgement: Body) -> bool:
    return all(check["holds"] for check in judgement["checks"] if check["name"] in ("source", "table", "path"))


def show_checks(out: Console, judgement: Body, *, of_interest: bool = False) -> None:
    """What was looked at; `of_interest`: what did not say yes, and conditions."""
    for check in judgement["checks"]:
        if of_interest and check["holds"] and check["name"] not in ("columns", "when"):
            continue
        _line(out, Text.assemble("    ", mark(check["holds"]), f" {check['name']}: ", check["words"]))
        if check["condition"] is not None and check["condition"]["parts"]:
            _parts(out, check["condition"], "        ")


def _parts(out: Console, condition: Body, indent: str) -> None:
    import orjson

    for number, part in enumerate(condition["parts"]):
        joint = condition["joined"] if number else "  "
        values = ", ".join(f"{name} = {orjson.dumps(value).decode()}" for name, value in part["values"].items())
        seen = f"   {values}" if values and not part["parts"] else ""
        wrong = f"   {part['error']}" if part["error"] and not part["parts"] else ""
        text = f"({part['text']})" if part["parts"] else part["text"]
        _line(out, Text.assemble(indent, mark(part["holds"]), f" {joint} {text}", (seen, "dim"), (wrong, "red")))
        if part["parts"]:
            _parts(out, part, indent + "     ")


def _unknown(out: Console, unknown: list[str]) -> None:
    if unknown:
        _heading(out, "What cannot be known")
        for each in unknown:
            _line(out, Text(f"- {each}", "dim"))


def _heading(out: Console, text: str) -> None:
    out.print()
    out.print(Text(text, "bold"))


def _line(out: Console, text: Text) -> None:
    out.print(text, soft_wrap=not out.is_terminal)
