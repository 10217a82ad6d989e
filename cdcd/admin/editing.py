"""Triggers as they are written: shown, judged before they are, put into a file of the include directory, taken out of it.

The rules:
- the main file is never written, nor any that `include` does not name: triggers in it are read-only;
- what is written has been read whole before, with everything around it, exactly as a start would; then the file is replaced at once,
  and the daemon reloads. A reload that refuses puts the file back as it was;
- who changes a trigger says which state of its file they have seen (`etag`): nobody overwrites what another wrote meanwhile;
- secrets that stand in a file are not shown, and `***` in a definition keeps them (`cdcd.config.masking`).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from cdcd.admin import files
from cdcd.admin.files import File
from cdcd.config.load import Texts
from cdcd.config.masking import masked, restored, values, with_option
from cdcd.config.model import Config
from cdcd.config.splicing import Definition, Spliced, Unspliceable, check_definition
from cdcd.config.writing import written
from cdcd.errors import CdcdError, ConfigError, TransientError

log = structlog.get_logger()

NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
LARGEST = 256 * 1024  # characters of a definition
_MISTAKE = re.compile(r"(?s)(.*?):(\d+):(\d+): (.*)")
_FIELD = re.compile(r"triggers\.[A-Za-z0-9_-]+(?:\.([^\s:]+?):? |: (?:unknown option )?'(\w+)'(?: is missing|;|$))")

Read = Callable[[Texts], Config]
"""Reads the configuration whole, expressions included, with these texts in the place of files. Raises ConfigError."""
Reload = Callable[[str], Awaitable[object]]
"""Takes the files over; who asks. Raises ConfigError, TransientError."""


class NoSuchTrigger(CdcdError):
    """No file has a trigger of this name."""


class NotWritable(CdcdError):
    """It stands where cdcd does not write, or may not."""


class Outdated(CdcdError):
    """The file has changed since it was read. `missing`: nobody said which state was read."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message, hint="read the trigger again, and make the change in that")
        self.missing = missing


@dataclass(slots=True, frozen=True)
class Mistake:
    """What is wrong. `line` and `column` (from 1) are within the definition, 0 when it is not one place of it; `field` is the option
    (`webhook.url`), "" when it is none."""

    what: str
    line: int = 0
    column: int = 0
    field: str = ""


