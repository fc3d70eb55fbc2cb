"""Runs per session of the New York exchange, as the exchange publishes them.

Closes at 16:00 New York time, at 13:00 on early-close days; UTC is 5 hours later in winter, 4 in summer (from 10 March
to 3 November 2024). Closed on 15 January, 29 March, 4 July, 28 November and 25 December 2024 and 9 January 2025.
"""

from datetime import UTC, datetime
from typing import Any

import pytest


def at(text: str) -> Any:
    import pendulum

    return pendulum.instance(datetime.fromisoformat(text).replace(tzinfo=UTC))


def timetable(code: str = "XNYS", delay: int = 30) -> Any:
    from ticklake_airflow.timetable import SessionTimetable

    return SessionTimetable(code, delay)


def walk(table: Any, first: str, last: str) -> list[tuple[str, str]]:
    """(ds, when it is due) of all runs with a logical date between, as a backfill finds them."""
    from airflow.timetables.base import TimeRestriction

    restriction, found, interval = TimeRestriction(at(first), at(last), catchup=True), [], None
    while (info := table.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)) is not None:
        assert info.data_interval.start == info.logical_date
        assert info.data_interval.end <= info.run_after
        interval = info.data_interval
        found.append((info.logical_date.to_date_string(), info.run_after.format("YYYY-MM-DD HH:mm")))
    return found


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        pytest.param(
            "2024-01-12",
            "2024-01-17",
            [
                ("2024-01-12", "2024-01-12 21:30"),
                ("2024-01-16", "2024-01-16 21:30"),
                ("2024-01-17", "2024-01-17 21:30"),
            ],
            id="weekend and Martin Luther King Day",
        ),
        pytest.param(
            "2024-03-08",
            "2024-03-11",
            [("2024-03-08", "2024-03-08 21:30"), ("2024-03-11", "2024-03-11 20:30")],
            id="summer time begins",
        ),
        pytest.param(
            "2024-07-02",
            "2024-07-05",
            [
                ("2024-07-02", "2024-07-02 20:30"),
                ("2024-07-03", "2024-07-03 17:30"),
                ("2024-07-05", "2024-07-05 20:30"),
            ],
            id="Independence Day and the early close before it",
        ),
        pytest.param(
            "2024-11-01",
            "2024-11-04",
            [("2024-11-01", "2024-11-01 20:30"), ("2024-11-04", "2024-11-04 21:30")],
            id="summer time ends",
        ),
        pytest.param(
            "2024-11-27",
            "2024-12-02",
            [
                ("2024-11-27", "2024-11-27 21:30"),
                ("2024-11-29", "2024-11-29 18:30"),
                ("2024-12-02", "2024-12-02 21:30"),
            ],
            id="Thanksgiving and the early close after it",
        ),
        pytest.param(
            "2024-12-24",
            "2024-12-26",
            [("2024-12-24", "2024-12-24 18:30"), ("2024-12-26", "2024-12-26 21:30")],
            id="Christmas",
        ),
        pytest.param(
            "2025-01-08",
            "2025-01-10",
            [("2025-01-08", "2025-01-08 21:30"), ("2025-01-10", "2025-01-10 21:30")],
            id="closed at short notice",
        ),
        pytest.param("2024-07-04", "2024-07-04", [], id="no session at all"),
    ],
)
def test_each_session_once(first: str, last: str, expected: list[tuple[str, str]]) -> None:
    assert walk(timetable(), first, last) == expected


def test_a_year_has_its_sessions() -> None:
    assert len(walk(timetable(), "2023-01-01", "2023-12-31")) == 250
    assert len(walk(timetable(), "2024-01-01", "2024-12-31")) == 252


def test_the_date_is_the_sessions_where_the_exchange_opens_the_day_before_in_utc() -> None:
    """Sydney opened on 8 July 2024 at 10:00, that is midnight UTC, and closed at 16:00, 06:00 UTC."""
    assert walk(timetable("XASX", 0), "2024-07-08", "2024-07-08") == [("2024-07-08", "2024-07-08 06:00")]


def test_a_start_after_midnight_begins_with_the_next_session() -> None:
    assert walk(timetable(), "2024-07-02T00:00:01", "2024-07-03T23:59") == [("2024-07-03", "2024-07-03 17:30")]


@pytest.mark.parametrize(
    ("now", "last", "expected"),
    [
        # Never run: the latest session that is due, and none before it.
        ("2024-07-05T20:29", None, "2024-07-03"),
        ("2024-07-05T20:30", None, "2024-07-05"),
        ("2024-07-07T12:00", None, "2024-07-05"),
        # Run up to date: the next one.
        ("2024-07-05T21:00", "2024-07-05", "2024-07-08"),
        ("2024-07-04T12:00", "2024-07-03", "2024-07-05"),
        # Down for a week: the latest, once.
        ("2024-07-12T23:00", "2024-07-03", "2024-07-12"),
    ],
)
def test_without_catchup(now: str, last: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.timetables.base import TimeRestriction

    from ticklake_airflow import timetable as module

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return at(now)

    monkeypatch.setattr(module, "datetime", Clock)
    table = timetable()
    interval = None if last is None else table.run_of(datetime.fromisoformat(last).date()).data_interval
    info = table.next_dagrun_info(
        last_automated_data_interval=interval, restriction=TimeRestriction(at("1990-01-01"), None, catchup=False)
    )
    assert info.logical_date.to_date_string() == expected


def test_a_run_by_hand_works_for_its_own_moment() -> None:
    moment = at("2024-07-04T11:00")
    assert timetable().infer_manual_data_interval(run_after=moment) == (moment, moment)


@pytest.mark.parametrize(
    ("run_type", "start", "run_after", "params", "expected"),
    [
        ("scheduled", "2024-07-05T14:10", "2024-07-05T15:10", {}, "2024-07-05T14:00"),
        ("scheduled", "2024-07-05T23:10", "2024-07-06T00:10", {}, "2024-07-05T23:00"),
        ("manual", "2024-07-06T00:20", "2024-07-06T00:20", {}, "2024-07-05T23:00"),
        ("manual", None, "2024-07-05T15:59", {}, "2024-07-05T14:00"),
        ("manual", None, "2024-07-05T15:59", {"hour": 0}, "2024-07-05T00:00"),
        ("manual", None, "2024-07-05T15:59", {"date": "2024-01-02", "hour": 23}, "2024-01-02T23:00"),
    ],
)
def test_the_hour_of_the_live_archive(
    run_type: str, start: str | None, run_after: str, params: dict[str, Any], expected: str
) -> None:
    from types import SimpleNamespace

    from ticklake_airflow.dags import live_hour

    run = SimpleNamespace(run_type=run_type, data_interval_start=at(start) if start else None, run_after=at(run_after))
    assert live_hour(run, params) == at(expected)
