"""Rules for daily bars that one row alone cannot show: order, uniqueness, the calendar, gaps.

What one row alone can show (ranges, signs, NaN) is in `records.DailyBar` itself.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise
from math import isfinite, log
from statistics import median

NOISE = 1e-6
"""Relative difference of prices that means nothing: two answers of Yahoo differ by up to 4e-7."""
_USUAL = 20
"""Sessions before a move by which its trading is judged."""
UNUSUAL_TRADING = 3.0
"""Multiple of the usual trading from which on a great move is one that people made."""
_FOLLOWING = 3
"""Sessions after a move that must stay nearer to the new price than to the old one."""


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


def trading_ratio(close: Sequence[float], volume: Sequence[float], place: int) -> float:
    """How much a session was traded, as a multiple of the median of those before it; 0 where that is not known.

    Of volume and turnover (close x volume) the one that grew less: a missing adjustment for a split multiplies one of
    them and leaves the other, and what really moves a price so far multiplies both.

    Args:
        volume: in the order of `close`; NaN or 0 where a session has none.
    """
    start = max(0, place - _USUAL)
    before = [
        (shares, price * shares)
        for price, shares in zip(close[start:place], volume[start:place], strict=True)
        if isfinite(shares) and shares > 0
    ]
    if not before or not isfinite(volume[place]):
        return 0.0
    shares, turnover = (median(values) for values in zip(*before, strict=True))
    return float(min(volume[place] / shares, close[place] * volume[place] / turnover))


def unsupported_move(close: Sequence[float], adj_close: Sequence[float], volume: Sequence[float]) -> float:
    """The greatest relative move of the adjusted close that nothing beside it supports; 0 where there is none.

    A move is supported by unusual trading, or by the sessions after it where they stay at its price. One wrong
    price among good ones has neither.
    """
    found = 0.0
    for place, (old, new) in enumerate(pairwise(adj_close), start=1):
        move = abs(new / old - 1)
        if move <= found or trading_ratio(close, volume, place) >= UNUSUAL_TRADING:
            continue
        after = adj_close[place + 1 : place + 1 + _FOLLOWING]
        if len(after) == _FOLLOWING and all(abs(log(price / new)) < abs(log(price / old)) for price in after):
            continue
        found = move
    return found
