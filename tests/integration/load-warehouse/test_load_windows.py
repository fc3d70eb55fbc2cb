"""Closed streaming windows: each manifest once, each window once, the real apart from the rest."""

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from load_warehouse import windows
from load_warehouse.run import load_windows
from load_warehouse.settings import LoadSettings
from ticklake import manifests
from ticklake.errors import IntegrityError
from ticklake.lineage import ObjectRef
from ticklake.manifests import WindowManifest
from ticklake.objects import ObjectStore
from ticklake.settings import LiveSettings
from ticklake.tables import WINDOW_COLUMNS

Sql = Callable[[str], list[tuple[Any, ...]]]
START = datetime(2024, 6, 28, 14, 30, tzinfo=UTC)
TYPES = {"string": pa.string(), "timestamp": pa.timestamp("us", "UTC"), "double": pa.float64(), "bigint": pa.int64()}
LIVE = LiveSettings(namespace="demo")


def window(minute: int, source: str = "simulated", close: float = 0.1 + 0.2) -> dict[str, Any]:
    start = START + timedelta(minutes=minute)
    return {
        "symbol": "AAPL", "window_length": "15m", "window_start": start, "window_end": start + timedelta(minutes=15),
        "open": 1.0, "high": 3.0, "low": 0.1, "close": close, "vwap": 1 / 3, "volume": 7, "tick_count": 2,
        "moving_average": 1.1, "volatility": None, "first_event_time": start + timedelta(microseconds=123456),
        "last_event_time": start, "source": source,
    }  # fmt: skip


def write(store: ObjectStore, batch: int, rows: list[dict[str, Any]], live: LiveSettings = LIVE) -> str:
    table = pa.table({c.name: pa.array([row[c.name] for row in rows], TYPES[c.type]) for c in WINDOW_COLUMNS})
    target = io.BytesIO()
    pq.write_table(table, target)
    body = target.getvalue()
    key = f"{live.names.processed_prefix}/query=15m/batch={batch}/part-0.parquet"
    store.put(key, body)
    reference = ObjectRef(key=key, rows=len(rows), size=len(body), sha256=hashlib.sha256(body).hexdigest())
    objects = (reference,) if rows else ()
    manifests.write_windows(store, live.names, WindowManifest(query="15m", batch=batch, objects=objects))
    return key


WINDOWS = "SELECT FLOW, WINDOW_START, CLOSE FROM {}.MARKET_TEST.WINDOW_ANALYTICS ORDER BY 1, 2"


def naive(minute: int) -> datetime:
    return (START + timedelta(minutes=minute)).replace(tzinfo=None)


def test_nothing_to_load_needs_no_warehouse(store: ObjectStore, settings: LoadSettings) -> None:
    nowhere = settings.model_copy(update={"warehouse": settings.warehouse.model_copy(update={"port": 1})})
    assert load_windows(nowhere) == []


def test_every_column_arrives(store: ObjectStore, settings: LoadSettings, sql: Sql) -> None:
    write(store, 0, [window(0)])
    load_windows(settings)
    columns = ", ".join(c.name for c in WINDOW_COLUMNS)
    expected = [v.replace(tzinfo=None) if isinstance(v, datetime) else v for v in window(0).values()]
    assert sql(f"SELECT {columns} FROM {{}}.MARKET_TEST.WINDOW_ANALYTICS") == [tuple(expected)]


def test_each_manifest_once_and_each_window_once(store: ObjectStore, settings: LoadSettings, sql: Sql) -> None:
    write(store, 0, [window(0), window(1)])
    write(store, 1, [window(1), window(2)])  # repeats a window
    write(store, 2, [])
    (first,) = load_windows(settings)
    assert (first.staged, first.new, first.unchanged) == (3, 3, 0)
    assert load_windows(settings) == []
    write(store, 3, [window(2), window(3)])
    (second,) = load_windows(settings)
    assert (second.staged, second.new, second.unchanged, second.differing) == (2, 1, 1, 0)
    assert sql(WINDOWS) == [("demo", naive(n), 0.30000000000000004) for n in range(4)]
    audit = sql("SELECT KIND, ROWS_STAGED, ROWS_NEW, FILES FROM {}.MARKET_TEST.LOAD_AUDIT ORDER BY STARTED_AT")
    assert audit == [("windows", 3, 3, 2), ("windows", 2, 1, 1)]
    assert sql("SELECT COUNT(*) FROM {}.MARKET_TEST.LOADED_MANIFESTS") == [(4,)]


def test_a_final_window_stays_as_it_is(store: ObjectStore, settings: LoadSettings, sql: Sql) -> None:
    write(store, 0, [window(0, close=1.0)])
    load_windows(settings)
    write(store, 0, [window(0, close=2.0), window(1, close=2.0)])  # the manifest under the same key changed
    (again,) = load_windows(settings)
    assert (again.new, again.unchanged, again.differing) == (1, 1, 1)
    assert sql(WINDOWS) == [("demo", naive(0), 1.0), ("demo", naive(1), 2.0)]


def test_real_and_simulated_windows_of_one_manifest_part(store: ObjectStore, settings: LoadSettings, sql: Sql) -> None:
    write(store, 0, [window(0), window(0, source="alpha_vantage"), window(1, source="alpha_vantage")])
    load_windows(settings)
    assert load_windows(settings) == []
    count = "SELECT SOURCE, COUNT(*) FROM {}.%s.WINDOW_ANALYTICS GROUP BY 1"
    assert sql(count % "MARKET") == [("alpha_vantage", 2)]
    assert sql(count % "MARKET_TEST") == [("simulated", 1)]


def test_flows_do_not_meet(store: ObjectStore, settings: LoadSettings, sql: Sql) -> None:
    other = LiveSettings(namespace="other")
    write(store, 0, [window(0, close=1.0)])
    write(store, 0, [window(0, close=2.0)], other)
    load_windows(settings)
    load_windows(settings.model_copy(update={"live": other}))
    assert sql(WINDOWS) == [("demo", naive(0), 1.0), ("other", naive(0), 2.0)]


def test_a_manifest_whose_object_changed_is_not_taken(store: ObjectStore, settings: LoadSettings, sql: Sql) -> None:
    key = write(store, 0, [window(0)])
    good = store.get(key)
    store.put(key, b"PAR1 not any more")
    with pytest.raises(IntegrityError, match="SHA-256"):
        load_windows(settings)
    store.put(key, good)
    load_windows(settings)
    assert len(sql(WINDOWS)) == 1


def test_many_manifests_go_in_several_loads(
    store: ObjectStore, settings: LoadSettings, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MANIFESTS_PER_LOAD", 2)
    for batch in range(5):
        write(store, batch, [window(batch)])
    assert [result.new for result in load_windows(settings)] == [2, 2, 1]
    assert len(sql(WINDOWS)) == 5
