"""The alerts on the batch, on the metrics of a running exporter over a real lake: each fires and clears."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ticklake import lineage
from ticklake.lineage import RunLineage, StageRecord
from ticklake.objects import ObjectStore
from ticklake.records import Source

Environment = Callable[..., dict[str, str]]
TODAY = datetime.now(UTC).date()


def _record(stage: str, run: str, **changes: Any) -> StageRecord:
    now = datetime.now(UTC)
    values = {
        "stage": stage,
        "run_id": run,
        "batch_id": run,
        "batch_date": TODAY,
        "source": Source.YAHOO,
        "rows_in": 100,
        "rows_out": 100,
        "quarantined": 0,
        "symbols": {},
        "started_at": now - timedelta(milliseconds=500),
        "finished_at": now,
        "code_version": "test",
    }
    return StageRecord(**values | changes)


def _summary(run: str, *disagreements: str) -> RunLineage:
    return RunLineage(
        run_id=run,
        batch_id=run,
        batch_date=TODAY,
        source=Source.YAHOO,
        reconciled=not disagreements,
        disagreements=disagreements,
        warehouse_table="T",
        stages=(),
        symbols={},
        finished_at=datetime.now(UTC),
        code_version="test",
    )


def test_the_batch_never_ran_failed_disagreed_hung_and_reconciled(
    stage_env: Environment,
    programs: Path,
    own_store: Any,
    monitoring: Any,
    receiver: Any,
    services: Any,
) -> None:
    environment = stage_env(
        TICKLAKE_BATCH_SCHEDULE="sessions",
        TICKLAKE_BATCH_GRACE_SECONDS="0",
        TICKLAKE_BATCH_REFRESH_SECONDS="0.5",
        TICKLAKE_BATCH_SOURCE="yahoo",
        **own_store.environment(),
    )
    store = ObjectStore(own_store.settings)
    services.start("batch-exporter", environment)
    targets = {"ticklake-batch-exporter": services.port("batch-exporter")}
    with monitoring.running(targets, {"run_seconds": 8, "batch_unknown_seconds": 5}) as prometheus:
        # No pod ever ran, and of the last days at least one was a session.
        receiver.expect("firing", "TicklakeBatchLate")
        assert prometheus.value("ticklake_batch_overdue_sessions") == 1

        # A stage that fails by itself: there is nothing to validate.
        done = subprocess.run(
            [programs / "validate-raw", "--date", str(TODAY), "--run-id", "one"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        receiver.expect("firing", "TicklakeBatchFailed", stage="validate-raw", kind="ConfigurationError")
        lineage.write(store, _record("validate-raw", "one"))
        receiver.expect("resolved", "TicklakeBatchFailed", stage="validate-raw", kind="ConfigurationError")

        receiver.expect("firing", "TicklakeBatchUnfinished")
        lineage.write_run(store, _summary("one", "AAPL: 250 rows fetched, 249 in the warehouse"))
        receiver.expect("firing", "TicklakeReconciliationFailed")
        receiver.expect("resolved", "TicklakeBatchUnfinished")
        assert receiver.states("TicklakeBatchLate") == ["firing"]

        lineage.write(store, _record("fetch-historical", "two", rows_out=90, quarantined=10))
        receiver.expect("firing", "TicklakeBatchQuarantineRate")
        lineage.write(store, _record("fetch-historical", "two"))
        receiver.expect("resolved", "TicklakeBatchQuarantineRate")
        lineage.write_run(store, _summary("two"))
        receiver.expect("resolved", "TicklakeReconciliationFailed")
        receiver.expect("resolved", "TicklakeBatchLate")
        assert prometheus.value("ticklake_batch_overdue_sessions") == 0

        own_store.kill()
        receiver.expect("firing", "TicklakeBatchUnknown")
        own_store.start()
        receiver.expect("resolved", "TicklakeBatchUnknown")
        assert "firing" not in receiver.states("TicklakeTargetDown")
