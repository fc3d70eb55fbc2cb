"""Which sessions an exchange has, and when they close."""

import itertools
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from ticklake.errors import ConfigurationError

if TYPE_CHECKING:
    import exchange_calendars

_FIRST = date(1980, 1, 1)
"""exchange_calendars starts twenty years back by default, and recorded bars begin earlier."""


@lru_cache
def _calendar(code: str) -> "exchange_calendars.ExchangeCalendar":
    # Imported here: building a calendar takes about a second, and only the stages that check sessions need one.
    import exchange_calendars
    from exchange_calendars.errors import InvalidCalendarName

    try:
        return exchange_calendars.get_calendar(code, start=str(_FIRST))
    except InvalidCalendarName as error:
        raise ConfigurationError(f"TICKLAKE_CALENDAR: there is no exchange calendar {code!r}, e.g. XNYS") from error
    except ValueError:
        # The holidays of some exchanges are recorded from a later day on, which only a calendar that was made tells.
        return exchange_calendars.get_calendar(code, start=exchange_calendars.get_calendar(code).bound_min())


def reach(code: str) -> tuple[date, date]:
    """First and last day of which it is known whether the exchange `code` has a session on it."""
    exchange = _calendar(code)
    bound = exchange.bound_min()
    first: date = _FIRST if bound is None else max(_FIRST, bound.date())
    return first, exchange.last_session.date()


def _knowing(code: str, first: date, last: date) -> "exchange_calendars.ExchangeCalendar":
    """The calendar of `code`.

    Raises:
        ConfigurationError: it does not reach from `first` to `last`.
    """
    begin, end = reach(code)
    if first < begin or last > end:
        outside = first if first < begin else last
        raise ConfigurationError(
            f"TICKLAKE_CALENDAR: sessions of {code} are known from {begin} to {end}, and {outside} lies outside: "
            "choose another --date, fewer TICKLAKE_YEARS or another calendar"
        )
    return _calendar(code)


@lru_cache(maxsize=32)  # asked for each symbol of a batch, which have their period in common
def sessions(code: str, first: date, last: date) -> tuple[date, ...]:
    """Sessions of the exchange `code` from `first` to `last`, both included, in order.

    Raises:
        ConfigurationError: a day lies outside of what is known of the exchange.
    """
    if first > last:
        return ()
    exchange = _knowing(code, first, last)
    # The first day that is known need not be a session, and the library takes nothing before its first session.
    start = max(first, exchange.first_session.date())
    return tuple(day.date() for day in exchange.sessions_in_range(str(start), str(last))) if start <= last else ()


def last_session(code: str, on_or_before: date) -> date:
    """The latest session that is not after `on_or_before`.

    Raises:
        ConfigurationError: the day lies outside of what is known of the exchange.
    """
    exchange = _knowing(code, on_or_before, on_or_before)
    if on_or_before < exchange.first_session.date():
        raise ConfigurationError(f"TICKLAKE_CALENDAR: no session of {code} is known up to {on_or_before}")
    found: date = exchange.date_to_session(str(on_or_before), direction="previous").date()
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
    today = now.astimezone(UTC).date()
    # Tomorrow may have begun where the exchange is; behind the end of what is known nothing has.
    session = last_session(code, max(today, min(today + timedelta(days=1), reach(code)[1])))
    while session_close(code, session) > now:
        session = last_session(code, session - timedelta(days=1))
    return session


def trading_day(code: str, at: datetime) -> tuple[datetime, datetime]:
    """The span around a session that `at` lies in: from halfway after the session before to halfway to the next.

    So trades before and after hours belong to the nearest session, wherever the exchange's day begins.

    Raises:
        ConfigurationError: the time lies outside of what is known of the exchange.
    """
    day = at.astimezone(UTC).date()
    known, around = reach(code), timedelta(days=15)
    near = sessions(code, max(known[0], day - around), min(known[1], day + around))
    bounds = [
        session_close(code, before) + (session_open(code, after) - session_close(code, before)) / 2
        for before, after in itertools.pairwise(near)
    ]
    for start, end in itertools.pairwise(bounds):
        if start <= at < end:
            return start, end
    raise ConfigurationError(f"TICKLAKE_CALENDAR: the sessions of {code} around {day} are not known")


def is_open(code: str, at: datetime) -> bool:
    """Whether the exchange trades at `at`: between a session's open and close, its midday break left out."""
    exchange = _calendar(code)
    if exchange.last_session.date() < at.date() + timedelta(days=7):
        # A calendar reaches a year ahead of its making, and a service may run longer than that.
        _calendar.cache_clear()
        exchange = _calendar(code)
    # A session can open the evening before the day that it is named after, or close after midnight UTC.
    for day in (at.date() + timedelta(days=off) for off in (-1, 0, 1)):
        known = exchange.first_session.date() <= day <= exchange.last_session.date()
        if not known or not exchange.is_session(str(day)):
            continue
        if not session_open(code, day) <= at < session_close(code, day):
            continue
        if not exchange.session_has_break(str(day)):
            return True
        starts, ends = (exchange.session_break_start(str(day)), exchange.session_break_end(str(day)))
        return not starts <= at < ends
    return False


def zone(code: str) -> str:
    """The exchange's time zone, e.g. `America/New_York`."""
    return str(_calendar(code).tz)
