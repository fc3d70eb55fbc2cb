"""The exporter over a real lake: what it reports of a run, of failures, of a store that is away."""

import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from waiting import ENDS_SECONDS, wait_until

from ticklake import held_symbols, lineage, maintenance
from ticklake.lineage import CheckResult, ObjectRef, StageRecord, SymbolChanges, SymbolResult
from ticklake.maintenance import Maintenance, TableMaintenance, TableSize
from ticklake.objects import ObjectStore
from ticklake.records import Source, SymbolStatus
from ticklake.settings import StoreSettings
from ticklake_local.processes import free_port

Environment = Callable[..., dict[str, str]]
START = datetime(2026, 1, 30, 21, 30, tzinfo=UTC)


@contextmanager
def exporter(
    programs: Path, environment: dict[str, str], log: Path, meanwhile: Callable[[int], None] = lambda _: None
) -> Iterator[int]:
    """The program on a port, ready; `meanwhile` is done before it is."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [programs / "batch-exporter"],
            stdout=output,
            stderr=output,
            env={**environment, "TICKLAKE_METRICS_PORT": str(port), "TICKLAKE_BATCH_REFRESH_SECONDS": "0.3"},
        )
    try:
        meanwhile(port)
        wait_until(lambda: status(port, "/readyz") == 200, log.read_text)
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDS_SECONDS) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def metrics(port: int) -> dict[tuple[str, ...], float]:
    """Values by name and label values in the order of the labels' names."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            (
                sample.name.removeprefix("ticklake_batch_"),
                *(sample.labels[key] for key in sorted(sample.labels)),
            ): sample.value
            for family in families
            for sample in family.samples
        }


def record(stage: str, run: str, minute: int, **changes: object) -> StageRecord:
    values = {
        "stage": stage,
        "run_id": run,
        "batch_id": run,
        "batch_date": date(2026, 1, 30),
        "source": Source.SIMULATED,
        "rows_in": 100,
        "rows_out": 97,
        "quarantined": 3,
        "symbols": {},
        "code_version": "test",
        "started_at": START + timedelta(minutes=minute),
        "finished_at": START + timedelta(minutes=minute, seconds=42),
    }
    return StageRecord.model_validate(values | changes)


def test_a_run_is_reported_stage_by_stage(
    stage_env: Environment, programs: Path, store: ObjectStore, tmp_path: Path
) -> None:
    refs = tuple(ObjectRef(key=f"raw/{n}", rows=1, size=1000 + n, sha256="0") for n in range(3))
    check = CheckResult(name="stale_sessions", observed=1, limit=2, unit="sessions")
    lineage.write(store, record("fetch-historical", "earlier", -60, rows_out=50))
    lineage.write(store, record("fetch-historical", "now", 0))
    lineage.write(store, record("consume-historical", "now", 1, objects=refs))
    store.put("lineage/run_id=now/fetch-historical.parquet", b"not ours")
    store.put("lineage/run_id=now/validate-loaded.json", b"no record")
    log = tmp_path / "log"
    with exporter(programs, stage_env(), log) as port:
        found = metrics(port)
        assert found["stage_rows_in", "fetch-historical"] == 100
        assert found["stage_rows_out", "fetch-historical"] == 97
        assert found["stage_rows_quarantined", "fetch-historical"] == 3
        assert found["stage_last_duration_seconds", "fetch-historical"] == 42
        assert found["stage_object_bytes", "consume-historical"] == 3003
        assert found["stage_last_success_timestamp_seconds", "consume-historical"] == START.timestamp() + 102
        assert found["last_run_started_timestamp_seconds",] == START.timestamp()
        assert found["last_run_state", "unfinished"] == 1
        assert found["unreadable_records_total",] == 1
        # What was there before counts in no counter, and a schedule by hand has nothing due.
        assert found["stages_total", "done", "fetch-historical"] == 0
        assert ("overdue_sessions",) not in found

        lineage.write(store, record("validate-raw", "now", 2, checks=(check,)))
        wait_until(lambda: metrics(port)["stages_total", "done", "validate-raw"] == 1, log.read_text)
        found = metrics(port)
        assert found["check_observed", "stale_sessions", "validate-raw", "sessions"] == 1
        assert found["check_limit", "stale_sessions", "validate-raw", "sessions"] == 2
        assert found["rows_total", "validate-raw"] == 97
        assert found["stage_duration_seconds_bucket", "60.0", "validate-raw"] == 1
        assert found["stage_duration_seconds_bucket", "30.0", "validate-raw"] == 0


def test_held_symbols_are_counted_until_they_are_decided_or_brought(
    stage_env: Environment, programs: Path, store: ObjectStore, tmp_path: Path
) -> None:
    waits = SymbolResult(status=SymbolStatus.HELD, rows=0, checksum="", held=5, reasons=("odd",))
    brought = SymbolResult(rows=5, checksum="", changes=SymbolChanges(new=5))
    lineage.write(store, record("fetch-historical", "odd", 0, symbols={"AAPL": waits, "MSFT": waits, "V": waits}))
    # Nothing that was held is forgotten for the number of runs since.
    log, environment = tmp_path / "log", stage_env(TICKLAKE_BATCH_RECENT_RUNS="1")
    for number in range(3):
        lineage.write(store, record("fetch-historical", f"later{number}", 60 + number))
    with exporter(programs, environment, log) as port:
        assert metrics(port)["held_symbols", "simulated"] == 3
        assert metrics(port)["held_symbols", "yahoo"] == 0
        held_symbols.decide(store, "drop", "MSFT", "kim")
        wait_until(lambda: metrics(port)["held_symbols", "simulated"] == 2, log.read_text)
        good = record("fetch-historical", "good", 120, symbols={"AAPL": brought.model_copy(update={"changes": None})})
        lineage.write(store, good)
        lineage.write(store, record("validate-raw", "good", 121, symbols={"AAPL": brought}))
        wait_until(lambda: metrics(port)["held_symbols", "simulated"] == 1, log.read_text)


