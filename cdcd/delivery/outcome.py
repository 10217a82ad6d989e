"""What an attempt means for its delivery: delivered, tried again (when), or given up (why). The table:

======================================  ===================================================================
attempt                                 outcome
======================================  ===================================================================
any 2xx                                 delivered, whatever the body
refused by cdcd itself                  given up: no later attempt can differ
410 Gone                                given up: the endpoint wants no more
a status in `no_retry`                  given up
everything else, also 3xx and no        tried again after the policy's wait, or what `Retry-After` asks within
answer                                  bounds; given up after `max` retries, or at `max_age`
======================================  ===================================================================
"""

import email.utils
import re
from collections.abc import Callable

from cdcd.config.model import Retries
from cdcd.delivery import retry
from cdcd.event import Attempt, Delivered, GiveUp, Outcome, Retry

_DELIVERED = Delivered()
_SECONDS = re.compile(r"\d{1,18}(\.\d{1,9})?", re.ASCII)


def classify(
    attempt: Attempt, policy: Retries, attempts_made: int, first_time: float, now: float, random: Callable[[], float]
) -> Outcome:
    """The outcome of `attempt` by the table above.

    `attempts_made` counts this attempt too. `first_time` is what `max_age` counts from (the event's time, or when cdcd took it,
    whichever is later) and `now` is now, both wall-clock seconds. `Retry-After` takes the place of the policy's wait: never under the
    policy's first wait, never over `max_interval`, never beyond `max_age`, and it never buys another attempt.
    """
    if 200 <= attempt.status < 300:
        return _DELIVERED
    why = attempt.error
    if attempt.refused:
        return GiveUp(why)
    if attempt.status == 410:
        return GiveUp(f"{why}: the endpoint wants no more of these")
    if attempt.status in policy.no_retry:
        return GiveUp(f"{why}: no_retry lists this status")
    if attempts_made > policy.max:
        return GiveUp(f"{why} (attempt {attempts_made} of {policy.max + 1})")
    deadline = first_time + policy.max_age
    if now >= deadline:
        return GiveUp(f"{why} (max_age is over after {attempts_made} attempts)")
    seconds = retry.wait(policy, attempts_made, random)
    if attempt.retry_after is not None:
        asked = min(max(attempt.retry_after, policy.first), policy.max_interval)
        # Later only: an endpoint that names one moment to everybody must not be met by everybody at that moment.
        seconds = min(asked * (1.0 + policy.jitter * random()), policy.max_interval)
    return Retry(min(now + seconds, deadline), why)


def retry_after(value: str, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3: seconds, or an HTTP date); None when it says neither.

    `now` is wall-clock seconds. A date in the past asks for 0.
    """
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError, IndexError):  # it raises all of these for odd text, by version
        return None
    try:
        return max(0.0, moment.timestamp() - now)
    except (ValueError, OverflowError):
        return None
