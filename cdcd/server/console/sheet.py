"""What a page for adding or editing a trigger holds, and what is to be said of it. Pure.

`base` is the definition that the fields change (`cdcd.server.console.form`), which the page carries along; the YAML view is the definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from urllib.parse import quote

from pydantic import ValidationError

from cdcd.admin.editing import NAME, Draft, Mistake, Place, Written
from cdcd.config.altering import Unshowable, read
from cdcd.config.model import Kind, Retries
from cdcd.config.shape import RetriesShape
from cdcd.config.writing import written
from cdcd.delivery.retry import wait
from cdcd.server.console.form import CHOOSE, NEEDED, OPTIONS, Fields, Told, made, place, posted, shown, unwrapped

NEW, LIST = "/console/new-trigger", "/console/triggers"
SHOWN = 5  # retries
MOST_PAIRS = 100_000  # of lines that are compared: many that are alike take a second for each hundred thousand
NAMELESS = "this-trigger"  # what is judged has a name, before it is given one


@dataclass(slots=True, frozen=True)
class Sheet:
    """What the page holds. `name` as typed; `fixed`: it is there already, and keeps its name. `fields` None: the YAML view. `base` is
    the definition that the fields change, `text` what they make of it. `etag` and `seen`: the state of its file, and its definition, that
    were read. `clone`: the trigger that it was taken from. `submitted`: it was to be written. `out`: parts from elsewhere in its file were
    written out for the form. `unshowable`: why the form cannot show it."""

    name: str = ""
    fixed: bool = False
    fields: Fields | None = None
    base: str = ""
    text: str = ""
    etag: str = ""
    seen: str = ""
    clone: str = ""
    submitted: bool = False
    out: bool = False
    mistakes: Sequence[Mistake] = ()
    unshowable: str = ""

    @property
    def draft(self) -> Draft:
        """To be judged, tried and written."""
        return Draft(self.named, self.text if self.text.strip() else "{}", clone_of=self.clone)

    @property
    def named(self) -> str:
        return self.name if NAME.fullmatch(self.name) else NAMELESS

    @property
    def kind(self) -> Kind | None:
        if self.fields is not None:
            return self.fields.kind
        try:
            return shown(self.text).kind
        except Unshowable:
            return None

    @property
    def at(self) -> str:
        """The address of the page."""
        return f"{LIST}/{quote(self.name, safe='')}/edit" if self.fixed else NEW

    @property
    def keeps(self) -> bool:
        """Whether values stand in it that are not shown."""
        return "***" in self.text


@dataclass(slots=True, frozen=True)
class Judged:
    """What is to be said of a sheet: its mistakes, where it would be written, the comments that the form loses, when it fires next, the
    seconds before each of the first retries. `lines` are those of the file, and whether each is new. `later`: it was not judged whole yet.
    `refused`: what came of writing it. `theirs` is what another wrote meanwhile, `differs` its lines likewise; `gone`: it was deleted."""

    told: Sequence[Told] = ()
    place: Place = field(default_factory=lambda: Place("", there=False))
    lost: Sequence[str] = ()
    ticks: Sequence[tuple[int, str]] = ()
    waits: Sequence[float] | None = None
    lines: Sequence[tuple[str, bool]] = ()
    refused: str = ""
    later: bool = False
    theirs: Written | None = None
    differs: Sequence[tuple[str, bool]] = ()
    gone: bool = False

    def wrong(self, submitted: bool) -> list[Told]:
        """What is shown as wrong: an empty field is so only when it was to be written."""
        return [each for each in self.told if submitted or not each.missing]

    @property
    def missing(self) -> list[Told]:
        return [each for each in self.told if each.missing]

    def at(self, submitted: bool) -> dict[str, list[str]]:
        """What is wrong with each field, by its id."""
        found: dict[str, list[str]] = {}
        for each in self.wrong(submitted):
            if each.id:
                found.setdefault(each.id, []).append(each.what)
        return found


def opened(found: Written) -> Sheet:
    """A trigger as it is written; as a form where that can show it."""
    text = definition(found)
    try:
        return Sheet(base=text, text=text, fields=shown(text))
    except Unshowable as error:
        return Sheet(base=text, text=text, unshowable=str(error))


def definition(found: Written) -> str:
    return found.yaml or written(dict(found.definition))


def sheet_of(sent: Sequence[tuple[str, str]], name: str) -> Sheet:
    """What was sent. `name` is that of a trigger that is there, "" for a new one."""
    got = {each: value.replace("\r\n", "\n") for each, value in sent}
    sheet = Sheet(
        name or got.get("name", "").strip()[:200],
        bool(name),
        etag=got.get("etag", ""),
        seen=got.get("seen", ""),
        clone=got.get("clone", ""),
        submitted=got.get("submitted") == "1",
        out=got.get("out") == "1",
    )
    if got.get("view") == "yaml":
        text = got.get("yaml", "")
        if (whole := unwrapped(text)) is not None:
            sheet, text = replace(sheet, name=sheet.name or whole[0]), whole[1]
        return replace(sheet, text=text, base=text)
    base, fields = got.get("base", ""), posted(sent)
    try:
        done = made(base, fields)
    except Unshowable as error:
        return replace(sheet, text=base, base=base, unshowable=str(error))
    return replace(sheet, fields=fields, base=base, text=done.text, mistakes=done.mistakes)


def name_told(sheet: Sheet, there: Place) -> list[Told]:
    if not sheet.name:
        return [Told(NEEDED, "name", "f-name", missing=True)]
    if NAME.fullmatch(sheet.name) is None:
        return [Told("it has letters, digits, _ and - alone, at most 200 of them", "name", "f-name")]
    return [Told(f"there is a trigger of this name already, in {there.file}", "name", "f-name")] if there.there else []


def needed(sheet: Sheet) -> list[Told]:
    """The fields that a kind cannot do without, and that are empty."""
    fields = sheet.fields
    if fields is None or fields.kind is None:
        return []
    names = {Kind.DATABASE: ["table"], Kind.SCHEDULE: ["schedule"]}.get(fields.kind, [])
    found = [Told(NEEDED, *place(name, fields), missing=True) for name in (*names, "webhook.url") if not fields.many(name)]
    if not fields.chosen(fields.kind):
        option, identity = place("type", fields)
        found.insert(0, Told(NEEDED if option == "custom" else CHOOSE, option, identity, missing=True))
    return found


def lines(sheet: Sheet) -> list[tuple[str, bool]]:
    """The trigger as it will stand in its file, each line with whether it is new."""
    after = compared(sheet.seen if sheet.fixed else sheet.text, sheet.text)
    head = [("triggers:", False), (f"  {sheet.name or 'NAME'}:", False)]
    return [*head, *(("    " + line if line else "", fresh) for line, fresh in after)]


def compared(before: str, after: str) -> list[tuple[str, bool]]:
    """The lines of a text, each with whether another has it not. What is alike at both ends is found by itself; where what remains is too
    long to be compared line by line, a line is fresh when the other has it nowhere."""
    old, new = (text.rstrip("\n").split("\n") if text.strip() else [] for text in (before, after))
    least = min(len(old), len(new))
    begin = next((number for number in range(least) if old[number] != new[number]), least)
    end = next((number for number in range(least - begin) if old[-1 - number] != new[-1 - number]), least - begin)
    left, right = old[begin : len(old) - end], new[begin : len(new) - end]
    if len(left) * len(right) <= MOST_PAIRS:
        blocks = SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
        same = {number for block in blocks for number in range(block.b, block.b + block.size)}
        fresh = [number not in same for number in range(len(right))]
    else:
        known = set(left)
        fresh = [line not in known for line in right]
    return list(zip(new, [False] * begin + fresh + [False] * end, strict=True))


def waits(sheet: Sheet) -> list[float] | None:
    """Seconds before each of the first retries, without chance; None where they cannot be told."""
    try:
        found = RetriesShape.model_validate(read(sheet.text).get("retries", {}))
    except (ValidationError, Unshowable):
        return None
    policy = Retries(**{**found.model_dump(), "no_retry": frozenset(), "jitter": 0.0})
    return [wait(policy, attempt, lambda: 0.5) for attempt in range(1, min(policy.max, SHOWN) + 1)]


def other(sheet: Sheet) -> list[str]:
    """Options of the definition that have no field."""
    if sheet.fields is None:
        return []
    try:
        known = {each.partition(".")[0] for each in OPTIONS} | {"type"}
        return [name for name in read(sheet.base) if name not in known]
    except Unshowable:
        return []