class Invalid(CdcdError):
    """The definition has mistakes."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("; ".join(mistake.what for mistake in mistakes))
        self.mistakes = mistakes


@dataclass(slots=True, frozen=True)
class Written:
    """A trigger as it is written: its definition as YAML and as values, without secrets. `file` and `line` are where. `read_only`: why
    it cannot be changed here, empty when it can."""

    name: str
    yaml: str
    definition: Mapping[str, object]
    file: str
    line: int
    etag: str
    read_only: str = ""


@dataclass(slots=True, frozen=True)
class Place:
    """The file that a trigger stands in (`there`) or would go to, "" for none. `why_not`: why it cannot be written; empty: it can."""

    file: str
    there: bool
    why_not: str = ""
    hint: str = ""


@dataclass(slots=True, frozen=True)
class Draft:
    """A definition that is not written: as YAML, or as values. `***` in it keeps the secrets of the trigger `clone_of`, or of the one
    of its own name."""

    name: str
    yaml: str | None = None
    definition: Mapping[str, object] | None = None
    clone_of: str = ""


class Editing:
    """`config` gives the configuration in force, of which the paths of the files are taken."""

    def __init__(self, config: Callable[[], Config], read: Read, reload: Reload | None = None) -> None:
        self._config = config
        self._read = read
        self._reload = reload
        self._one = asyncio.Lock()
        self._judging = asyncio.Lock()

    # Looking

    async def show(self, name: str) -> Written:
        """Raises NoSuchTrigger, and NotWritable for a file that cannot be read."""
        return await asyncio.to_thread(self._show, name)

    def _show(self, name: str) -> Written:
        file, spliced = self._find(name)
        assert file.text is not None
        text = masked(file.text)
        try:
            found = Spliced(text).definition(name)
        except Unspliceable:
            found = None
        definition = values(text, name)
        return Written(
            name,
            written(dict(definition)) if found is None else found.text,
            definition,
            str(file.path),
            0 if found is None else found.line,
            file.etag,
            self._why_not(file, spliced, name),
        )

    async def place(self, name: str) -> Place:
        """Where writing a trigger of this name goes to. Raises NotWritable for a file that cannot be read."""
        return await asyncio.to_thread(self._place, name)

    def _place(self, name: str) -> Place:
        try:
            file, spliced = self._find(name)
        except NoSuchTrigger:
            path = files.place_for(name, self._config().include)
            if path is not None:
                return Place(str(path), there=False)
            error = self._no_place()
            return Place("", False, str(error), error.hint)
        return Place(str(file.path), True, self._why_not(file, spliced, name))

    async def validate(self, draft: Draft) -> list[Mistake]:
        """Every mistake that writing it would be refused for."""
        async with self._judging:  # it takes a processor for a while: one at a time
            return (await asyncio.to_thread(self._judge, draft, None))[2]

    def config_with(self, draft: Draft) -> Config:
        """The configuration as it would be with this draft. Takes a while: not for the event loop. Raises Invalid."""
        found: list[Config] = []
        _, _, mistakes = self._judge(draft, None, found)
        if mistakes:
            raise Invalid(mistakes)
        return found[0]

    # Changing

    async def put(self, draft: Draft, who: str, etag: str | None) -> tuple[Written, bool]:
        """Write a trigger; whether it is a new one. `etag` is the state that was seen (`*`: any), None for one that must not be there yet.
        Raises Invalid, Outdated, NotWritable, TransientError."""
        async with self._one:
            file, texts, mistakes = await asyncio.to_thread(self._judge, draft, (etag,))
            if mistakes or texts is None:
                raise Invalid(mistakes)
            new = etag is None
            await self._write(file, texts, who)
        log.info("trigger.written", trigger=draft.name, file=str(file.path), new=new, who=who)
        return await self.show(draft.name), new

    async def delete(self, name: str, who: str, etag: str | None) -> None:
        """Take a trigger out of its file. Raises NoSuchTrigger, Outdated, NotWritable, Invalid, TransientError."""
        async with self._one:
            file, texts = await asyncio.to_thread(self._without, name, etag)
            await self._write(file, texts, who)
        log.info("trigger.deleted", trigger=name, file=str(file.path), who=who)

    async def switch(self, name: str, who: str, *, enabled: bool, etag: str | None = "*") -> Written:
        """Set `enabled`; the rest of the definition stays as it is, whatever it is unless `etag` says which was seen. Raises what `put`
        raises."""
        async with self._one:
            file, texts = await asyncio.to_thread(self._switched, name, enabled, etag)
            if texts is not None:
                await self._write(file, texts, who)
                log.info("trigger.written", trigger=name, file=str(file.path), new=False, who=who)
        return await self.show(name)

    async def _write(self, file: File, texts: Texts, who: str) -> None:
        (text,) = texts.values()
        try:
            await asyncio.to_thread(files.put, file, text)
        except OSError as error:
            raise NotWritable(f"{file.path} cannot be written: {error.strerror}") from error
        if self._reload is None:
            return
        try:
            await self._reload(who)
        except (ConfigError, TransientError) as error:
            await asyncio.to_thread(files.put, File(file.path, text, file.bom), file.text)
            if isinstance(error, ConfigError):
                raise Invalid([Mistake(what) for what in error.mistakes]) from error
            raise

    # What is done in a thread

    def _judge(
        self, draft: Draft, seen: tuple[str | None] | None, compiled: list[Config] | None = None
    ) -> tuple[File, Texts | None, list[Mistake]]:
        """The file that it goes into, what this would say, and what is wrong with it. `seen`: it is to be written by one who saw that."""
        file, found = self._target(draft.name, seen)
        if seen is not None:
            if why := self._why_not(file, found, draft.name):
                raise NotWritable(f"{draft.name} cannot be changed: {why}")
            _check_seen(draft.name, file, seen[0], there=found is not None)
        try:
            definition = self._definition(draft)
            text = Spliced(file.text or "").with_trigger(draft.name, definition)
        except Unspliceable as error:
            return file, None, [Mistake(str(error), error.line, error.column)]
        texts = {file.path.absolute(): text}
        try:
            config = self._read(texts)
        except ConfigError as error:
            where = Spliced(text).definition(draft.name)
            return file, texts, [_mistake(what, file.path, where) for what in error.mistakes]
        if draft.name not in config.triggers:
            return file, texts, [Mistake(f"`include` does not name {file.path}")]
        if compiled is not None:
            compiled.append(config)
        return file, texts, []

    def _definition(self, draft: Draft) -> str:
        """Raises Unspliceable."""
        if NAME.fullmatch(draft.name) is None:
            raise Unspliceable("a trigger's name has 1 to 200 letters, digits, _ and -")
        text = draft.yaml if draft.yaml is not None else written(dict(draft.definition or {}))
        if len(text) > LARGEST:
            raise Unspliceable(f"the definition has more than {LARGEST} characters")
        check_definition(text)
        name = draft.clone_of or draft.name
        try:
            file, _ = self._find(name)
        except NoSuchTrigger:
            return restored(text, "", name)
        return restored(text, file.text or "", name)

    def _without(self, name: str, etag: str | None) -> tuple[File, Texts]:
        file, spliced = self._find(name)
        if why := self._why_not(file, spliced, name):
            raise NotWritable(f"{name} cannot be deleted: {why}")
        _check_seen(name, file, etag, there=True)
        assert spliced is not None
        try:
            text = spliced.without_trigger(name)
        except Unspliceable as error:
            raise NotWritable(f"{name} cannot be deleted: {error}") from error
        if text is None and str(file.path) in self._config().include:  # a file that is named must be there
            text = "triggers: {}\n"
        return file, self._readable(file, text)

    def _switched(self, name: str, enabled: bool, etag: str | None) -> tuple[File, Texts | None]:
        file, spliced = self._find(name)
        if why := self._why_not(file, spliced, name):
            raise NotWritable(f"{name} cannot be changed: {why}")
        _check_seen(name, file, etag, there=True)
        assert spliced is not None
        found = spliced.definition(name)
        assert found is not None
        if values(file.text or "", name).get("enabled", True) is enabled:
            return file, None
        try:
            text = spliced.with_trigger(name, with_option(found.text, "enabled", "true" if enabled else "false"))
        except Unspliceable as error:
            raise NotWritable(f"{name} cannot be changed: {error}") from error
        return file, self._readable(file, text)

    def _readable(self, file: File, text: str | None) -> Texts:
        texts = {file.path.absolute(): text}
        try:
            self._read(texts)
        except ConfigError as error:
            raise Invalid([Mistake(what) for what in error.mistakes]) from error
        return texts

    # Files

    def _find(self, name: str) -> tuple[File, Spliced | None]:
        config = self._config()
        for path in (config.path, *files.included(config.path, config.include)):
            try:
                file = files.read(path)
            except (OSError, ValueError) as error:
                raise NotWritable(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8'}") from error
            if file.text is None:
                continue
            try:
                spliced = Spliced(file.text)
            except Unspliceable:
                if values(file.text, name):
                    return file, None
                continue
            if name in spliced.names:
                return file, spliced
        raise NoSuchTrigger(f"there is no trigger {name}")

    def _target(self, name: str, seen: object) -> tuple[File, Spliced | None]:
        """The file that has the trigger, or that it will go to."""
        try:
            return self._find(name)
        except NoSuchTrigger:
            config = self._config()
            path = files.place_for(name, config.include)
            if path is None:
                if seen is not None:
                    raise self._no_place() from None
                path = next(iter(files.included(config.path, config.include)), config.path)  # to be judged only
            try:
                return files.read(path), None
            except (OSError, ValueError) as error:
                raise NotWritable(f"{path} cannot be read") from error

    def _no_place(self) -> NotWritable:
        config = self._config()
        if not config.include:
            return NotWritable(
                "there is no file for a new trigger: the configuration has no `include`",
                hint=f"add `include: triggers/*.yaml` to {config.path}, and let cdcd write to that directory",
            )
        whys = {why for pattern in config.include if (why := files.why_not_writable(Path(pattern)))}
        return NotWritable(
            f"there is no file for a new trigger: {'; '.join(sorted(whys)) or 'no pattern of `include` takes a file of its name'}",
            hint="let cdcd write to a directory of `include`, as triggers/*.yaml",
        )

    def _why_not(self, file: File, spliced: Spliced | None, name: str) -> str:
        config = self._config()
        if file.text is None:
            return ""
        if file.path.samefile(config.path):
            return f"it stands in {file.path}, which cdcd never writes; move it to a file that `include` names"
        if (spliced is None or name not in spliced.names) and values(file.text, name):
            return f"{file.path} is not written in a way in which one trigger can be told from the rest"
        return files.why_not_writable(file.path)


def _check_seen(name: str, file: File, etag: str | None, *, there: bool) -> None:
    if etag is None and there:
        raise Outdated(f"the trigger {name} is there already: say which state of it was read", missing=True)
    if etag is not None and (not there or etag not in (file.etag, "*")):
        raise Outdated(f"the file of the trigger {name} has changed since it was read")


def _mistake(text: str, path: Path, where: Definition | None) -> Mistake:
    """A mistake of the whole configuration, as one of the definition where it is."""
    found = _MISTAKE.fullmatch(text)
    if found is None or where is None or Path(found[1]).resolve() != path.resolve():
        return Mistake(text)
    line, column = int(found[2]) - where.line + 1, int(found[3]) - where.column
    if not 0 <= line <= where.text.count("\n") + 1:
        return Mistake(text)
    field = _FIELD.match(found[4])
    return Mistake(found[4], max(1, line), max(1, column), (field[1] or field[2]) if field is not None else "")
