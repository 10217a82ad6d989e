"""How long to wait before the next attempt: a function of the policy, the attempt's number and a random number."""

from collections.abc import Callable

from cdcd.config.model import Backoff, Retries


def wait(policy: Retries, attempt: int, random: Callable[[], float]) -> float:
    """Seconds to wait after attempt number `attempt` (from 1) failed.

    The wait is `first` (fixed), `first * attempt` (linear) or `first * factor ** (attempt - 1)` (exponential), at most
    `max_interval`, then spread by `jitter` to both sides, so that what failed together does not return together. The
    spread never exceeds `max_interval` either. `random` gives numbers in [0, 1).
    """
    base = min(_base(policy, attempt), policy.max_interval)
    return min(spread(base, policy.jitter, random), policy.max_interval)


def spread(seconds: float, jitter: float, random: Callable[[], float]) -> float:
    """`seconds` moved by up to `jitter` (a fraction) of itself to either side; never negative."""
    return max(0.0, seconds * (1.0 + jitter * (2.0 * random() - 1.0)))


def _base(policy: Retries, attempt: int) -> float:
    if policy.backoff is Backoff.FIXED:
        return policy.first
    if policy.backoff is Backoff.LINEAR:
        return policy.first * attempt
    try:
        return policy.first * policy.factor ** (attempt - 1)
    except OverflowError:  # the thousandth attempt, say
        return policy.max_interval
