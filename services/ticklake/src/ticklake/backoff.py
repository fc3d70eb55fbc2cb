"""How long to wait before a request is repeated."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def full_jitter(attempt: int, base: float, cap: float, rng: random.Random) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 0).

    Uniform between 0 and min(cap, base x 2^attempt): "full jitter", M. Brooker, Exponential Backoff And Jitter, AWS
    Architecture Blog, 2015. Clients that failed together do not come back together.
    """
    # The exponent is bounded because a float overflows where the cap long holds.
    return rng.uniform(0.0, min(cap, base * 2.0 ** min(attempt, 60)))


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks to wait (RFC 9110, 10.2.3: seconds or a date), None for none.

    A header that is neither, or a date gone by, asks for nothing.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return seconds if seconds > 0 else None
