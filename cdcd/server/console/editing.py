"""Adding, editing and cloning a trigger: a form and its YAML, judged while one types, written when nothing is wrong.

The rules:
- what was typed is never lost: whatever is refused, the page comes back with it and with the reasons;
- somebody else's change of this trigger is shown, and overwritten only when that is asked for; what else changed in its file is no matter.
"""

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import islice
from urllib.parse import quote
from zoneinfo import available_timezones

from cdcd.admin.editing import Invalid, Mistake, NoSuchTrigger, NotWritable, Outdated, Place, Written
from cdcd.admin.faces import Admin
from cdcd.admin.trying import MOST
from cdcd.config.altering import Unshowable, lost
from cdcd.config.checks import cron_problem
from cdcd.config.model import Kind, Schedule
from cdcd.config.tables import parse_table
from cdcd.config.types import DATABASE_TYPES, STORAGE_TYPES, kind_of
from cdcd.config.writing import written
from cdcd.errors import SourceNotReady, SourceUnavailable, StoreUnavailable, TransientError
from cdcd.replication.tables import TableInfo
from cdcd.server.auth import ADMINS
from cdcd.server.console.form import OPTIONS, Fields, Told, made, prefilled, shown, told
from cdcd.server.console.pages import HTML, Pages, see
from cdcd.server.console.prefilling import filled
from cdcd.server.console.sheet import (
    LIST,
    NEW,
    Judged,
    Sheet,
    compared,
    definition,
    lines,
    name_told,
    needed,
    opened,
    other,
    sheet_of,
    waits,
)
from cdcd.server.console.signin import pairs
from cdcd.server.console.trying import part, tried_by
from cdcd.server.problems import Problem
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route
from cdcd.server.v1.asked import who
from cdcd.server.v1.triggers import editing_answers
from cdcd.sources.ticks import Ticks
from cdcd.triggers.vocabulary import VOCABULARIES

NOTHING = "Nothing was written: what was there is as it was"
NEXT = 5  # ticks that are shown
MOST_TABLES, MOST_COLUMNS = 2000, 200  # that are listed
_PLAIN = re.compile(r"[^\s\".*?\[\]]+")


