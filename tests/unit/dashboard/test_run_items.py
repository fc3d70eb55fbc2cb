"""What is reported of a run from its records and failures."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from dashboard.api.models_platform import RunDetail
from dashboard.platform import run_items
from dashboard.platform.run_items import Part, RunParts, Summary
from ticklake.lineage import CheckResult, StageFailure, StageRecord, SymbolChanges, SymbolLineage, SymbolResult
from ticklake.pipeline import BATCH_STAGES
from ticklake.records import Source, SymbolStatus

NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)
STAGES = [stage.program for stage in BATCH_STAGES]
GOOD = Summary(reconciled=True, warehouse_table="T")


def record(stage: str, minute: int, **more: Any) -> StageRecord:
    at = NOON + timedelta(minutes=minute)
    values = {
        "stage": stage,
        "run_id": "r",
        "batch_id": "r",
        "batch_date": date(2026, 1, 30),
        "source": Source.YAHOO,
        "rows_in": 9,
        "rows_out": 9,
        "quarantined": 0,
        "symbols": {},
        "started_at": at,
        "finished_at": at + timedelta(seconds=30),
        "code_version": "x",
    }
    return StageRecord.model_validate(values | more)


def failure(stage: str, minute: int, **more: Any) -> StageFailure:
    at = NOON + timedelta(minutes=minute)
    values = {
        "stage": stage,
        "run_id": "r",
        "batch_date": date(2026, 1, 30),
        "kind": "StageError",
        "reason": "the line",
        "exit_code": 1,
        "times": 2,
        "started_at": at,
        "failed_at": at + timedelta(seconds=10),
        "code_version": "x",
    }
    return StageFailure.model_validate(values | more)


def item(*parts: Part) -> dict[str, Any]:
    run = RunParts.of(parts)
    assert run is not None
    return RunDetail.model_validate(run_items.detail(run)).model_dump()


def test_a_run_whose_first_stage_failed_is_a_run() -> None:
    run = item(failure(STAGES[0], 0))
    assert (run["state"], run["source"], run["rows_in"], run["rows_out"]) == ("failed", None, None, None)
    assert (run["stages_done"], run["seconds"], run["started_at"]) == (0, 10.0, NOON)
    assert (run["stages"], run["symbols"], run["lineage"]) == ([], [], {"nodes": [], "edges": []})
    (one,) = run["failures"]
    assert (one["stage"], one["kind"], one["reason"], one["times"]) == (STAGES[0], "StageError", "the line", 2)
    assert one["recovered_at"] is None


def test_a_retry_that_went_well_leaves_both_to_be_seen() -> None:
    done = [record(stage, 10 + number) for number, stage in enumerate(STAGES)]
    run = item(GOOD, failure(STAGES[1], 2), *reversed(done))
    assert (run["state"], run["stages_done"], run["reconciled"]) == ("succeeded", 7, True)
    assert [stage["stage"] for stage in run["stages"]] == STAGES
    assert run["failures"][0]["recovered_at"] == NOON + timedelta(minutes=11, seconds=30)
    assert (run["started_at"], run["seconds"]) == (NOON + timedelta(minutes=2), 14 * 60 + 30)


def test_a_validation_that_wrote_what_it_measured_and_failed_is_not_done() -> None:
    bad = CheckResult(name="missing_sessions", observed=3, limit=0, unit="sessions")
    run = item(record(STAGES[0], 0), record(STAGES[2], 2, checks=(bad,)), failure(STAGES[2], 3))
    assert (run["state"], run["stages_done"]) == ("failed", 1)
    assert run["failures"][0]["recovered_at"] is None


@pytest.mark.parametrize(
    ("parts", "state"),
    [
        ([record(STAGES[0], 0)], "incomplete"),
        ([record(STAGES[0], 0), failure(STAGES[1], 1)], "failed"),
        ([record(STAGES[0], 0), record(STAGES[1], 5), failure(STAGES[1], 1)], "incomplete"),
        ([record(stage, n) for n, stage in enumerate(STAGES)], "incomplete"),
        ([record(stage, n) for n, stage in enumerate(STAGES)] + [GOOD], "succeeded"),
        (
            [record(stage, n) for n, stage in enumerate(STAGES)] + [Summary(reconciled=False, warehouse_table="T")],
            "failed",
        ),
    ],
)
def test_states(parts: list[Part], state: str) -> None:
    assert item(*parts)["state"] == state


def test_symbols_are_reported_with_their_changes_and_places() -> None:
    plain, changes = SymbolResult(rows=9, checksum=""), SymbolChanges(new=2, unchanged=6, revised=1)
    judged = plain.model_copy(update={"changes": changes})
    records = [
        record(stage, number, symbols={"A": judged if stage == "validate-raw" else plain})
        for number, stage in enumerate(STAGES)
    ]
    (before,) = item(*records[:2])["symbols"]
    assert {before[name] for name in ("new", "unchanged", "revised", "facts", "analytics", "warehouse")} == {None}
    run = item(
        *records,
        GOOD.model_copy(
            update={
                "symbols": {
                    "A": SymbolLineage(
                        status=SymbolStatus.OK,
                        fetched=9,
                        quarantined=0,
                        raw=9,
                        changes=changes,
                        facts=12,
                        analytics=12,
                        warehouse=11,
                        checksum="",
                    ),
                }
            }
        ),
    )
    (symbol,) = run["symbols"]
    assert [symbol[name] for name in ("rows", "new", "unchanged", "revised")] == [9, 2, 6, 1]
    assert [symbol[name] for name in ("facts", "analytics", "warehouse")] == [12, 12, 11]
    places = {node["label"]: node["detail"] for node in run["lineage"]["nodes"] if node["kind"] == "table"}
    assert places == {
        "market.daily_bars": "2 new, 6 unchanged, 1 revised",
        "market.daily_analytics": "1 symbols",
        "T": "1 symbols",
    }


def test_facts_of_a_batch_that_is_rejected_go_nowhere() -> None:
    run = item(
        record("fetch-historical", 0, symbols={"A": SymbolResult(rows=9, checksum="")}),
        record("validate-raw", 1, symbols={"A": SymbolResult(rows=9, checksum="")}),
    )
    assert [node["kind"] for node in run["lineage"]["nodes"]] == ["source", "stage", "stage"]


def test_a_folder_without_a_readable_record_is_no_run() -> None:
    assert RunParts.of([None, GOOD]) is None
