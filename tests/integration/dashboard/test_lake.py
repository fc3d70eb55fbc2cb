"""What is read out of the lake, on the real store and catalog."""

import json
import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from lake_writer import put_history, put_windows

from dashboard.lake import DailyLake
from dashboard.quarantine_view import QuarantineView
from dashboard.runs import Runs
from dashboard.store_guard import Guard
from dashboard.windows_lake import WindowLake
from ticklake import lineage
from ticklake.catalog import LakeTables
from ticklake.errors import StageError
from ticklake.lineage import StageRecord, SymbolResult
from ticklake.names import live_names
from ticklake.objects import ObjectStore
from ticklake.quarantine import quarantined
from ticklake.records import Source

MONDAY = date(2026, 1, 5)
DAYS = [MONDAY + timedelta(days=n) for n in range(5)]


@pytest.fixture
def guard(store):
    return Guard(store, 0.1)


@pytest.fixture
def tables(catalog_settings, store_settings):
    return LakeTables(catalog_settings, store_settings)


@pytest.fixture
def lake(tables):
    return DailyLake(Guard(tables, 0.1), 0, 64 * 1024 * 1024)


def closes(lake: DailyLake, symbol: str = "A", source: str = "simulated") -> dict[date, float]:
    lake.refresh()
    table = lake.rows(symbol, source)
    return dict(zip(table["session_date"].to_pylist(), table["close"].to_pylist(), strict=True))


def test_a_history_that_was_replaced_is_read_anew_and_the_others_are_not(tables, lake):
    put_history(tables, DAYS[2], {"A": dict(zip(DAYS[:3], (1.0, 2.0, 3.0), strict=True)), "B": {MONDAY: 9.0}})
    assert closes(lake) == {DAYS[0]: 1.0, DAYS[1]: 2.0, DAYS[2]: 3.0}
    assert lake.summary("A", "simulated").sessions == 3
    kept = lake.rows("B", "simulated")
    put_history(tables, DAYS[3], {"A": dict.fromkeys(DAYS[:4], 5.0)})
    assert closes(lake) == dict.fromkeys(DAYS[:4], 5.0)
    assert (lake.summary("A", "simulated").last, lake.summary("A", "simulated").sessions) == (DAYS[3], 4)
    assert lake.rows("B", "simulated") is kept


def test_a_snapshot_that_is_gone_since_the_look_leads_to_the_newest(tables, lake):
    put_history(tables, MONDAY, {"A": {MONDAY: 1.0}})
    lake.refresh()
    put_history(tables, DAYS[1], {"A": {MONDAY: 2.0}})
    there = tables._catalog().load_table(("market_test", "daily_analytics"))
    with there.maintenance.expire_snapshots() as expire:
        expire.by_id(there.snapshots()[0].snapshot_id)
    assert lake.rows("A", "simulated")["close"].to_pylist() == [2.0]


def test_a_table_whose_files_are_gone_is_a_clear_error(tables, lake, store):
    put_history(tables, MONDAY, {"A": {MONDAY: 1.0}})
    lake.refresh()
    for found in store.list_objects("processed/historical/"):
        store.delete(found.key)
    with pytest.raises(StageError, match="a file is gone from the lake"):
        lake.rows("A", "simulated")


def test_no_table_yet_is_no_history(lake):
    lake.refresh()
    assert (lake.listed(), lake.sources(), lake.best_source("A"), lake.summary("A", "yahoo")) == ([], [], None, None)


def test_sources_stay_apart_and_yahoo_goes_first(tables, lake):
    put_history(tables, DAYS[0], {"A": {MONDAY: 1.0}}, source=Source.SIMULATED)
    put_history(tables, DAYS[1], {"A": {MONDAY: 2.0}}, source=Source.YAHOO)
    put_history(tables, DAYS[2], {"A": {MONDAY: 3.0}, "B": {MONDAY: 4.0}}, source=Source.REPLAY)
    assert closes(lake) == {MONDAY: 1.0}
    assert closes(lake, source="replay") == {MONDAY: 3.0}
    assert closes(lake, source="yahoo") == {MONDAY: 2.0}
    assert lake.summary("A", "replay").tail == ((MONDAY, 3.0),)
    assert lake.listed() == [("A", "yahoo"), ("A", "replay"), ("A", "simulated"), ("B", "replay")]
    assert (lake.best_source("A"), lake.best_source("B"), lake.best_source("A", "replay")) == (
        "yahoo", "replay", "replay",
    )  # fmt: skip
    assert lake.best_source("C") is None


def test_the_close_before_a_session_is_that_of_the_session_before(tables, lake):
    put_history(tables, MONDAY, {"A": {day: float(number) for number, day in enumerate(DAYS)}, "B": {MONDAY: 7.0}})
    lake.refresh()
    summary = lake.summary("A", "simulated")
    assert [summary.close_before(day) for day in (DAYS[4], DAYS[4] + timedelta(days=1))] == [3.0, 4.0]
    assert lake.summary("B", "simulated").tail == ((MONDAY, 7.0),)


