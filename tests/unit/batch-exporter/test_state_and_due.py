"""The state of a run from its parts, and which sessions are overdue."""

from datetime import UTC, date, datetime, timedelta

import pytest

from batch_exporter.runs import RunState
from batch_exporter.settings import BatchSettings
from batch_exporter.snapshot import overdue_sessions, snapshot
from ticklake import calendar
from ticklake.lineage import RunLineage, StageFailure, StageRecord
from ticklake.records import Source
from ticklake.runs import State

NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)


def _record(stage: str, minute: int) -> StageRecord:
    return StageRecord(
        stage=stage,
        run_id="r",
        batch_id="r",
        batch_date=date(2026, 1, 30),
        source=Source.YAHOO,
        rows_in=1,
        rows_out=1,
        quarantined=0,
        symbols={},
        started_at=NOON + timedelta(minutes=minute),
        finished_at=NOON + timedelta(minutes=minute + 1),
        code_version="x",
    )


def _failure(stage: str, minute: int) -> StageFailure:
    at = NOON + timedelta(minutes=minute)
    return StageFailure(
        stage=stage,
        run_id="r",
        batch_date=date(2026, 1, 30),
        kind="StageError",
        reason="x",
        exit_code=1,
        started_at=at,
        failed_at=at,
        code_version="x",
    )


def _summary(day: int, source: Source = Source.YAHOO, *, reconciled: bool = True) -> RunLineage:
    return RunLineage(
        run_id="r",
        batch_id="r",
        batch_date=date(2026, 1, day),
        source=source,
        reconciled=reconciled,
        warehouse_table="T",
        stages=(),
        symbols={},
        finished_at=NOON,
        code_version="x",
    )


def test_states_of_a_run() -> None:
    run = RunState({"fetch-historical": _record("fetch-historical", 0)})
    assert run.state is State.UNFINISHED
    run.failures["consume-historical"] = _failure("consume-historical", 5)
    assert run.state is State.FAILED
    run.records["consume-historical"] = _record("consume-historical", 6)
    assert run.state is State.UNFINISHED
    assert run.failed == ()
    run.summary = _summary(30, reconciled=False)
    assert run.state is State.DISAGREED
    run.summary = _summary(30)
    assert run.state is State.RECONCILED
    assert run.started_at == NOON


def test_a_validation_leaves_its_record_and_fails() -> None:
    """Its record has what was measured and is written before the failure."""
    run = RunState({"validate-raw": _record("validate-raw", 0)}, {"validate-raw": _failure("validate-raw", 2)})
    assert run.state is State.FAILED


def test_the_newest_date_counts_not_the_newest_run() -> None:
    runs = [RunState(summary=_summary(day)) for day in (28, 30, 29)]
    runs.append(RunState(summary=_summary(31, Source.SIMULATED)))
    runs.append(RunState(summary=_summary(31, reconciled=False)))
    of_yahoo = snapshot(runs, BatchSettings(source=Source.YAHOO)).last_reconciled
    of_any = snapshot(runs, BatchSettings()).last_reconciled
    assert of_yahoo is not None
    assert of_any is not None
    assert (of_yahoo.batch_date, of_any.batch_date) == (date(2026, 1, 30), date(2026, 1, 31))


@pytest.mark.parametrize(
    ("reconciled", "now", "late"),
    [
        # New York closes at 16:00, 21:00 UTC in winter; the grace is two hours. 2026-01-30 is a Friday.
        (date(2026, 1, 29), datetime(2026, 1, 30, 22, 59, tzinfo=UTC), 0),
        (date(2026, 1, 29), datetime(2026, 1, 30, 23, 0, tzinfo=UTC), 1),
        (date(2026, 1, 30), datetime(2026, 2, 2, 12, 0, tzinfo=UTC), 0),
        (date(2026, 1, 30), datetime(2026, 2, 2, 23, 30, tzinfo=UTC), 1),
        (date(2026, 1, 28), datetime(2026, 2, 3, 12, 0, tzinfo=UTC), 3),
        # 2026-01-19 is Martin Luther King Day.
        (date(2026, 1, 16), datetime(2026, 1, 20, 12, 0, tzinfo=UTC), 0),
        (None, datetime(2026, 1, 30, 12, 0, tzinfo=UTC), 1),
    ],
)
def test_overdue_sessions(reconciled: date | None, now: datetime, late: int) -> None:
    assert overdue_sessions("XNYS", BatchSettings(grace_seconds=7200), reconciled, now) == late


@pytest.mark.parametrize(
    ("code", "at", "is_open"),
    [
        ("XNYS", datetime(2026, 1, 30, 14, 29, 59, tzinfo=UTC), False),
        ("XNYS", datetime(2026, 1, 30, 14, 30, tzinfo=UTC), True),
        ("XNYS", datetime(2026, 1, 30, 20, 59, 59, tzinfo=UTC), True),
        ("XNYS", datetime(2026, 1, 30, 21, 0, tzinfo=UTC), False),
        ("XNYS", datetime(2026, 1, 31, 16, 0, tzinfo=UTC), False),
        # Summer time, a holiday, and the short day after Thanksgiving.
        ("XNYS", datetime(2026, 7, 1, 13, 30, tzinfo=UTC), True),
        ("XNYS", datetime(2025, 12, 25, 16, 0, tzinfo=UTC), False),
        ("XNYS", datetime(2025, 11, 28, 17, 59, tzinfo=UTC), True),
        ("XNYS", datetime(2025, 11, 28, 18, 1, tzinfo=UTC), False),
        # Hong Kong rests from 12:00 to 13:00, 04:00 to 05:00 UTC.
        ("XHKG", datetime(2026, 1, 30, 3, 59, tzinfo=UTC), True),
        ("XHKG", datetime(2026, 1, 30, 4, 30, tzinfo=UTC), False),
        ("XHKG", datetime(2026, 1, 30, 5, 0, tzinfo=UTC), True),
        ("24/7", datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), True),
    ],
)
def test_market_hours(code: str, at: datetime, is_open: bool) -> None:
    assert calendar.is_open(code, at) is is_open
