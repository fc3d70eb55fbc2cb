"""Rules for daily bars that one row alone cannot show: order, uniqueness, the calendar, gaps.

What one row alone can show (ranges, signs, NaN) is in `records.DailyBar` itself.
"""

from collections.abc import Iterable, Sequence
from datetime import date


def session_defects(dates: Iterable[date], sessions: frozenset[date]) -> list[str | None]:
    """For each date, in the order given, why its row is unusable, or None.

    Args:
        dates: session dates of one symbol, as the source sent them.
        sessions: the exchange's sessions in the period.
    """
    found: list[str | None] = []
    latest: date | None = None
    seen: set[date] = set()
    for day in dates:
        defect: str | None = None
        if day in seen:
            defect = f"duplicate session {day}"
        elif latest is not None and day < latest:
            defect = f"session {day} out of order, after {latest}"
        elif day not in sessions:
            defect = f"{day} is no session of the exchange"
        if defect is None:
            seen.add(day)
            latest = day
        found.append(defect)
    return found


def missing_sessions(present: Sequence[date], sessions: Iterable[date]) -> tuple[date, ...]:
    """Sessions between the first and the last of `present` (in order) that it lacks."""
    if not present:
        return ()
    have = frozenset(present)
    return tuple(day for day in sessions if present[0] <= day <= present[-1] and day not in have)
