"""A configuration file, and those it includes, become a Config; or a ConfigError with every mistake at once."""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from glob import glob
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from cdcd.config.build import build
from cdcd.config.checks import check_main, check_triggers
from cdcd.config.document import Document, Place, Route, read_document
from cdcd.config.mistakes import dotted, translate
from cdcd.config.model import Config, CustomType, TriggerConfig
from cdcd.config.outline import outline, routes_of
from cdcd.config.shape import ConfigShape, IncludedShape, Shape
from cdcd.errors import ConfigError

S = TypeVar("S", bound=Shape)

Check = Callable[[TriggerConfig], Iterable[tuple[str, str]]]
"""Takes a trigger of which only the expressions are sure to be there; gives the option and the words of each mistake in them."""


EventCheck = Callable[[CustomType], Iterable[tuple[str, str]]]
"""The same for what may be queued under a type."""


Texts = Mapping[Path, str | None]
"""What files (absolute paths) are taken to say, whatever stands in them; None: they are not there."""


def load(
    path: Path,
    environ: Mapping[str, str],
    expressions: Check | None = None,
    events: EventCheck | None = None,
    texts: Texts | None = None,
) -> Config:
    """The configuration at `path`. Raises ConfigError with every mistake as `file:line:col: what`.

    `expressions` looks at those of each trigger, `events` at what may be queued, so that their mistakes are told together with all
    others. `texts` stand in the place of files, to see what would come of them.
    """
    return _Load(path, environ, expressions, events, texts or {}).run()


def names_path(pattern: str, path: Path) -> bool:
    """Whether a pattern of `include` (whole) names a file that may not be there yet."""
    return fnmatch(str(path), pattern) or fnmatch(str(path), pattern.replace("/**/", "/"))


class _Load:
    def __init__(
        self, path: Path, environ: Mapping[str, str], expressions: Check | None, events: EventCheck | None, texts: Texts
    ) -> None:
        self._path = path
        self._environ = environ
        self._expressions = expressions
        self._events = events
        self._texts = texts
        self._mistakes: list[tuple[int, Place, str]] = []
        self._files: dict[str, int] = {}

    def run(self) -> Config:
        main = self._read(self._path, str(self._path))
        if main is None:
            raise self._error()
        included = [document for path in self._included(main) if (document := self._read(*path)) is not None]
        config_shape = self._shaped(main, ConfigShape)
        shapes = [(document, self._shaped(document, IncludedShape)) for document in included]
        if isinstance(main.data, dict):
            check_main(main, self._tell)
            if self._events is not None:
                self._check_events(main, self._events)
        seen: dict[str, Place] = {}
        for document in (main, *included):
            check_triggers(document, main, self._tell)
            if self._expressions is not None:
                self._check_expressions(document, self._expressions)
            self._check_twice(document, seen)
        if self._mistakes:
            raise self._error()
        assert config_shape is not None
        return build(self._path, main, config_shape, [(document, shape) for document, shape in shapes if shape is not None])

    def _check_events(self, main: Document, check: EventCheck) -> None:
        events = main.data.get("events") if isinstance(main.data, dict) else None
        for name, event in events.items() if isinstance(events, dict) else ():
            if isinstance(event, dict):
                schema, allow = event.get("schema"), event.get("allow")
                for option, what in check(
                    CustomType(
                        name, schema if isinstance(schema, dict | bool) else None, allow if isinstance(allow, str) else ""
                    )
                ):
                    self._tell(main, ("events", name, option), what, False)

    def _read(self, path: Path, shown: str) -> Document | None:
        self._files.setdefault(shown, len(self._files))
        text = problem = ""
        if (given := self._texts.get(path.absolute())) is not None:
            return read_document(shown, given, path.absolute().parent, self._environ, self._mistake)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            problem = f"cannot be read: {error.strerror or 'it is not there'}"
        except ValueError:
            problem = "is not UTF-8 text"
        if problem:
            self._mistake(Place(shown, 1, 1), problem)
            return None
        return read_document(shown, text, path.absolute().parent, self._environ, self._mistake)

    def _included(self, main: Document) -> list[tuple[Path, str]]:
        """The files that `include` names, each once, as (path, name to show)."""
        include = main.data.get("include") if isinstance(main.data, dict) else None
        patterns = include if isinstance(include, list) else [include]
        found: dict[Path, str] = {}
        for index, pattern in enumerate(patterns):
            if not isinstance(pattern, str) or not pattern:
                continue
            route: Route = ("include", index) if isinstance(include, list) else ("include",)
            names = sorted(glob(str(Path(pattern).expanduser()), root_dir=main.base, recursive=True))  # noqa: PTH207  # Path.glob refuses absolute patterns
            whole = str(main.base / Path(pattern).expanduser())
            names += (str(path) for path, text in self._texts.items() if text is not None and names_path(whole, path))
            if not names and not any(mark in pattern for mark in "*?["):
                self._tell(main, route, f"there is no file {main.written.get(route, '')}")
            for name in names:
                path = main.base / name
                given = path.absolute() in self._texts
                if (self._texts[path.absolute()] is not None) if given else (path.is_file() and not path.samefile(self._path)):
                    found.setdefault(path, str(self._path.parent / name))
        return list(found.items())

    def _shaped(self, document: Document, shape: type[S]) -> S | None:
        """The document as a shape; None when it has mistakes. pydantic's own error, which holds values, ends here."""
        if () in document.broken:
            return None
        data: Any = {} if document.data is None else document.data
        try:
            return shape.model_validate(data)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
        for detail in details:
            translated = translate(document, detail)
            if translated is not None:
                self._mistake(*translated)
        return None

    def _check_expressions(self, document: Document, check: Check) -> None:
        triggers = document.data.get("triggers") if isinstance(document.data, dict) else None
        for name, trigger in triggers.items() if isinstance(triggers, dict) else ():
            known = outline(name, trigger) if isinstance(trigger, dict) else None
            if known is None:
                continue
            routes = routes_of(name, trigger)
            for option, what in check(known):
                route = routes.get(option, ("triggers", name))
                if not any(route[:length] in document.broken for length in range(len(route) + 1)):
                    self._mistake(document.place(route), what)

    def _check_twice(self, document: Document, seen: dict[str, Place]) -> None:
        data = document.data if isinstance(document.data, dict) else {}
        triggers = data.get("triggers")
        for name in triggers if isinstance(triggers, dict) else ():
            place = document.place(("triggers", name), of_key=True)
            if name in seen:
                self._mistake(place, f"triggers.{name}: there is another trigger of this name at {seen[name]}")
            seen.setdefault(name, place)

    def _tell(self, document: Document, route: Route, what: str, of_key: bool = False) -> None:
        if not any(route[:length] in document.broken for length in range(len(route) + 1)):
            self._mistake(document.place(route, of_key=of_key), f"{dotted(route)}{what}")

    def _mistake(self, place: Place, what: str) -> None:
        self._mistakes.append((self._files.get(place.file, 0), place, what))

    def _error(self) -> ConfigError:
        """All mistakes in the order of the files and lines, each once."""
        ordered = sorted(self._mistakes, key=lambda item: (item[0], item[1].line, item[1].column))
        return ConfigError(list(dict.fromkeys(f"{place}: {what}" for _, place, what in ordered)))
