"""What `ticklake doctor` says of the last run, by how far it is."""

from datetime import UTC, date, datetime

import pytest

from batch_exporter.runs import RunState
from ticklake.lineage import CheckResult, StageRecord
from ticklake.records import Source
from ticklake_local.doctor import State
from ticklake_local.machine_checks import _last_run

NOW = datetime(2026, 8, 7, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("observed", "state", "text"), [(0.5, State.WRONG, "failed: rows missing"), (0, State.NOTE, "is under way or was")]
)
def test_a_run_whose_check_failed_is_wrong_without_a_noted_failure(observed: float, state: State, text: str) -> None:
    """Killed between its record and the note of its failure."""
    record = StageRecord(
        stage="validate-raw",
        run_id="night",
        batch_id="night",
        batch_date=date(2026, 8, 7),
        source=Source.SIMULATED,
        rows_in=1,
        rows_out=1,
        quarantined=0,
        symbols={},
        checks=(CheckResult(name="rows missing", observed=observed, limit=0, unit="rows"),),
        started_at=NOW,
        finished_at=NOW,
        code_version="test",
    )
    found = _last_run(RunState({"validate-raw": record}))
    assert found.state is state
    assert text in found.text
