"""How long to wait before a request is repeated."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RANDOM = random.Random()  # noqa: S311 - jitter needs no secrecy
"""Where jitter comes from unless a caller has its own."""


def exponential(attempt: int, base: float, cap: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 0): min(cap, base x 2^attempt)."""
    # The exponent is bounded because a float overflows where the cap long holds.
    return min(cap, base * 2.0 ** min(attempt, 60))


def full_jitter(attempt: int, base: float, cap: float, rng: random.Random = RANDOM) -> float:
    """Seconds to wait, uniform between 0 and those of `exponential`.

    "Full jitter", M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015. Clients that failed together
    do not come back together.
    """
    return rng.uniform(0.0, exponential(attempt, base, cap))


def equal_jitter(attempt: int, base: float, cap: float, rng: random.Random = RANDOM) -> float:
    """Seconds to wait, uniform between half and all of those of `exponential`: never a try at once (ibid.)."""
    return exponential(attempt, base, cap) * rng.uniform(0.5, 1.0)


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks to wait (RFC 9110, 10.2.3: seconds or a date), None for none.

    A header that is neither, or a date gone by, asks for nothing.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return seconds if seconds > 0 else None
