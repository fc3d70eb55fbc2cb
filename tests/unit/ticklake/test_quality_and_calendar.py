"""Sessions and the rules that need more than one row. Expected sessions are the exchange's published ones."""

from datetime import UTC, date, datetime

import pytest
from exchange_calendars.calendar_utils import _default_calendar_factories, get_calendar_names

from ticklake import calendar
from ticklake.errors import ConfigurationError, ExitCode
from ticklake.quality import missing_sessions, session_defects, trading_ratio, unsupported_move

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


def test_a_date_outside_of_what_is_known_is_named() -> None:
    for first, last in ((date(1979, 12, 31), date(1980, 2, 1)), (date(2026, 1, 2), date(2126, 1, 2))):
        with pytest.raises(ConfigurationError, match=r"XNYS are known from 1980-01-01 to .* choose another") as caught:
            calendar.sessions("XNYS", first, last)
        assert caught.value.exit_code == ExitCode.UNUSABLE
    with pytest.raises(ConfigurationError, match="2126-01-02 lies outside"):
        calendar.last_session("XNYS", date(2126, 1, 2))
    assert not calendar.is_open("XNYS", datetime(2126, 1, 2, 15, tzinfo=UTC))


LATE = {
    code: factory.bound_min().date()
    for code, factory in _default_calendar_factories.items()
    if factory.bound_min() is not None and factory.bound_min().year > 1980
}
"""Calendars whose holidays are recorded only from a day after 1980 on."""


def test_there_are_calendars_that_begin_late() -> None:
    assert LATE.keys() >= {"XTKS", "XBOM", "XSHG", "XSES", "XSAU", "AIXK"}


@pytest.mark.parametrize("code", sorted(LATE))
def test_a_calendar_that_begins_late_is_used_from_there_on(code: str) -> None:
    first = LATE[code]
    assert calendar.reach(code)[0] == first
    assert calendar.sessions(code, first, date(2025, 6, 13))[-1] in (date(2025, 6, 12), date(2025, 6, 13))
    with pytest.raises(ConfigurationError, match=f"sessions of {code} are known from {first} to"):
        calendar.sessions(code, date(1985, 1, 2), date(2025, 6, 13))


@pytest.mark.parametrize("code", get_calendar_names(include_aliases=False))
def test_every_calendar_can_be_used(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some forty years of each of 71 calendars would take a minute to make.
    monkeypatch.setattr(calendar, "_FIRST", date(2025, 1, 1))
    calendar._calendar.cache_clear()
    try:
        week = calendar.sessions(code, date(2025, 6, 16), date(2025, 6, 22))
        assert 3 <= len(week) <= 7
        last = calendar.last_session(code, date(2025, 6, 22))
        assert last == week[-1]
        assert calendar.session_open(code, last) < calendar.session_close(code, last)
        assert calendar.last_closed_session(code, datetime(2025, 6, 26, 12, tzinfo=UTC)) >= week[-1]
        with pytest.raises(ConfigurationError, match=f"sessions of {code} are known"):
            calendar.sessions(code, date(2025, 6, 16), date(2126, 1, 2))
    finally:
        calendar._calendar.cache_clear()


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


FLAT = [10.0] * 20


@pytest.mark.parametrize(
    ("after", "volumes", "move"),
    [
        ([20.0], [100], 1.0),  # nothing supports it yet
        ([20.0], [299], 1.0),
        ([20.0], [300], 0.0),  # people traded it
        ([20.0, 20.5, 20.0, 19.5], [100] * 4, 0.5 / 20),  # it stayed there
        ([20.0, 21.0, 10.0, 10.0], [100] * 4, 1.0),  # it came back: a wrong price
        ([5.0, 5.0, 5.0, 5.0], [0] * 4, 0.0),
        ([5.0, 10.0, 10.0, 10.0, 10.0], [0] * 5, 0.5),
        ([10.1, 9.9], [100] * 2, 0.2 / 10.1),
        ([], [], 0.0),
    ],
)
def test_a_move_is_an_error_where_nothing_supports_it(after: list[float], volumes: list[int], move: float) -> None:
    close = FLAT + after
    assert unsupported_move(close, close, [100] * 20 + volumes) == pytest.approx(move)


def test_how_much_a_session_was_traded() -> None:
    # Three times the shares at half the price is one and a half times the money.
    assert trading_ratio([10.0, 10.0, 5.0], [100, 100, 300], 2) == 1.5
    assert trading_ratio([10.0, 10.0, 40.0], [100, 100, 100], 2) == 1.0
    assert trading_ratio([10.0, 10.0, 40.0], [0, 0, 100], 2) == 0.0
    assert trading_ratio([10.0, 10.0, 40.0], [100, 100, float("nan")], 2) == 0.0
    # What lies more than twenty sessions back does not count.
    assert trading_ratio([10.0] * 22, [1] + [100] * 21, 21) == 1.0
