"""Which sessions an exchange has, and when they close."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from ticklake.errors import ConfigurationError

if TYPE_CHECKING:
    import exchange_calendars

_FIRST = "1980-01-01"
"""exchange_calendars starts twenty years back unless told otherwise, and recorded bars begin earlier."""


@lru_cache
def _calendar(code: str) -> "exchange_calendars.ExchangeCalendar":
    # Imported here: building a calendar takes about a second, and only the stages that check sessions need one.
    import exchange_calendars
    from exchange_calendars.errors import InvalidCalendarName

    try:
        return exchange_calendars.get_calendar(code, start=_FIRST)
    except InvalidCalendarName as error:
        raise ConfigurationError(f"TICKLAKE_CALENDAR: there is no exchange calendar {code!r}, e.g. XNYS") from error


def sessions(code: str, first: date, last: date) -> tuple[date, ...]:
    """Sessions of the exchange `code` from `first` to `last`, both included, in order."""
    if first > last:
        return ()
    return tuple(day.date() for day in _calendar(code).sessions_in_range(str(first), str(last)))


def last_session(code: str, on_or_before: date) -> date:
    """The latest session that is not after `on_or_before`."""
    found: date = _calendar(code).date_to_session(str(on_or_before), direction="previous").date()
    return found


def session_close(code: str, session: date) -> datetime:
    """When `session` closes, in UTC."""
    close: datetime = _calendar(code).session_close(str(session)).to_pydatetime()
    return close.astimezone(UTC)


def session_open(code: str, session: date) -> datetime:
    """When `session` opens, in UTC."""
    opens: datetime = _calendar(code).session_open(str(session)).to_pydatetime()
    return opens.astimezone(UTC)


def last_closed_session(code: str, now: datetime) -> date:
    """The latest session that had closed at `now`."""
    session = last_session(code, now.astimezone(UTC).date() + timedelta(days=1))
    while session_close(code, session) > now:
        session = last_session(code, session - timedelta(days=1))
    return session
