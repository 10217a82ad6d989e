"""What went wrong, as RFC 9457 says it: one problem with a status, and every reason with its place in the request.

A problem never quotes a value of the request or a token: what it says goes to logs and screens of others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson

TYPE = "application/problem+json"
MOST_REASONS = 50  # that one answer tells; a body can be wrong in any number of places


@dataclass(slots=True, frozen=True)
class Reason:
    """One reason: what is wrong, and where as a JSON Pointer into the body (RFC 6901), "" for the request as a whole."""

    detail: str
    pointer: str = ""


class Problem(Exception):
    """An answer that is not a success. `more` are further members of the problem, `headers` of the answer."""

    def __init__(
        self,
        status: int,
        detail: str,
        reasons: Sequence[Reason] = (),
        *,
        more: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.reasons = tuple(reasons)
        self.more = more or {}
        self.headers = headers or {}

    def body(self) -> bytes:
        """As `application/problem+json`. `type` is left out: about:blank, the status says it."""
        problem: dict[str, object] = {"title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail}
        if self.reasons:
            problem["errors"] = [
                {"detail": reason.detail, **({"pointer": reason.pointer} if reason.pointer else {})} for reason in self.reasons
            ]
        return orjson.dumps({**problem, **self.more})

    def text(self) -> str:
        """Everything in one line, for clients that show one."""
        reasons = "; ".join(
            f"{reason.pointer}: {reason.detail}" if reason.pointer else reason.detail for reason in self.reasons
        )
        return f"{self.detail}: {reasons}" if reasons else self.detail


@dataclass(slots=True)
class Reasons:
    """Gathers reasons, and keeps `MOST_REASONS` of `count`; `status` is the gravest of all."""

    found: list[Reason] = field(default_factory=list)
    status: int = 0
    count: int = 0

    @property
    def full(self) -> bool:
        """Whether a further one would only be counted."""
        return self.count >= MOST_REASONS

    def add(self, detail: str, pointer: str = "", status: int = 422, *, times: int = 1) -> None:
        """One more, or several that are told as one. 413 goes before 403 before 422."""
        if not self.full:
            self.found.append(Reason(detail, pointer))
        self.count += times
        self.status = next(one for one in (413, 403, 422) if one in (status, self.status))

    def raise_if_any(self, detail: str) -> None:
        """Raise all of them as one problem."""
        if self.found:
            left_out = self.count - len(self.found)
            more = [Reason(f"and {left_out} more")] if left_out > 0 else []
            raise Problem(self.status, detail, [*self.found, *more])