class EditingPages:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin

    # Opening

    async def new(self, call: Call) -> Reply:
        """`GET /console/new-trigger`: empty, with what the query gives, or as a clone of the trigger that it names."""
        query = call.request.query
        if clone := query.get("clone"):
            with editing_answers("it cannot be cloned"):
                found = await self._admin.editing.show(clone)
            return await self._page(call, replace(opened(found), name=self._free(clone), clone=clone))
        fields = prefilled(query.items())
        sheet = Sheet(query.get("name", "")[:200], fields=fields, text=made("", fields).text)
        return await self._page(call, sheet)

    async def edit(self, call: Call) -> Reply:
        """`GET /console/triggers/{name}/edit`."""
        name = call.parameters["name"]
        with editing_answers("it cannot be edited"):
            found = await self._admin.editing.show(name)
        sheet = replace(opened(found), name=name, fixed=True, etag=found.etag, seen=definition(found))
        return await self._page(call, sheet)

    def _free(self, name: str) -> str:
        taken = self._admin.config.triggers
        names = (f"{name[:190]}-copy{number or ''}" for number in (0, *range(2, 1000)))
        return next((each for each in names if each not in taken), "")

    # What is sent

    async def add(self, call: Call) -> Reply:
        """`POST /console/new-trigger`."""
        return await self._posted(call, "")

    async def change(self, call: Call) -> Reply:
        """`POST /console/triggers/{name}/edit`."""
        return await self._posted(call, call.parameters["name"])

    async def judge(self, call: Call) -> Reply:
        """`POST /console/new-trigger/judge`: what is to be said of what is typed, as a part."""
        sheet = await asyncio.to_thread(_sent, call)
        body = self._pages.part(call, "trigger-form-judged.html", sheet=sheet, judged=await self._judge(sheet), alone=True)
        return Reply(200, body, HTML)

    async def _posted(self, call: Call, name: str) -> Reply:
        sent = pairs(call.body)
        got = dict(sent)
        act = got.get("act", "check")
        sheet = await asyncio.to_thread(sheet_of, sent, name)
        if act == "yaml" and sheet.mistakes:  # what YAML cannot hold is not to be lost
            return await self._page(call, replace(sheet, submitted=True), status=422)
        if act == "yaml":
            return await self._page(call, replace(sheet, fields=None))
        if act == "form":
            return await self._page(call, await self._with_fields(sheet))
        sheet = replace(sheet, submitted=True)
        if act not in ("save", "overwrite", "anew"):
            return await self._page(call, sheet, status=422)
        if act == "overwrite":
            sheet = replace(sheet, etag=got.get("theirs", ""))
        judged = await self._judge(sheet)
        gone = judged.gone and act != "anew"
        if judged.told or judged.place.why_not or gone:
            return await self._page(call, sheet, judged, status=412 if gone else 422)
        return await self._write(call, sheet, judged, anew=act == "anew")

    async def _with_fields(self, sheet: Sheet) -> Sheet:
        """The form's view of a text, where there is one."""
        try:
            return replace(sheet, base=sheet.text, fields=await asyncio.to_thread(shown, sheet.text))
        except Unshowable as error:
            why = f"{error} (line {error.line})" if error.line else str(error)
        if sheet.fixed and sheet.text.strip() == sheet.seen.strip():
            with editing_answers("it cannot be shown as a form"):
                found = await self._admin.editing.show(sheet.name)
            text = written(dict(found.definition))
            return replace(sheet, base=text, text=text, fields=shown(text), out=True)
        return replace(sheet, unshowable=why)

    async def _write(self, call: Call, sheet: Sheet, judged: Judged, *, anew: bool = False) -> Reply:
        editing = self._admin.editing
        etag = (sheet.etag or "none") if sheet.fixed and not anew else None
        try:
            found, new = await editing.put(sheet.draft, who(call.claims), etag)
        except Outdated:
            theirs, gone, why = await self._theirs(sheet)
            if why:
                return await self._page(call, sheet, replace(judged, told=[Told(why)], refused=NOTHING), status=409)
            if theirs is not None and sheet.fixed and definition(theirs) == sheet.seen:
                return await self._write(call, replace(sheet, etag=theirs.etag), judged)
            differs = await asyncio.to_thread(compared, sheet.seen, definition(theirs)) if theirs is not None else []
            return await self._page(call, sheet, replace(judged, theirs=theirs, differs=differs, gone=gone), status=412)
        except Invalid as error:
            refused = "cdcd read it with everything around it and could not take it over, so the file is as it was"
            mistakes = told(error.mistakes, sheet.named, sheet.fields, sheet.text)
            return await self._page(call, sheet, replace(judged, told=mistakes, refused=refused), status=422)
        except (NotWritable, TransientError) as error:
            mistakes = [Told(each) for each in (str(error), error.hint) if each]
            status = 409 if isinstance(error, NotWritable) else 503
            return await self._page(call, sheet, replace(judged, told=mistakes, refused=NOTHING), status=status)
        words = f"{found.name} is {'added' if new else 'changed'}, and in force."
        return see(f"{LIST}/{quote(found.name, safe='')}", words)

    async def _theirs(self, sheet: Sheet) -> tuple[Written | None, bool, str]:
        """What is written now; whether nothing is; why that cannot be told."""
        try:
            return await self._admin.editing.show(sheet.name), False, ""
        except NoSuchTrigger:
            return None, True, ""
        except NotWritable as error:
            return None, False, str(error)

    # Judging

    async def _judge(self, sheet: Sheet, *, later: bool = False) -> Judged:
        """`later`: what needs all files read is left to the next time."""
        try:
            place = await self._admin.editing.place(sheet.named)
        except NotWritable as error:
            place = Place("", there=False, why_not=str(error), hint=error.hint)
        mistakes = [*sheet.mistakes]
        judged = await asyncio.to_thread(_is_whole, sheet)
        if judged and not later:
            try:
                mistakes += await self._admin.editing.validate(sheet.draft)
            except NotWritable as error:
                mistakes.append(Mistake(str(error)))
        # A long definition is read more than once for this, which deliveries must not wait for.
        return await asyncio.to_thread(self._judged, sheet, place, mistakes, judged=judged, later=judged and later)

    def _judged(self, sheet: Sheet, place: Place, mistakes: list[Mistake], *, judged: bool, later: bool) -> Judged:
        found = [] if sheet.fixed else [*name_told(sheet, place)]
        if judged:
            found += needed(sheet)
            found += [each for each in told(mistakes, sheet.named, sheet.fields, sheet.text) if each not in found]
        elif sheet.submitted:
            found.append(Told("choose one", "kind", "f-kind"))
        comments = lost(sheet.base, sheet.text) if sheet.fields is not None else []
        gone = sheet.fixed and not place.there
        return Judged(found, place, comments, self._ticks(sheet), waits(sheet), lines(sheet), later=later, gone=gone)

    def _ticks(self, sheet: Sheet) -> list[tuple[int, str]]:
        fields = sheet.fields
        if fields is None or fields.kind is not Kind.SCHEDULE:
            return []
        cron, zone = fields.one("schedule").strip(), fields.one("timezone").strip() or "UTC"
        if not cron or cron_problem(cron) or zone not in _zones():
            return []
        ticks = Ticks(Schedule(cron, zone))
        return [(at, ticks.written(at)) for at in islice(ticks.after(int(time.time())), NEXT)]

    # Pages and parts

    async def _page(self, call: Call, sheet: Sheet, judged: Judged | None = None, status: int = 200) -> Reply:
        config = self._admin.config
        custom = {each for trigger in config.triggers.values() for each in trigger.types if kind_of(each) is Kind.CUSTOM}
        custom |= {*config.events, *(kind for database in config.databases.values() for _, kind in database.channels)}
        judged = judged or await self._judge(sheet, later=status == 200)
        return self._pages.page(
            call,
            "trigger-form.html",
            status,
            sheet=sheet,
            judged=judged,
            at=judged.at(sheet.submitted),
            alone=False,
            form=sheet.fields or Fields(),
            options=OPTIONS,
            types={Kind.DATABASE: DATABASE_TYPES, Kind.STORAGE: STORAGE_TYPES},
            kinds=Kind,
            databases=sorted(config.databases),
            stores=sorted(config.storage),
            custom=sorted(custom),
            vocabularies=VOCABULARIES,
            other=await asyncio.to_thread(other, sheet),
        )

    async def tables(self, call: Call) -> Reply:
        """`GET /console/new-trigger/tables`: the tables of a database, and the columns of those that are chosen."""
        query = call.request.query
        databases = self._admin.config.databases
        name = query.get("database") or (next(iter(databases)) if len(databases) == 1 else "")
        why = ""
        names: list[str] = []
        warnings: list[str] = []
        columns: list[tuple[str, tuple[str, ...]]] = []
        if name in databases:
            try:
                found = (await self._admin.looking.tables(name)).found
            except (SourceNotReady, SourceUnavailable) as error:
                why = str(error)
            else:
                wanted = [each.strip() for each in query.getall("table", []) if each.strip()][:20]
                names = [_pattern(each) for each in found[:MOST_TABLES]]
                columns = [(each.full_name, each.columns[:MOST_COLUMNS]) for each in found if _names(wanted, each)][:3]
                warnings = [*_warnings(wanted, found, {*query.getall("type", [])}, name)]
        body = self._pages.part(call, "trigger-form-tables.html", names=names, columns=columns, warnings=warnings, why=why)
        return Reply(200, body, HTML)

    async def try_fields(self, call: Call) -> Reply:
        """`POST /console/new-trigger/try-fields`: the fields for trying what is typed, as a part."""
        sheet = await asyncio.to_thread(_sent, call)
        try:
            with editing_answers("it can be tried when nothing is wrong with it"):
                trigger = await self._admin.trying.trigger(sheet.draft)
        except Problem as problem:
            return Reply(422, self._pages.part(call, "trigger-form-try.html", problem=problem), HTML)
        last = None
        with suppress(StoreUnavailable):
            for trial in await self._admin.trying.on_last(trigger, MOST):
                if trial.judgement.fires:
                    last = (trial.delivery, trial.event.type, trial.event.data)
                    break
        when = "" if trigger.when is None else trigger.when.source
        fill = filled(trigger.config, trigger.columns_used, when, last)
        return Reply(200, self._pages.part(call, "trigger-form-try.html", filled=fill, problem=None), HTML)

    async def attempt(self, call: Call) -> Reply:
        """`POST /console/new-trigger/try`: what is typed, tried; as a part."""
        sheet = await asyncio.to_thread(_sent, call)
        found = await tried_by(self._admin, call.claims, sheet.draft, dict(pairs(call.body)), f"{NEW}/try", "#editor")
        return part(self._pages, call, found)

    async def zones(self, call: Call) -> Reply:
        """`GET /console/new-trigger/zones`: time zones, as options."""
        names = sorted(each for each in _zones() if "/" in each or each == "UTC")
        return Reply(200, self._pages.part(call, "trigger-form-zones.html", names=names), HTML)


