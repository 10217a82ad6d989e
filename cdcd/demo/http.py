"""Just enough HTTP/1.1 of a server's side to take webhooks at little cost: bytes in, requests out. No I/O.

RFC 9112: keep-alive, pipelining, Content-Length and chunked bodies. No more than that: this stands in for an endpoint on
loopback, it is not to be put on the internet.
"""

from dataclasses import dataclass

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024

_LENGTH = b"\r\ncontent-length:"
_CHUNKED = b"\r\ntransfer-encoding:"


class BadRequest(Exception):
    """What came is no HTTP/1.1 request that this reader understands; the connection cannot go on."""


@dataclass(slots=True, eq=False)
class Request:
    """One request. `head` is everything before the empty line, as it came."""

    head: bytes
    body: bytes
    last: bool

    @property
    def path(self) -> str:
        """The request target."""
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name; of a repeated one the last."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def header(self, name: bytes) -> bytes:
        """The value of one header (`name` in lower case); empty when it is missing."""
        return _value(self.head, self.head.lower(), b"\r\n" + name + b":")


class Reader:
    """Puts the requests of one connection together."""

    __slots__ = ("_in_body", "_need", "_pieces", "_size", "continue_wanted")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._need = 1
        self._in_body = False
        self.continue_wanted = False
        """A client waits for `100 Continue` before it sends the body; whoever answers sets it back."""

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._pieces.append(data)
        self._size += len(data)

    def next(self) -> Request | None:
        """The next whole request, or None until more has come. Raises BadRequest."""
        if self._size < self._need:
            return None
        buffer = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        parsed = self._parse(buffer)
        if parsed is None:
            self._pieces = [buffer]
            return None
        request, end = parsed
        rest = buffer[end:]
        self._pieces = [rest] if rest else []
        self._size = len(rest)
        self._need = 1
        self._in_body = False
        return request

    def _parse(self, buffer: bytes) -> tuple[Request, int] | None:
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MAX_HEAD:
                raise BadRequest("the head is too large")
            self._need = len(buffer) + 1
            return None
        head = buffer[:end]
        lower = head.lower()
        start = end + 4
        last = b"\r\nconnection: close" in lower or lower.partition(b"\r\n")[0].endswith(b"http/1.0")
        if _CHUNKED in lower:
            if _value(head, lower, _CHUNKED).lower() != b"chunked":
                raise BadRequest("a transfer encoding other than chunked")
            chunked = _chunks(buffer, start)
            if chunked is None:
                self._wait(len(buffer) + 1, lower)
                return None
            return Request(head, chunked[0], last), chunked[1]
        length = _value(head, lower, _LENGTH) or b"0"
        if not length.isdigit() or int(length) > MAX_BODY:
            raise BadRequest("the content length is no number, or too large")
        stop = start + int(length)
        if len(buffer) < stop:
            self._wait(stop, lower)
            return None
        return Request(head, buffer[start:stop], last), stop

    def _wait(self, need: int, lower: bytes) -> None:
        if not self._in_body:
            self._in_body = True
            self.continue_wanted = b"\r\nexpect: 100-continue" in lower
        self._need = need


def _value(head: bytes, lower: bytes, name: bytes) -> bytes:
    at = lower.find(name)
    if at < 0:
        return b""
    stop = head.find(b"\r\n", at + len(name))
    return head[at + len(name) : stop if stop >= 0 else None].strip()


def _chunks(buffer: bytes, at: int) -> tuple[bytes, int] | None:
    """The chunked body that starts at `at` and where it ends; None when it is not whole."""
    pieces: list[bytes] = []
    while True:
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return None
        try:
            size = int(buffer[at:line].partition(b";")[0], 16)
        except ValueError:
            raise BadRequest("a chunk's size is no number") from None
        at = line + 2
        if size == 0:
            while True:  # trailers, then an empty line
                line = buffer.find(b"\r\n", at)
                if line < 0:
                    return None
                if line == at:
                    return b"".join(pieces), at + 2
                at = line + 2
        if size < 0 or at + size > MAX_BODY:
            raise BadRequest("the body is too large")
        if len(buffer) < at + size + 2:
            return None
        pieces.append(buffer[at : at + size])
        at += size + 2
