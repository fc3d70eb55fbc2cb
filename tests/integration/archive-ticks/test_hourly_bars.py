"""tick-bars on archived objects in the real store, and the program as Airflow starts it."""

import io
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archive_ticks.hourly import BarSettings, make_bars
from ticklake import ledger, ledger_table, manifests
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.expectations import QualityError
from ticklake.ledger import LedgerRange
from ticklake.objects import ObjectStore
from ticklake.settings import LiveSettings, StoreSettings

HOUR = datetime(2024, 6, 28, 14, tzinfo=UTC)
"""A Friday's 10:00 in New York."""
TOPIC_ID = "0190a1b2-c3d4-7000-8000-0123456789ab"
LIVE = LiveSettings().names


@pytest.fixture
def archive(store: ObjectStore) -> Callable[..., str]:
    """Archives ticks given as (event time, price, volume), from an offset on, as arrived at a time."""

    def put(first: int, arrived: datetime, *rows: tuple[datetime, float, int]) -> str:
        table = ledger_table.sort(
            pa.Table.from_pylist(
                [
                    {
                        "symbol": "AAPL", "event_time": at, "sequence": first + n, "price": price, "volume": volume,
                        "source": "simulated", "producer_run": "r", "partition": 0, "offset": first + n,
                        "append_time": arrived,
                    }
                    for n, (at, price, volume) in enumerate(rows)
                ],
                schema=ledger_table.SCHEMA,
            )
        )  # fmt: skip
        entry = LedgerRange(
            topic=LIVE.topic, topic_id=TOPIC_ID, partition=0, first_offset=first, last_offset=first + len(rows) - 1,
            rows=len(rows), invalid_rows=0, invalid=(), checksum=ledger_table.checksum(table),
            first_append_time=arrived, last_append_time=arrived,
            least_event_time=min(row[0] for row in rows), greatest_event_time=max(row[0] for row in rows),
        )  # fmt: skip
        key = ledger.range_key(LIVE, TOPIC_ID, 0, first, arrived)
        assert store.put_if_absent(key, ledger_table.parquet_bytes(table, entry), metadata=entry.user_metadata())
        return key

    return put


@pytest.fixture
def settings(store_settings: StoreSettings) -> BarSettings:
    return BarSettings(store=store_settings)


def at(minute: float) -> datetime:
    return HOUR + timedelta(minutes=minute)


def bars(store: ObjectStore) -> list[dict[str, Any]]:
    manifest = manifests.read_bars(store, LIVE, HOUR)
    assert manifest is not None
    return [row for item in manifest.objects for row in pq.read_table(io.BytesIO(store.get(item.key))).to_pylist()]


def fill(archive: Callable[..., str]) -> None:
    archive(0, at(-5), (at(-5), 1.0, 1))
    archive(1, at(1), (at(0), 10.0, 5), (at(0.5), 12.0, 5), (at(1), 11.0, 1))
    archive(4, at(59), (at(0.25), 9.0, 10), (at(59), 20.0, 0))
    archive(6, at(61), (at(59.9), 21.0, 0), (at(61), 99.0, 1))  # the first of them came late


def test_bars_of_an_hour(archive: Callable[..., str], settings: BarSettings, store: ObjectStore) -> None:
    fill(archive)
    assert make_bars(settings, HOUR) == {"hour": "2024-06-28T14Z", "ticks": 6, "objects_read": 3, "bars": 4}
    found = bars(store)
    assert [(row["bar_length"], row["bar_start"], row["tick_count"]) for row in found] == [
        ("1h", at(0), 6), ("1m", at(0), 3), ("1m", at(1), 1), ("1m", at(59), 2),
    ]  # fmt: skip
    hour, first = found[:2]
    assert [first[name] for name in ("open", "high", "low", "close", "volume")] == [10.0, 12.0, 9.0, 12.0, 20]
    assert first["vwap"] == (10 * 5 + 12 * 5 + 9 * 10) / 20
    assert [hour[name] for name in ("open", "high", "low", "close", "volume")] == [10.0, 21.0, 9.0, 21.0, 21]
    assert found[-1]["vwap"] == 20.5  # without volume, the mean


