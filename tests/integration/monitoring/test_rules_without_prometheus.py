"""check-rules on the metrics of a running service: the same alerts as Prometheus raises, with no Prometheus."""

import json
import subprocess
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from waiting import wait_until

from ticklake import held_symbols, lineage
from ticklake.lineage import RunLineage, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.records import Source, SymbolStatus

Environment = Callable[..., dict[str, str]]


def test_alerts_fire_clear_and_are_reported_as_by_alertmanager(
    stage_env: Environment, store: ObjectStore, services: Any, quick_rules: Path, tmp_path: Path
) -> None:
    exporter = stage_env(
        TICKLAKE_BATCH_SCHEDULE="sessions", TICKLAKE_BATCH_GRACE_SECONDS="0", TICKLAKE_BATCH_REFRESH_SECONDS="0.5"
    )
    services.start("batch-exporter", exporter)
    address = f"http://127.0.0.1:{services.port('batch-exporter')}/metrics"
    checker = stage_env(
        TICKLAKE_RULES_DIR=str(quick_rules),
        TICKLAKE_RULES_TARGETS=f"batch-exporter={address}",
        TICKLAKE_RULES_INTERVAL_SECONDS="0.5",
        TICKLAKE_RULES_DISK=str(tmp_path),
    )
    services.start("check-rules", checker)

    def alerts() -> dict[str, dict[str, Any]]:
        port = services.port("check-rules")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/alerts", timeout=5) as answer:
            return {each["labels"]["alertname"]: each for each in json.load(answer)}

    def active(name: str, wanted: bool = True) -> Callable[[], bool]:
        def check() -> bool:
            try:
                return (name in alerts()) is wanted
            except OSError:
                return False

        return check

    wait_until(active("TicklakeBatchLate"))
    found = alerts()["TicklakeBatchLate"]
    assert found["labels"] == {"alertname": "TicklakeBatchLate", "severity": "critical", "component": "batch"}
    assert found["annotations"]["summary"] == "The batch of 1 session(s) is due and not reconciled"
    assert found["status"]["state"] == "active"
    # Parts that this machine does not run are not missed.
    assert set(alerts()) <= {"TicklakeBatchLate", "TicklakeDiskFilling"}

    now = datetime.now(UTC)
    lineage.write_run(
        store,
        RunLineage(
            run_id="r",
            batch_id="r",
            batch_date=now.date(),
            source=Source.REPLAY,
            reconciled=True,
            warehouse_table="T",
            stages=(),
            symbols={},
            finished_at=now,
            code_version="x",
        ),
    )
    wait_until(active("TicklakeBatchLate", wanted=False))

    waits = SymbolResult(status=SymbolStatus.HELD, rows=0, checksum="", held=5, reasons=("odd",))
    lineage.write(
        store,
        StageRecord(
            stage="fetch-historical",
            run_id="odd",
            batch_id="odd",
            batch_date=now.date(),
            source=Source.REPLAY,
            rows_in=5,
            rows_out=0,
            quarantined=0,
            held=5,
            symbols={"AAPL": waits},
            started_at=now,
            finished_at=now,
            code_version="x",
        ),
    )
    wait_until(active("TicklakeSymbolsHeld"))
    held_symbols.decide(store, "drop", "AAPL", "kim")
    wait_until(active("TicklakeSymbolsHeld", wanted=False))

    assert services.stop("batch-exporter") == 0
    wait_until(active("TicklakeTargetDown"))
    services.start("batch-exporter", exporter)
    wait_until(active("TicklakeTargetDown", wanted=False))
    assert services.stop("check-rules") == 0


def test_wrong_settings_are_named(stage_env: Environment, programs: Path, tmp_path: Path) -> None:
    for change, message in (
        ({}, "TICKLAKE_RULES_TARGETS"),
        ({"TICKLAKE_RULES_TARGETS": "a=nowhere"}, "TICKLAKE_RULES_TARGETS"),
        ({"TICKLAKE_RULES_TARGETS": "a=http://x/", "TICKLAKE_RULES_DIR": str(tmp_path)}, "there are no rules"),
    ):
        done = subprocess.run(
            [programs / "check-rules"],
            env=stage_env(TICKLAKE_METRICS_PORT="0", **change),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
