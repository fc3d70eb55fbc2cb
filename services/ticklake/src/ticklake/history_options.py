"""What a reader of the daily history can ask for: as it was known at which moment, adjusted for what."""

from datetime import UTC, date, datetime, time
from typing import Literal, get_args

Adjust = Literal["none", "splits", "all"]
"""What prices are adjusted for; `all` is splits and dividends."""
ADJUSTMENTS: tuple[Adjust, ...] = get_args(Adjust)


def moment(text: str, now: datetime | None = None) -> datetime:
    """The moment that `text` denotes, in UTC: a date for the end of that day in UTC, or a time with its offset.

    Args:
        now: the present; None for the clock's.

    Raises:
        ValueError: it is neither, or in the future; the message is one line for a person.
    """
    now = now or datetime.now(UTC)
    try:
        return datetime.combine(_past_day(date.fromisoformat(text), now), time.max, UTC)
    except _FutureError:
        raise
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            found = found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a date like 2026-01-31 nor a time like 2026-01-31T21:00:00Z"
            + (" (the + of an offset is %2B in an address)" if " " in text else "")
        ) from None
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC: write it like 2026-01-31T21:00:00Z")
    if found > now:
        raise _FutureError(f"{text} is in the future")
    return found


def day(text: str, now: datetime | None = None) -> date:
    """The date in `text`.

    Raises:
        ValueError: as for `moment`.
    """
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date like 2026-01-31") from None
    return _past_day(found, now or datetime.now(UTC))


class _FutureError(ValueError):
    pass


def _past_day(found: date, now: datetime) -> date:
    if found > now.astimezone(UTC).date():
        raise _FutureError(f"{found} is in the future")
    return found
