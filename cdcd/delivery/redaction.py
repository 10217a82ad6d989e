"""What an endpoint said, made fit to be kept: text without NUL, within a size, and without anything secret that it echoed.

Secret is whatever was sent to prove who we are: the values of the trigger's headers, the token, the project's secrets, what
the URL carries, what came from the environment or a file. Where expressions make headers or the URL, their literal parts are
secret for every request, and what was made of them for the one that sent it. The stored text never holds one of them, not even a
piece of one that the size limit cut in two.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from yarl import URL

from cdcd.config.checks import plain_url
from cdcd.config.model import Secret, Webhook
from cdcd.config.templates import has_code, pieces

REDACTED = "[redacted]"

_WHOLE = 4  # a shorter header value is no secret, and would blot out half of any text
_PART = 8  # the same for one word of a value ("Bearer" says nothing, what follows it does)
_BETWEEN = "\x00"  # stands where an expression stood
_PIECE = 4  # the shortest beginning of a secret that is taken off the end of a text that was cut


def secrets_of(webhook: Webhook, put_in: Iterable[str] = ()) -> tuple[str, ...]:
    """Everything in `webhook` that must not be kept; `put_in` is what `${env:...}` and `${file:...}` gave."""
    found = list(put_in)
    for _, value in webhook.headers:
        literals = [piece for piece in pieces(value) if isinstance(piece, str)]
        if not has_code(value):
            found += header_secrets("".join(literals))
        else:
            found += (word for text in literals for word in (text, *text.split()) if len(word) >= _PART)
    url = URL(plain_url(webhook.url, _BETWEEN))
    if url.password:
        found += (url.password, base64.b64encode(f"{url.user or ''}:{url.password}".encode()).decode())
    found += (part for value in _values(url) for part in re.split(f"{_BETWEEN}|%00", value) if len(part) >= _PART)
    return tuple(found)


def header_secrets(value: str) -> tuple[str, ...]:
    """What must not be kept of a header's value: the whole, and each longer word."""
    return (value, *(word for word in value.split() if len(word) >= _PART))


def url_secrets(url: URL) -> tuple[str, ...]:
    """What must not be kept of a URL."""
    return tuple(value for value in _values(url) if len(value) >= _PART)


def _values(url: URL) -> Iterator[str]:
    """The values of its query: as they are meant, and as they are sent."""
    yield from url.query.values()
    yield from (pair.partition("=")[2] for pair in url.raw_query_string.split("&"))


def forms_of(secret: Secret) -> tuple[str, ...]:
    """The texts in which a project's secret could come back."""
    return (
        secret.value.decode(errors="replace"),
        base64.b64encode(secret.value).decode(),
        base64.urlsafe_b64encode(secret.value).decode(),
        secret.value.hex(),
    )


def _spellings(text: str) -> set[str]:
    """How an endpoint may give it back: as it is, in JSON, and as it stands in a URL, of ours or of anybody's."""
    found = {text, json.dumps(text)[1:-1], quoted := quote(text, safe="")}
    if quoted != text:
        ours = URL.build(path="/" + text, query={"x": text})
        found |= {quote_plus(text), ours.raw_path[1:], ours.raw_query_string[2:]}
    return found


class Redactor:
    """Takes a fixed set of secrets out of texts."""

    def __init__(self, secrets: Iterable[str]) -> None:
        whole = {text for secret in secrets if len(text := secret.strip()) >= _WHOLE}
        forms = {form for text in whole for form in _spellings(text)}
        self._secrets = tuple(sorted(forms, key=len, reverse=True))  # the longest first: one may hold another

    def also(self, secrets: Iterable[str]) -> "Redactor":
        """One that takes these out too."""
        more = Redactor(secrets)
        more._secrets = tuple(sorted({*self._secrets, *more._secrets}, key=len, reverse=True))
        return more

    def text(self, body: bytes, limit: int, token: str) -> str:
        """`body` as it may be stored: at most `limit` bytes of UTF-8, without NUL, without secrets or `token`.

        Bytes that are not UTF-8 become U+FFFD.
        """
        if not body:
            return ""
        cut = len(body) > limit
        text = self.clean(body[:limit].decode(errors="replace"), token)
        if cut:
            text = self._without_piece(text, token)
        if len(text) * 4 > limit:
            text = text.encode()[:limit].decode(errors="ignore")
        return text

    def holds(self, body: bytes, token: str) -> bool:
        """Whether `body` repeats `token` or a secret, one that is long enough not to be there by chance."""
        text = body.decode(errors="replace")
        return (bool(token) and token in text) or any(len(secret) >= _PART and secret in text for secret in self._secrets)

    def clean(self, text: str, token: str = "") -> str:
        """`text` with every secret, and `token`, replaced, and nothing in it that cannot be stored (NUL, lone surrogates)."""
        if not text.isascii():
            text = text.encode(errors="replace").decode()
        if "\0" in text:
            text = text.replace("\0", "")
        if token and token in text:
            text = text.replace(token, REDACTED)
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return text

    def _without_piece(self, text: str, token: str) -> str:
        longest = 0
        for secret in (token, *self._secrets):
            for length in range(min(len(secret) - 1, len(text)), max(_PIECE, longest + 1) - 1, -1):
                if text.endswith(secret[:length]):
                    longest = length
                    break
        return text[:-longest] if longest else text
