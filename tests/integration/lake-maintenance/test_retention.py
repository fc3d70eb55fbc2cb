"""apply-retention on the real store."""

import subprocess
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from lake_maintenance.retention import RetentionSettings, apply_retention, today_utc
from ticklake.objects import ObjectStore
from ticklake.settings import StoreSettings

DAY = date(2026, 3, 31)
OLD_ACTIONS = "raw/corporate_actions/year=2025/month=12/day=30/run.csv"
OLD_TICKS = "raw/realtime/year=2025/month=01/day=01/hour=05/stock_data_20250101_050000_0190a1b2c3d4_p0_o{:020d}.parquet"
TICKS = "raw/realtime/year=2025/month=06/day=01/hour=05/stock_data_20250601_050000_0190a1b2c3d4_p0_o{:020d}.parquet"
IDLE_TICKS = OLD_TICKS.replace("_p0_", "_p1_")


def keys(store: ObjectStore) -> set[str]:
    return {found.key for found in store.list_objects("")}


@pytest.fixture
def full(store: ObjectStore) -> set[str]:
    for key in (
        "raw/source/run_id=a/AAPL.parquet",
        "raw/historical/year=2025/month=12/day=30/AAPL_210500.csv",
        "raw/historical/year=2025/month=12/day=31/AAPL_210500.csv",
        OLD_ACTIONS,
        "quarantine/topic=t/partition=0/1.jsonl",
        OLD_TICKS.format(0),
        OLD_TICKS.format(5),
        TICKS.format(9),
        IDLE_TICKS.format(0),
        IDLE_TICKS.format(3),
        IDLE_TICKS.format(3).replace(".parquet", ".csv"),
        "raw/realtime/_chain_start_0190a1b2c3d4_p0.json",
        "raw/realtime/year=2025/month=02/day=30/x",
        "accelerated/run-1/checkpoints/realtime/15m/offsets/0",
        "accelerated/run-1/raw/realtime/x",
        "processed/historical/date=2020-01-01/symbol=AAPL/part.parquet",
        "lineage/run_id=a/run.json",
        "checkpoints/realtime/15m/metadata",
    ):
        store.put(key, b"12345")
    return keys(store)


def test_days_of_zero_keep_everything(store_settings: StoreSettings, store: ObjectStore, full: set[str]) -> None:
    always = {name: 0 for name in RetentionSettings.model_fields if name.startswith("keep_")}
    assert apply_retention(RetentionSettings(store=store_settings, **always), DAY).objects == {}
    assert keys(store) == full


def test_ticks_go_by_the_day_in_their_key(store_settings: StoreSettings, store: ObjectStore, full: set[str]) -> None:
    settings = RetentionSettings(store=store_settings, keep_raw_ticks_days=90)
    # Everything else was written today, so on that day nothing of it is old.
    counted = apply_retention(settings, DAY, dry_run=True)
    assert keys(store) == full
    done = apply_retention(settings, DAY)
    assert (done.objects, done.size) == (counted.objects, counted.size)
    assert done.objects == {"raw ticks": 3, "accelerated": 0}
    assert done.size == 15
    # The newest range of each partition stays, old as it is: the next archive finds there where to go on.
    assert full - keys(store) == {
        OLD_TICKS.format(0),
        OLD_TICKS.format(5),
        IDLE_TICKS.format(0),
    }


def test_accelerated_flows_go_by_when_they_were_written_and_nothing_else(
    store_settings: StoreSettings, store: ObjectStore, full: set[str]
) -> None:
    settings = RetentionSettings(store=store_settings)
    for days, gone in ((7, set()), (8, {key for key in full if key.startswith("accelerated/")})):
        apply_retention(settings, today_utc() + timedelta(days=days))
        assert full - keys(store) == gone, days
    apply_retention(settings, today_utc() + timedelta(days=1000))
    assert full - keys(store) == gone


def test_ticks_that_the_topic_still_holds_are_never_removed() -> None:
    with pytest.raises(ValidationError, match="must be 0 or at least 14"):
        RetentionSettings(keep_raw_ticks_days=13)
    assert RetentionSettings(keep_raw_ticks_days=14).keep_raw_ticks_days == 14


def test_more_objects_than_one_request_takes(store_settings: StoreSettings, store: ObjectStore) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: store.put(f"accelerated/run-1/{n}.json", b""), range(1005)))
    done = apply_retention(RetentionSettings(store=store_settings), today_utc() + timedelta(days=200))
    assert done.objects["accelerated"] == 1005
    assert keys(store) == set()


def test_the_program(
    programs: Path,
    stage_env: Callable[..., dict[str, str]],
    store_settings: StoreSettings,
    store: ObjectStore,
    full: set[str],
) -> None:
    env = stage_env(TICKLAKE_STORE_BUCKET=store_settings.bucket, TICKLAKE_KEEP_RAW_TICKS_DAYS="90")

    def run(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        command = [str(programs / "apply-retention"), "--run-id", "r", *arguments]
        return subprocess.run(command, env=env | more, capture_output=True, text=True, timeout=300, check=False)

    done = run("--date", str(DAY), "--dry-run")
    assert (done.returncode, done.stderr, keys(store)) == (0, "", full)
    assert run("--date", str(DAY)).returncode == 0
    assert len(full - keys(store)) == 3
    future = run("--date", str(today_utc() + timedelta(days=2)))
    assert (future.returncode, "is still to come" in future.stderr) == (2, True)
    wrong = run("--date", str(DAY), TICKLAKE_KEEP_RAW_TICKS_DAYS="3")
    assert wrong.returncode == 2
    assert "TICKLAKE_KEEP_RAW_TICKS_DAYS" in wrong.stderr
    assert "Traceback" not in wrong.stderr