def test_closed_windows_newest_first_and_each_once(store, guard):
    live = live_names("windows")
    start = datetime(2026, 1, 5, 15, tzinfo=UTC)
    for batch in range(10):
        when = start + timedelta(minutes=batch)
        put_windows(store, live, batch, [
            {"symbol": "A", "window_start": when, "close": float(batch)},
            {"symbol": "B", "window_start": when, "close": -1.0},
        ])  # fmt: skip
    lake = WindowLake(guard, live, 0, 3000)
    assert [row["close"] for row in lake.find("A", "15m", 3)] == [7.0, 8.0, 9.0]
    since = start + timedelta(minutes=6)
    assert [row["close"] for row in lake.find("A", "15m", 100, since, since + timedelta(minutes=1))] == [6.0, 7.0]
    # A repeated micro-batch replaces its manifest, a new one is found, and the window that it brings again is not.
    put_windows(store, live, 9, [{"symbol": "A", "window_start": start + timedelta(minutes=9), "close": 99.0}])
    put_windows(store, live, 10, [{"symbol": "A", "window_start": start + timedelta(minutes=9), "close": 100.0}])
    assert [row["close"] for row in lake.find("A", "15m", 2)] == [8.0, 99.0]
    assert lake.find("A", "1h", 2) == []
    lake.close()


def test_runs_come_newest_first_and_an_unfinished_one_is_incomplete(store, guard):
    def put(run_id: str, stage: str, rows: int) -> None:
        now = datetime(2026, 1, 5, 12, tzinfo=UTC)
        lineage.write(store, StageRecord(
            stage=stage, run_id=run_id, batch_id=run_id, batch_date=MONDAY, source=Source.SIMULATED, rows_in=rows + 1,
            rows_out=rows, quarantined=1, symbols={"A": SymbolResult(rows=rows, checksum="", quarantined=1)},
            started_at=now, finished_at=now + timedelta(seconds=3), code_version="test",
        ))  # fmt: skip

    for number in range(5):
        put(f"run {number}", "fetch-historical", number)
    store.put("lineage/run_id=broken/fetch-historical.json", b"{")
    runs = Runs(guard, 0)
    first, after = runs.page(4, None)
    rest, end = runs.page(4, after)
    found = first + rest
    assert {item["run_id"] for item in found} == {f"run {number}" for number in range(5)}
    assert end is None
    (item,) = [item for item in found if item["run_id"] == "run 3"]
    assert (item["state"], item["reconciled"], item["stages_done"]) == ("incomplete", None, 1)
    assert (item["rows_in"], item["rows_out"], item["quarantined"], item["seconds"]) == (4, 3, 1, 3.0)
    detail = runs.detail("run 3")
    assert detail["symbols"] == [
        {"symbol": "A", "status": "ok", "rows": 3, "quarantined": 1, "missing_sessions": 0}
    ]  # fmt: skip
    assert runs.detail("run 7") is None
    runs.close()


def test_quarantine_shows_where_and_why(store, guard):
    message = quarantined(
        "archive-ticks", "price: must be positive", b'{"price": -1}\x00\xff', topic="t", partition=2, offset=7
    )
    row = quarantined(
        "fetch-historical", "no session", b"x" * 5000, run_id="r", symbol="A", position=3,
        record_time=datetime(2026, 1, 5, tzinfo=UTC),
    )  # fmt: skip
    for each in (message, row):
        store.put(each.lake_key, each.model_dump_json().encode())
    store.put("quarantine/other.json", json.dumps({"no": "message"}).encode())
    view = QuarantineView(guard, 0)
    items, after = view.page(10, None)
    by_where = {item["where"]: item for item in items}
    assert after is None
    assert by_where["t partition 2 offset 7"]["excerpt"] == '{"price": -1}·�'
    assert by_where["t partition 2 offset 7"]["reason"] == "price: must be positive"
    assert len(by_where["run r, A row 3"]["excerpt"]) == 300
    first, after = view.page(1, None)
    second, _ = view.page(2, after)
    assert {item["key"] for item in first + second} == {item["key"] for item in items}
    view.close()


def test_a_store_that_is_away_is_asked_once_and_then_left_in_peace(store_settings):
    away = ObjectStore(store_settings.model_copy(update={"endpoint": "http://127.0.0.1:9", "timeout_seconds": 1}))
    guard, asked = Guard(away, 60), []

    def work(store):
        asked.append(1)
        return list(store.list_objects("x"))

    for _ in range(3):
        with pytest.raises(StageError, match="does not answer"):
            guard.call(work)
    assert len(asked) == 1
    assert "does not answer" in guard.failure


def test_a_first_call_that_takes_long_does_not_fail_those_beside_it(guard):
    first, second = threading.Event(), threading.Event()

    def slow(store):
        first.set()
        assert second.wait(10)
        return 1

    thread = threading.Thread(target=guard.call, args=(slow,))
    thread.start()
    assert first.wait(10)
    assert guard.failure == "not asked yet"
    assert guard.call(lambda store: 2) == 2
    second.set()
    thread.join(10)
    assert guard.failure == ""
