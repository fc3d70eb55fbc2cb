"""How long to wait before asking again, and which days a batch asks for."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch_historical.batch_period import Period, batch_period, closed_sessions
from ticklake.backoff import equal_jitter, exponential, full_jitter, retry_after_seconds
from ticklake.errors import ConfigurationError

NOW = datetime(2026, 1, 30, 12, 0, tzinfo=UTC)


@given(st.integers(0, 5000), st.floats(0, 100), st.floats(0, 1000), st.integers(0, 99))
def test_a_pause_is_never_negative_nor_above_its_bound(attempt: int, base: float, cap: float, seed: int) -> None:
    pause = full_jitter(attempt, base, cap, random.Random(seed))
    assert 0 <= pause <= cap
    if attempt < 50:
        assert pause <= base * 2**attempt


def test_the_pauses_spread_over_the_whole_range() -> None:
    rng = random.Random(7)
    pauses = [full_jitter(3, 0.5, 30, rng) for _ in range(2000)]
    assert max(pauses) <= 4.0
    assert 1.9 < sum(pauses) / len(pauses) < 2.1
    assert min(pauses) < 0.1


def test_equal_jitter_is_never_below_half() -> None:
    rng = random.Random(7)
    pauses = [equal_jitter(3, 0.5, 30, rng) for _ in range(2000)]
    assert 2.0 <= min(pauses) < 2.1
    assert 3.9 < max(pauses) <= exponential(3, 0.5, 30) == 4.0
    assert exponential(5000, 0.5, 30) == 30


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("Fri, 30 Jan 2026 12:01:30 GMT", 90.0),
        ("Fri, 30 Jan 2026 11:00:00 GMT", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("-5", None),
        ("Fri, 99 Jan 2026 12:01:30 GMT", None),
        ("Fri, 30 Jan 99999999999999999999 12:01:30 GMT", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_header_is_fatal(header: str) -> None:
    found = retry_after_seconds(header, NOW)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("day", "years", "first"),
    [
        (date(2013, 3, 1), 1, date(2012, 3, 2)),
        (date(2024, 2, 29), 1, date(2023, 3, 1)),
        (date(2024, 2, 29), 4, date(2020, 3, 1)),
        (date(2025, 12, 31), 10, date(2016, 1, 1)),
    ],
)
def test_a_period_is_whole_years(day: date, years: int, first: date) -> None:
    assert batch_period(day, years, date(2026, 1, 30)) == Period(first, day)


def test_a_date_in_the_future_or_too_far_back_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="future"):
        batch_period(date(2026, 2, 2), 1, date(2026, 1, 30))
    with pytest.raises(ConfigurationError, match="TICKLAKE_YEARS"):
        batch_period(date(2013, 3, 1), 34, date(2026, 1, 30))


@pytest.mark.parametrize(
    ("at", "last"),
    [
        # 16:00 in New York in winter is 21:00 UTC; the 28th of November 2025 closed at 13:00.
        (datetime(2026, 1, 29, 20, 59, 59, tzinfo=UTC), date(2026, 1, 28)),
        (datetime(2026, 1, 29, 21, 0, tzinfo=UTC), date(2026, 1, 29)),
        (datetime(2025, 11, 28, 17, 59, tzinfo=UTC), date(2025, 11, 26)),
        (datetime(2025, 11, 28, 18, 0, tzinfo=UTC), date(2025, 11, 28)),
        (datetime(2026, 1, 31, 9, 0, tzinfo=UTC) + timedelta(days=300), date(2026, 1, 30)),
    ],
)
def test_a_session_counts_once_it_has_closed(at: datetime, last: date) -> None:
    assert closed_sessions("XNYS", Period(date(2025, 11, 3), date(2026, 1, 30)), at)[-1] == last
