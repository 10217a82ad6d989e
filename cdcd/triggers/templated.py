"""What of one trigger's requests is made by expressions: its body, headers, URL and claims, compiled once.

A trigger without any has None instead, so that its requests cost nothing more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from cdcd.config.model import Kind, TriggerConfig
from cdcd.config.templates import has_code, inside
from cdcd.errors import EventError, ExpressionError
from cdcd.triggers.exact import write
from cdcd.triggers.expressions import Expression
from cdcd.triggers.stored import Stored
from cdcd.triggers.template import Compiler, Mistake, Node, Term, Text, text_of, value_of
from cdcd.triggers.vocabulary import TEMPLATES

LONGEST_CLAIMS = 4096
"""Bytes of JSON: a token is a header, and servers take headers of some 8 KB."""


@dataclass(slots=True, frozen=True)
class Templates:
    """`payload` and `claims` are None, and `headers` and `url` empty, when nothing in them is to be evaluated or set.

    `url` is the whole URL in pieces. `headers` are those with expressions. `expressions` are all, with their options.
    """

    payload: Node | None
    headers: tuple[tuple[str, Text], ...]
    url: Text
    claims: Mapping[str, Node] | None
    expressions: tuple[tuple[str, Expression], ...]

    def body(self, facts: Stored) -> bytes:
        """The payload as JSON (UTF-8). Raises EventError."""
        return write(value_of(self.payload, facts))

    def header(self, name: str, text: Text, facts: Stored) -> str:
        """A header's value, which cannot end the header. Raises EventError."""
        value = text_of(text, facts).strip(" \t")
        if not value.isprintable() and any((ord(mark) < 32 and mark != "\t") or mark == "\x7f" for mark in value):
            raise self._refused(f"webhook.headers.{name}", "has a line break or a control character in it", facts)
        return self._encodable(value, f"webhook.headers.{name}", facts)

    def word(self, term: Term, facts: Stored) -> str:
        """The text of an expression in the URL, percent-encoded. Raises EventError."""
        return quote(self._encodable(term.text(facts), "webhook.url", facts), safe="")

    def members(self, facts: Stored) -> bytes:
        """The claims as JSON: an object. Raises EventError."""
        made = write({name: value_of(node, facts) for name, node in (self.claims or {}).items()})
        if len(made) > LONGEST_CLAIMS:
            raise self._refused("claims", f"are {len(made)} bytes, over the {LONGEST_CLAIMS} that a header has room for", facts)
        return made

    def constant_claims(self) -> bytes:
        """The claims where none has an expression in it."""
        return write(self.claims)

    def _encodable(self, value: str, option: str, facts: Stored) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
        raise self._refused(option, "has half a character (a lone surrogate) in it", facts)

    def _refused(self, option: str, why: str, facts: Stored) -> EventError:
        return ExpressionError(f"trigger {facts.trigger}: {option} {why}", hint="look at the values that its expressions take")


def compile_templates(config: TriggerConfig, mistake: Mistake) -> Templates | None:
    """The templates of a trigger; None when it has none. Every mistake is told."""
    webhook = config.webhook
    compiler = Compiler(config.name, TEMPLATES[config.kind], mistake)
    payload = None if config.payload is None else compiler.node(config.payload, "payload")
    claims = {name: compiler.node(value, inside("claims", name)) for name, value in config.claims.items()} or None
    headers = tuple(
        (name, compiler.text(value, inside("webhook.headers", name))) for name, value in webhook.headers if _has_code(value)
    )
    url = compiler.text(webhook.url, "webhook.url") if _has_code(webhook.url) else ()
    if config.kind is Kind.DATABASE:
        for option, expression in compiler.expressions:
            _check_rows(config, option, expression, mistake)
    if payload is None and claims is None and not headers and not url:
        return None
    return Templates(payload, headers, url, claims, tuple(compiler.expressions))


def _check_rows(config: TriggerConfig, option: str, expression: Expression, mistake: Mistake) -> None:
    """An expression that is nothing but a column fails for every event that has no such row."""
    if expression.column is None:
        return
    root, column = expression.column
    other, kind = ("old", "DB_DELETE") if root == "new" else ("new", "DB_INSERT")
    if kind in config.types:
        mistake(
            option,
            f"there is no {root} row in a {kind}; write "
            f'`type == "{kind}" ? {other}.{column} : {root}.{column}`, or make a trigger for each type',
        )


def _has_code(text: str) -> bool:
    try:
        return has_code(text)
    except ValueError:
        return True  # compiling it tells the mistake
