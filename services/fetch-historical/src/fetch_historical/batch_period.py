"""The calendar period of a batch."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from ticklake import calendar
from ticklake.errors import ConfigurationError

EARLIEST = date(1980, 1, 2)
"""No batch reaches back further: exchange calendars are known from here on."""


@dataclass(frozen=True)
class Period:
    """Days from `first` to `last`, both included."""

    first: date
    last: date


def batch_period(batch_date: date, years: int, today: date) -> Period:
    """The `years` years that end on `batch_date`: the day after the same day `years` ago, to that day.

    Raises:
        ConfigurationError: the date lies in the future, or the period begins before `EARLIEST`.
    """
    # Where the exchange is, tomorrow by UTC may have begun.
    if batch_date > today + timedelta(days=1):
        raise ConfigurationError(f"--date {batch_date} lies in the future: nothing has been traded then")
    if batch_date.year - years < EARLIEST.year:
        raise ConfigurationError(
            f"{years} years before --date {batch_date} lie before {EARLIEST}: "
            "choose a later --date or fewer TICKLAKE_YEARS"
        )
    try:
        anniversary = batch_date.replace(year=batch_date.year - years)
    except ValueError:  # 29 February
        anniversary = date(batch_date.year - years, 2, 28)
    return Period(max(anniversary + timedelta(days=1), EARLIEST), batch_date)


def closed_sessions(code: str, period: Period, at: datetime) -> tuple[date, ...]:
    """Sessions of the exchange `code` in `period` that had closed at `at`.

    A bar is not final with the bell: the closing auction's volume and late prints follow, and many exchanges' data come
    with a delay. Callers that decide by it hand over a moment some minutes ago.
    """
    found = calendar.sessions(code, period.first, period.last)
    # Only the last few can still be open, and asking for each close is slow.
    open_from = len(found)
    while open_from and found[open_from - 1] >= (at.astimezone(UTC) - timedelta(days=2)).date():
        if calendar.session_close(code, found[open_from - 1]) <= at:
            break
        open_from -= 1
    return found[:open_from]
