"""Sessions of the console: the token that somebody signed in with, in a cookie, and what proves that a request came from a page of ours.

The rules:
- the cookie holds the token itself, so a session ends when the token does and a restart ends none; nothing is kept here. It is HttpOnly and
  SameSite=Strict, and where the page came by https it is Secure and has the prefix `__Host-` (RFC 6265bis, 4.1.3);
- a request that changes something must come from a page of the same origin (`Sec-Fetch-Site`, else `Origin`), and must carry the
  session's CSRF token, in the header `X-CSRF-Token` or the form's field `csrf`. That token is made of the session's by a secret, so no
  other page can know it;
- to sign in there is no session yet: the origin alone is asked then;
- a link on another site's page opens a page of ours without the cookie, since it is strict: then a page is answered that asks again, now
  from our own origin.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from cdcd.config.model import Secret
from cdcd.server.auth import Claims, Tokens
from cdcd.server.problems import Problem, Reason

HEADER, FIELD = "X-CSRF-Token", "csrf"
LONGEST = 3500  # characters of a token: browsers keep cookies of 4096 bytes
READING = frozenset({"GET", "HEAD"})
PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""What every page and everything it loads is answered with. `data:` is for the pictures within stylesheets."""
AGAIN = b'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0"><title>cdcd</title>'


@dataclass(slots=True, frozen=True)
class Session:
    """Somebody who has signed in. `csrf` goes into each form that changes something."""

    claims: Claims
    csrf: str


class Sessions:
    """Of one project's console. `public_url` is what browsers see, "" for the address that the daemon listens at."""

    def __init__(
        self, secrets: Sequence[Secret], project: str, tokens: Tokens, *, tls: bool = False, public_url: str = ""
    ) -> None:
        self._key = hmac.digest(secrets[0].value, f"cdcd/{project}/console".encode(), "sha256")
        self._tokens = tokens
        self._public = urlsplit(public_url)
        self._secure = tls or self._public.scheme == "https"
        self.cookie = f"__Host-cdcd-{project}" if self._secure else f"cdcd-{project}"

    def of(self, request: web.BaseRequest) -> Session | None:
        """Whose request it is; None when there is no cookie. Raises Problem 401 for one that is not good (any more), 429."""
        token = request.cookies.get(self.cookie)
        if not token:
            return None
        return self._session(token, request.remote or "")

    def sign_in(self, token: str, address: str) -> tuple[Session, Mapping[str, str]]:
        """The session of one who comes with a token, and the headers that give it to the browser. Raises Problem 401, 422, 429."""
        token = token.strip().removeprefix("Bearer ").strip()
        if len(token) > LONGEST:
            raise Problem(422, "the token is too long for a cookie", [Reason(f"it may have {LONGEST} characters")])
        session = self._session(token, address)
        return session, {"Set-Cookie": self._set(token)}

    def sign_out(self) -> Mapping[str, str]:
        """The headers that take the session from the browser."""
        return {"Set-Cookie": self._set("", "; Max-Age=0")}

    def check(self, request: web.BaseRequest, session: Session | None, body: bytes) -> None:
        """Raises Problem 403 when a request that changes something does not come from a page of ours."""
        if request.method in READING:
            return
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None:
            ours = site == "same-origin"
        else:
            origin = request.headers.get("Origin")
            ours = origin is not None and self._is_ours(origin, request)
        if not ours:
            raise Problem(403, "not allowed", [Reason("the request does not come from a page of this console")])
        if session is None:
            return
        sent = request.headers.get(HEADER) or _field(request, body)
        if not hmac.compare_digest(sent.encode(), session.csrf.encode()):
            raise Problem(403, "not allowed", [Reason("the page is out of date; load it again")])

    def from_elsewhere(self, request: web.BaseRequest) -> bool:
        """Whether it is a link on another site's page that was followed: the cookie was left out, and is there when asked again."""
        headers = request.headers
        return (
            request.method == "GET"
            and headers.get("Sec-Fetch-Site") == "cross-site"
            and headers.get("Sec-Fetch-Mode") == "navigate"
            and self.cookie not in request.cookies
        )

    def _session(self, token: str, address: str) -> Session:
        claims = self._tokens.claims(f"Bearer {token}", address)
        return Session(claims, hmac.new(self._key, token.encode(), sha256).hexdigest())

    def _set(self, value: str, more: str = "") -> str:
        return f"{self.cookie}={value}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if self._secure else ''}{more}"

    def _is_ours(self, origin: str, request: web.BaseRequest) -> bool:
        if self._public.netloc and origin == f"{self._public.scheme}://{self._public.netloc}":
            return True
        return urlsplit(origin).netloc == request.headers.get("Host", "") != ""


def _field(request: web.BaseRequest, body: bytes) -> str:
    if request.content_type != "application/x-www-form-urlencoded":
        return ""
    try:
        found = parse_qs(body.decode(), max_num_fields=1000).get(FIELD)
    except ValueError:
        return ""
    return found[0] if found else ""