def routes(pages: Pages, admin: Admin) -> tuple[Route, ...]:
    """Its routes."""
    found = EditingPages(pages, admin)
    one = "triggers/{name}/edit"
    return (
        pages.seen("new-trigger", found.new, ADMINS),
        pages.done("new-trigger", found.add, ADMINS),
        pages.done("new-trigger/judge", found.judge, ADMINS),
        pages.done("new-trigger/try-fields", found.try_fields, ADMINS),
        pages.done("new-trigger/try", found.attempt, ADMINS),
        pages.seen("new-trigger/tables", found.tables, ADMINS),
        pages.seen("new-trigger/zones", found.zones),
        pages.seen(one, found.edit, ADMINS),
        pages.done(one, found.change, ADMINS),
    )


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _is_whole(sheet: Sheet) -> bool:
    """Whether there is something to judge: it is chosen what it is for, or it is YAML."""
    return sheet.fields is None or sheet.kind is not None


def _sent(call: Call) -> Sheet:
    """What is typed so far. Raises Problem 400."""
    sent = pairs(call.body)
    return sheet_of(sent, dict(sent).get("fixed", ""))


def _names(wanted: Sequence[str], table: TableInfo) -> bool:
    for each in wanted:
        try:
            if parse_table(each).matches(table.schema, table.name):
                return True
        except ValueError:
            continue
    return False


def _warnings(wanted: Sequence[str], found: Sequence[TableInfo], types: set[str], database: str) -> Iterator[str]:
    """What the database would refuse of the tables that are wanted."""
    for each in wanted:
        if not any(_names([each], table) for table in found):
            yield f"No table of {database} that its role can see is named {each}."
    for table in found:
        if not _names(wanted, table):
            continue
        if not table.publishable:
            yield f"{table.full_name} is {table.persistence}: its changes never reach the WAL."
        elif types & {"DB_UPDATE", "DB_DELETE"} and not table.identity_usable:
            yield f"{table.full_name} has no primary key, so its updates and deletes cannot be told: give it one, or REPLICA IDENTITY FULL."


def _pattern(table: TableInfo) -> str:
    """The pattern that means this table alone."""
    return ".".join(
        part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in (table.schema, table.name)
    )
