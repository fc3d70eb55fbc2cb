"""Whole hours, and the minutes of them in which an exchange trades."""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from ticklake import calendar

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
_MOST_SPANS = 500

Span = tuple[datetime, datetime]
"""Start, included, and end, excluded."""


def hours_within(start: datetime, end: datetime) -> Iterator[datetime]:
    """The hours that overlap the span, in order."""
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        yield hour
        hour += HOUR


def hours_of(times: pa.ChunkedArray) -> list[datetime]:
    """The hours in which `times` lie, in order."""
    return sorted(pc.unique(pc.floor_temporal(times, unit="hour")).to_pylist())


def spans_of(times: pa.ChunkedArray) -> list[Span]:
    """Spans that hold `times`, to the minute where they are not too many, else to the hour."""
    exact = spans(pc.unique(pc.floor_temporal(times, unit="minute")).to_pylist(), MINUTE)
    # A filter of thousands of spans is more than Arrow's stack can take.
    return exact if len(exact) <= _MOST_SPANS else spans(hours_of(times), HOUR)


def sessions(code: str, days: Iterable[date]) -> dict[date, Span]:
    """The sessions of the exchange `code` that can reach into `days` (UTC), each with its open and close.

    One can open the evening before the day that it is named after, or close after midnight UTC.
    """
    first, last = calendar.reach(code)
    # An earlier version archived ticks of any year; calendars know no sessions of the first and the last day there is.
    near = {day + timedelta(days=off) for day in days if date.min < day < date.max for off in (-1, 0, 1)}
    return {
        day: (calendar.session_open(code, day), calendar.session_close(code, day))
        for day in sorted(near)
        if first <= day <= last and calendar.sessions(code, day, day)
    }


def trading_minutes(code: str, hour: datetime) -> list[datetime]:
    """The minutes of an hour in which the exchange `code` trades, in order; a midday break is left out."""
    if not any(opens < hour + HOUR and closes > hour for opens, closes in sessions(code, [hour.date()]).values()):
        return []
    return [at for number in range(60) if calendar.is_open(code, at := hour + number * MINUTE)]


def spans(times: Iterable[datetime], step: timedelta) -> list[Span]:
    """Minutes or hours, each `step` long, as spans of neighbours, in order."""
    found: list[Span] = []
    for at in sorted(times):
        if found and found[-1][1] == at:
            found[-1] = found[-1][0], at + step
        else:
            found.append((at, at + step))
    return found