def test_a_real_stages_failure_is_reported_until_its_retry_went_well(
    stage_env: Environment, programs: Path, store: ObjectStore, tmp_path: Path
) -> None:
    environment, log = stage_env(), tmp_path / "log"
    with exporter(programs, environment, log) as port:
        done = subprocess.run(
            [programs / "consume-historical", "--date", "2026-01-30", "--run-id", "one/two"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 2
        failed = ("stage_failed", "ConfigurationError", "consume-historical")
        wait_until(lambda: failed in metrics(port), log.read_text)
        assert metrics(port)["last_run_state", "failed"] == 1
        assert metrics(port)["stages_total", "failed", "consume-historical"] == 1
        (key,) = [found.key for found in store.list_objects("lineage/")]
        failure = lineage.StageFailure.model_validate_json(store.get(key))
        assert failure.reason in done.stderr
        assert (failure.run_id, failure.exit_code, failure.stage) == ("one/two", 2, "consume-historical")
        now = datetime.now(UTC)
        lineage.write(store, record("consume-historical", "one/two", 0, started_at=now, finished_at=now))
        wait_until(lambda: failed not in metrics(port), log.read_text)
        assert metrics(port)["last_run_state", "unfinished"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"TICKLAKE_BATCH_SCHEDULE": "hourly"}, "TICKLAKE_BATCH_SCHEDULE"),
        ({"TICKLAKE_CALENDAR": "NOWHERE"}, "no exchange calendar"),
    ],
)
def test_what_no_retry_recovers_ends_it(
    stage_env: Environment, programs: Path, change: dict[str, str], message: str
) -> None:
    environment = stage_env(TICKLAKE_METRICS_PORT="0", **change)
    done = subprocess.run(
        [programs / "batch-exporter"], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_store_that_rejects_is_waited_for(
    stage_env: Environment, store_settings: StoreSettings, programs: Path, tmp_path: Path
) -> None:
    later, log = f"later-{store_settings.bucket}", tmp_path / "log"
    environment = stage_env(TICKLAKE_STORE_BUCKET=later)
    maker = ObjectStore(store_settings.model_copy(update={"bucket": later}))
    with exporter(programs, environment, log, meanwhile=lambda port: _rejected_then_made(port, log, maker)) as port:
        assert status(port, "/readyz") == 200


def _rejected_then_made(port: int, log: Path, maker: ObjectStore) -> None:
    wait_until(lambda: status(port, "/metrics") == 200 and metrics(port)["lake_errors_total",] > 1, log.read_text)
    assert status(port, "/readyz") == 503
    assert f"has no bucket {maker.bucket}" in log.read_text()
    maker.create_bucket()


def test_a_stage_that_cannot_reach_the_store_ends_all_the_same(stage_env: Environment, programs: Path) -> None:
    environment = stage_env(TICKLAKE_STORE_ENDPOINT="http://127.0.0.1:1", TICKLAKE_STORE_TIMEOUT_SECONDS="2")
    started = time.monotonic()
    done = subprocess.run(
        [programs / "validate-raw", "--date", "2026-01-30", "--run-id", "one"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert time.monotonic() - started < 120


def test_the_tables_maintenance_is_reported(
    stage_env: Environment, programs: Path, store: ObjectStore, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    before, after = TableSize(files=12, size=5000, snapshots=30), TableSize(files=2, size=4000, snapshots=10)
    done = Maintenance(
        run_id="r",
        date=date(2026, 1, 30),
        orphans=7,
        orphan_size=700,
        code_version="test",
        started_at=START,
        finished_at=START + timedelta(seconds=9),
        tables=(TableMaintenance(table="market.windows", before=before, after=after, compacted=11, expired=20),),
    )
    with exporter(programs, stage_env(), log) as port:
        assert ("maintenance_last_success_timestamp_seconds",) not in metrics(port)
        maintenance.write(store, done)
        wait_until(lambda: ("maintenance_last_success_timestamp_seconds",) in metrics(port), log.read_text)
        found = metrics(port)
        assert found["maintenance_last_success_timestamp_seconds",] == START.timestamp() + 9
        assert found["maintenance_last_duration_seconds",] == 9
        assert (found["maintenance_orphans",], found["maintenance_orphan_bytes",]) == (7, 700)
        for name, sizes in (("files", (12, 2)), ("bytes", (5000, 4000)), ("snapshots", (30, 10))):
            exported = (
                found[f"table_{name}", "before", "market.windows"],
                found[f"table_{name}", "after", "market.windows"],
            )
            assert exported == sizes
        # A record of another version takes nothing else away.
        store.put(maintenance.KEY, b'{"schema_version": 2}')
        lineage.write(store, record("fetch-historical", "now", 0))
        wait_until(lambda: ("stage_rows_in", "fetch-historical") in metrics(port), log.read_text)
        assert metrics(port)["maintenance_orphans",] == 7
        assert "maintenance/tables.json is not a readable record" in log.read_text()
