"""Sessions and the rules that need more than one row. Expected sessions are the exchange's published ones."""

from datetime import UTC, date, datetime

import pytest

from ticklake import calendar
from ticklake.errors import ConfigurationError
from ticklake.quality import missing_sessions, session_defects

# The New York Stock Exchange was closed on 29 and 30 October 2012 for Hurricane Sandy.
SANDY = (date(2012, 10, 26), date(2012, 10, 31), date(2012, 11, 1))


def test_sessions_skip_weekends_and_closures() -> None:
    assert calendar.sessions("XNYS", date(2012, 10, 26), date(2012, 11, 1)) == SANDY
    assert calendar.sessions("XNYS", date(2012, 11, 1), date(2012, 10, 26)) == ()


def test_the_calendar_reaches_back_to_recorded_bars() -> None:
    assert calendar.sessions("XNYS", date(2000, 3, 1), date(2000, 3, 1)) == (date(2000, 3, 1),)


def test_a_session_counts_once_it_has_closed() -> None:
    # 23 November 2012, the day after Thanksgiving, closed early: at 13:00 in New York, 18:00 UTC.
    day = date(2012, 11, 23)
    assert calendar.session_close("XNYS", day) == datetime(2012, 11, 23, 18, tzinfo=UTC)
    assert calendar.last_closed_session("XNYS", datetime(2012, 11, 23, 17, 59, tzinfo=UTC)) == date(2012, 11, 21)
    assert calendar.last_closed_session("XNYS", datetime(2012, 11, 23, 18, 0, tzinfo=UTC)) == day
    assert calendar.last_closed_session("XNYS", datetime(2012, 11, 25, 3, 0, tzinfo=UTC)) == day


def test_an_unknown_calendar_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"TICKLAKE_CALENDAR.*'MARS'"):
        calendar.sessions("MARS", date(2020, 1, 1), date(2020, 1, 2))


def test_each_defect_has_its_reason_and_spares_its_neighbours() -> None:
    one, two, three = SANDY
    closed = date(2012, 10, 29)
    defects = session_defects([one, closed, three, two, three], frozenset(SANDY))
    assert defects[0] is None
    assert defects[1] is not None
    assert "no session" in defects[1]
    assert defects[2] is None
    assert defects[3] is not None
    assert "out of order" in defects[3]
    assert defects[4] is not None
    assert "duplicate" in defects[4]


def test_gaps_are_those_between_first_and_last() -> None:
    assert missing_sessions([SANDY[0], SANDY[2]], SANDY) == (SANDY[1],)
    assert missing_sessions([SANDY[1]], SANDY) == ()
    assert missing_sessions([], SANDY) == ()