def test_again_gives_the_same_object_and_a_late_tick_another(
    archive: Callable[..., str], settings: BarSettings, store: ObjectStore
) -> None:
    fill(archive)
    folder = f"{LIVE.processed_prefix}/bars/"
    make_bars(settings, HOUR)
    once = [(found.key, found.etag) for found in store.list_objects(folder)]
    make_bars(settings, HOUR)
    assert [(found.key, found.etag) for found in store.list_objects(folder)] == once
    archive(8, at(70), (at(30), 15.0, 7))
    make_bars(settings, HOUR)
    (left,) = store.list_objects(folder)
    assert left.key != once[0][0]
    assert sum(row["tick_count"] for row in bars(store) if row["bar_length"] == "1h") == 7


def test_a_gap_in_the_archive(archive: Callable[..., str], settings: BarSettings, store: ObjectStore) -> None:
    archive(0, at(1), (at(1), 10.0, 5))
    archive(5, at(58), (at(58), 10.0, 5))
    with pytest.raises(IntegrityError, match="partition 0: offsets 1-4 are missing"):
        make_bars(settings, HOUR)
    assert manifests.read_bars(store, LIVE, HOUR) is None


def test_a_changed_object(archive: Callable[..., str], settings: BarSettings, store: ObjectStore) -> None:
    key = archive(0, at(58), (at(58), 10.0, 5))
    table = pq.read_table(io.BytesIO(store.get(key)))
    changed = table.set_column(3, "price", pa.array([10.5])).replace_schema_metadata(table.schema.metadata)
    body = io.BytesIO()
    pq.write_table(changed, body)
    store.put(key, body.getvalue(), metadata=store.metadata(key))
    with pytest.raises(IntegrityError, match="rows in the file are not those"):
        make_bars(settings, HOUR)


def test_silence_while_the_exchange_trades(
    archive: Callable[..., str], settings: BarSettings, store: ObjectStore
) -> None:
    with pytest.raises(QualityError, match="none at all"):
        make_bars(settings, HOUR)
    archive(0, at(30), (at(30), 10.0, 5))
    with pytest.raises(QualityError, match="the last at 14:30:00"):
        make_bars(settings, HOUR)
    assert len(bars(store)) == 2  # written all the same
    assert make_bars(settings.model_copy(update={"bars_max_silence_seconds": 1800}), HOUR)["ticks"] == 1
    assert make_bars(settings.model_copy(update={"bars_max_silence_seconds": 0}), HOUR)["ticks"] == 1


@pytest.mark.parametrize("hour", [HOUR.replace(hour=3), HOUR.replace(day=29), HOUR.replace(hour=20)])
def test_silence_while_it_does_not(settings: BarSettings, hour: datetime) -> None:
    assert make_bars(settings, hour)["ticks"] == 0


def test_an_hour_that_is_not_over(settings: BarSettings) -> None:
    with pytest.raises(ConfigurationError, match="is not over"):
        make_bars(settings, datetime.now(UTC).replace(minute=0, second=0, microsecond=0))


def test_the_program(
    archive: Callable[..., str], programs: Path, stage_env: Callable[..., dict[str, str]],
    store_settings: StoreSettings, tmp_path: Path,
) -> None:  # fmt: skip
    fill(archive)
    xcom = tmp_path / "return.json"
    env = stage_env(TICKLAKE_STORE_BUCKET=store_settings.bucket, TICKLAKE_XCOM_FILE=str(xcom))

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(programs / "tick-bars"), "--run-id", "r", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    done = run("--date", "2024-06-28", "--hour", "14")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(xcom.read_text()) == {
        "hour": "2024-06-28T14Z", "ticks": 6, "objects_read": 3, "bars": 4, "run_id": "r",
    }  # fmt: skip
    wrong = run("--date", "2024-06-28", "--hour", "24")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("tick-bars: argument --hour: '24' is no hour from 0 to 23")
    silent = run("--date", "2024-06-28", "--hour", "16")
    assert (silent.returncode, "no tick in its last 900 s" in silent.stderr) == (2, True)
