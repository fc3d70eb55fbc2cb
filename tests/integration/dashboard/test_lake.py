"""What is read out of the lake, on the real store."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lake_writer import KNOWN_AT, put_daily, put_windows
from pydantic import SecretStr
from waiting import SECONDS

from dashboard.lake.daily_history import COLUMNS, DailyLake, Summary
from dashboard.lake.row_cache import RowCache
from dashboard.lake.store_guard import StoreGuard
from dashboard.lake.windows import WindowLake
from dashboard.platform.quarantine import QuarantineView, Search
from dashboard.platform.runs import Runs
from ticklake import lineage
from ticklake.catalog import LakeTables
from ticklake.errors import ConfigurationError, IntegrityError, StageError
from ticklake.lineage import StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.quarantine import put, quarantined
from ticklake.quarantine_decisions import decide
from ticklake.records import Source
from ticklake.settings import CatalogSettings, LiveSettings
from ticklake.tables import DAILY_ANALYTICS

MONDAY, BEFORE = date(2026, 1, 5), date(2026, 1, 2)
DAYS = [MONDAY + timedelta(days=n) for n in range(5)]


@pytest.fixture
def guard(store):
    return StoreGuard(store, 0.1)


@pytest.fixture
def tables(catalog_settings, store_settings):
    return LakeTables(catalog_settings, store_settings)


@pytest.fixture
def lake(guard, catalog_settings, store_settings):
    """With tables of its own, as another process has them."""
    return DailyLake(guard, StoreGuard(LakeTables(catalog_settings, store_settings), 60), 0, RowCache(2**26))


def closes(lake: DailyLake, symbol: str = "A", source: str = "simulated") -> dict[date, float]:
    table = lake.rows(symbol, source)
    return dict(zip(table["session_date"].to_pylist(), table["close"].to_pylist(), strict=True))


def expire_snapshots(tables: LakeTables, space: str = "market_test") -> None:
    """All but the current one."""
    table = tables._catalog().load_table((space, DAILY_ANALYTICS.name))
    old = [each.snapshot_id for each in table.snapshots() if each != table.current_snapshot()]
    table.maintenance.expire_snapshots().by_ids(old).commit()


def test_a_lake_without_a_table_has_no_symbol(lake):
    lake.refresh()
    assert (lake.listed(), lake.sources(), lake.failure) == ([], [], "")
    assert lake.rows("A", "simulated").num_rows == 0


def test_rows_in_order_and_in_short(tables, lake):
    put_daily(tables, {"B": {DAYS[0]: 9.0}, "A": {day: float(n) for n, day in enumerate(DAYS)} | {BEFORE: 7.0}})
    lake.refresh()
    assert list(closes(lake).items()) == [(BEFORE, 7.0), *((day, float(n)) for n, day in enumerate(DAYS))]
    table = lake.rows("A", "simulated")
    assert set(table["known_at"].to_pylist()) == {KNOWN_AT}
    assert set(table.column_names) == set(COLUMNS)
    found = lake.summary("A", "simulated")
    assert (found.first, found.last, found.sessions) == (BEFORE, DAYS[4], 6)
    assert found.tail == tuple((day, float(n)) for n, day in enumerate(DAYS))
    assert lake.summary("B", "simulated") == Summary(DAYS[0], DAYS[0], 1, ((DAYS[0], 9.0),))
    assert lake.summary("C", "simulated") is None
    # The close before a session is that of the session before.
    assert [found.close_before(day) for day in (DAYS[4], DAYS[4] + timedelta(days=1))] == [3.0, 4.0]


def test_rows_that_are_replaced_after_the_listing_are_as_listed_until_the_next(tables, lake):
    put_daily(tables, {"A": {MONDAY: 1.0}, "B": {MONDAY: 5.0}})
    lake.refresh()
    put_daily(tables, {"A": {MONDAY: 2.0, DAYS[1]: 3.0}})
    assert (closes(lake), lake.summary("A", "simulated").sessions) == ({MONDAY: 1.0}, 1)
    lake.refresh()
    assert (closes(lake), lake.summary("A", "simulated").sessions) == ({MONDAY: 2.0, DAYS[1]: 3.0}, 2)
    assert closes(lake, "B") == {MONDAY: 5.0}


def test_a_snapshot_that_expired_after_the_listing_leads_to_the_current_one(tables, lake):
    put_daily(tables, {"A": {MONDAY: 1.0}, "B": {MONDAY: 5.0}})
    lake.refresh()
    put_daily(tables, {"A": {MONDAY: 2.0}})
    expire_snapshots(tables)
    assert closes(lake) == {MONDAY: 2.0}
    assert lake.failure == ""
    # A symbol that is gone has no rows.
    put_daily(tables, {"B": {}})
    expire_snapshots(tables)
    assert closes(lake, "B") == {}
    assert lake.listed() == [("A", "simulated")]


def test_a_file_that_is_gone(store, tables, lake):
    put_daily(tables, {"A": {MONDAY: 1.0}, "B": {MONDAY: 5.0}})
    lake.refresh()
    files = {found.key for found in store.list_objects("processed/historical/") if "symbol=A" in found.key}
    put_daily(tables, {"A": {MONDAY: 2.0}})
    for key in files:
        store.delete(key)
    assert closes(lake) == {MONDAY: 2.0}
    for found in store.list_objects("processed/historical/"):
        store.delete(found.key)
    with pytest.raises(IntegrityError, match="a file is gone from the lake"):
        lake.rows("B", "simulated")
    assert closes(lake) == {MONDAY: 2.0}, "what is held is still shown"


def test_sources_stay_apart_and_yahoo_goes_first(tables, lake):
    put_daily(tables, {"A": {MONDAY: 1.0}}, Source.SIMULATED)
    put_daily(tables, {"A": {MONDAY: 2.0}}, Source.YAHOO)
    put_daily(tables, {"A": {MONDAY: 3.0}, "B": {MONDAY: 4.0}}, Source.REPLAY)
    lake.refresh()
    assert [closes(lake, "A", source)[MONDAY] for source in ("simulated", "yahoo", "replay")] == [1.0, 2.0, 3.0]
    assert lake.listed() == [("A", "yahoo"), ("A", "replay"), ("A", "simulated"), ("B", "replay")]
    assert (lake.best_source("A"), lake.best_source("B"), lake.best_source("A", "replay")) == (
        "yahoo",
        "replay",
        "replay",
    )
    assert lake.best_source("C") is None
    assert lake.sources() == ["yahoo", "replay", "simulated"]


def test_the_least_recently_used_rows_are_let_go(guard, tables):
    put_daily(tables, {symbol: dict.fromkeys(DAYS, 1.0) for symbol in "ABC"})
    cache = RowCache(1)
    lake = DailyLake(guard, StoreGuard(tables, 60), 0, cache)
    lake.refresh()
    for symbol in "ABC":
        closes(lake, symbol)
    snapshot = tables.version("market_test", DAILY_ANALYTICS)
    assert [cache.get((symbol, "simulated"), snapshot) is None for symbol in "ABC"] == [True, True, False]


def test_many_threads_read_while_rows_are_replaced(tables, lake):
    put_daily(tables, {symbol: dict.fromkeys(DAYS, 1.0) for symbol in "ABCD"})
    lake.refresh()

    def read(number: int) -> set[float]:
        lake.refresh()
        return set(closes(lake, "ABCD"[number % 4]).values())

    with ThreadPoolExecutor(8) as pool:
        work = [pool.submit(read, number) for number in range(40)]
        put_daily(tables, {symbol: dict.fromkeys(DAYS, 2.0) for symbol in "ABCD"})
        found = [each.result() for each in work]
    # Rows of a symbol change all together.
    assert {frozenset(values) for values in found} <= {frozenset({1.0}), frozenset({2.0})}
    assert read(0) == {2.0}


class Rejecting(BaseHTTPRequestHandler):
    """An Iceberg REST catalog that takes no token."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def rejecting():
    with ThreadingHTTPServer(("127.0.0.1", 0), Rejecting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("catalog", "kind", "says"),
    [
        ("away", StageError, "does not answer"),
        ("rejecting", ConfigurationError, "check TICKLAKE_CATALOG_"),
        ("no database", StageError, "file is not a database"),
    ],
)
def test_a_catalog_that_does_not_serve(guard, store_settings, tmp_path, rejecting, catalog, kind, says):
    (tmp_path / "catalog.db").write_bytes(b"no database" * 100)
    uri = {
        "away": "postgresql://127.0.0.1:9/catalog",
        "rejecting": rejecting,
        "no database": f"sqlite:///{tmp_path}/catalog.db",
    }[catalog]
    settings = CatalogSettings(uri=uri, user="u", password=SecretStr("p"), token=SecretStr("t"))
    lake = DailyLake(guard, StoreGuard(LakeTables(settings, store_settings), 60), 0, RowCache(2**26))
    for _ in range(2):
        with pytest.raises(StageError, match=says):
            lake.refresh()
    assert says in lake.failure
    with pytest.raises(kind, match=says):
        DailyLake(guard, StoreGuard(LakeTables(settings, store_settings), 60), 0, RowCache(1)).refresh()
    assert guard.failure == "", "what needs no table goes on"


def test_closed_windows_newest_first_and_each_once(tables):
    start = datetime(2026, 1, 5, 15, tzinfo=UTC)
    lake = WindowLake(StoreGuard(tables, 60), LiveSettings(namespace="one"), 0)
    assert lake.find("A", "15m", 3) == []
    for batch in range(10):
        when = start + timedelta(minutes=batch)
        put_windows(
            tables,
            "one",
            [
                {"symbol": "A", "window_start": when, "close": float(batch)},
                {"symbol": "B", "window_start": when, "close": -1.0},
            ],
        )
    put_windows(tables, "other", [{"symbol": "A", "window_start": start + timedelta(minutes=3), "close": -2.0}])
    put_windows(tables, "one", [{"symbol": "A", "window_start": start - timedelta(days=40), "close": 0.5}])
    assert [row["close"] for row in lake.find("A", "15m", 3)] == [7.0, 8.0, 9.0]
    since = start + timedelta(minutes=6)
    assert [row["close"] for row in lake.find("A", "15m", 100, since, since + timedelta(minutes=1))] == [6.0, 7.0]
    # However far back the newest ones lie.
    assert [row["close"] for row in lake.find("A", "15m", 12)] == [0.5, *map(float, range(10))]
    assert [row["close"] for row in lake.find("A", "15m", 2, None, start)] == [0.5, 0.0]
    assert [row["close"] for row in lake.find("A", "15m", 5, None, None, "simulated")] == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert lake.find("A", "15m", 5, None, None, "yahoo") == lake.find("A", "1h", 2) == lake.find("C", "15m", 2) == []
    put_windows(tables, "one", [{"symbol": "A", "window_start": start + timedelta(minutes=10), "close": 10.0}])
    assert [row["close"] for row in lake.find("A", "15m", 2)] == [9.0, 10.0]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as readers:
        yield readers


def test_runs_come_newest_first_and_an_unfinished_one_is_incomplete(store, guard, pool):
    def put(run_id: str, stage: str, rows: int) -> None:
        now = datetime(2026, 1, 5, 12, tzinfo=UTC)
        lineage.write(
            store,
            StageRecord(
                stage=stage,
                run_id=run_id,
                batch_id=run_id,
                batch_date=MONDAY,
                source=Source.SIMULATED,
                rows_in=rows + 1,
                rows_out=rows,
                quarantined=1,
                symbols={"A": SymbolResult(rows=rows, checksum="", quarantined=1)},
                started_at=now,
                finished_at=now + timedelta(seconds=3),
                code_version="test",
            ),
        )

    for number in range(5):
        put(f"run {number}", "fetch-historical", number)
    store.put("lineage/run_id=broken/fetch-historical.json", b"{")
    runs = Runs(guard, 0, pool)
    first, after = runs.page(4, None)
    rest, end = runs.page(4, after)
    found = first + rest
    assert {item["run_id"] for item in found} == {f"run {number}" for number in range(5)}
    assert end is None
    (item,) = [item for item in found if item["run_id"] == "run 3"]
    assert (item["state"], item["reconciled"], item["stages_done"]) == ("incomplete", None, 1)
    assert (item["rows_in"], item["rows_out"], item["quarantined"], item["seconds"]) == (4, 3, 1, 3.0)
    detail = runs.detail("run 3")
    (symbol,) = detail["symbols"]
    assert (symbol["symbol"], symbol["status"], symbol["rows"], symbol["quarantined"]) == ("A", "ok", 3, 1)
    assert (symbol["new"], symbol["facts"]) == (None, None)
    assert runs.detail("run 7") is None


MONDAY_NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def kept(store):
    """A message that names no symbol, a message of a symbol, a row, and lines that are none; the first two twice."""
    messages = [
        quarantined(
            "archive-ticks",
            "price: must be positive",
            b'{"price": -1}\x00\xff',
            topic="stock-market-realtime",
            partition=2,
            offset=7,
            record_time=MONDAY_NOON,
        ),
        quarantined(
            "archive-ticks",
            "no value",
            None,
            key=b"MSFT",
            topic="stock-market-realtime",
            partition=2,
            offset=9,
            replay_of="0123456789abcdef",
            record_time=MONDAY_NOON + timedelta(seconds=1),
        ),
        quarantined(
            "fetch-historical",
            "no session",
            b"x" * 5000,
            run_id="r",
            symbol="A",
            position=3,
            record_time=MONDAY_NOON + timedelta(seconds=2),
        ),
    ]
    put(store, messages)
    put(store, messages[:1])
    store.put("quarantine/topic=stock-market-realtime/partition=0/other.jsonl", b'{"no": "message"}\n{\n')
    return messages


def test_quarantine_is_searched_and_shown_newest_first(store, guard, pool, kept):
    view = QuarantineView(guard, 0, pool)
    items, after, whole = view.page(10, None, Search())
    assert (after, whole) == (None, True)
    assert [item["where"] for item in items] == [
        "run r, A row 3",
        "stock-market-realtime partition 2 offset 9",
        "stock-market-realtime partition 2 offset 7",
    ]
    assert items[2]["excerpt"] == '{"price": -1}·�'
    assert (items[1]["symbol"], items[1]["replay_of"], items[2]["symbol"]) == ("MSFT", "0123456789abcdef", None)
    assert len(items[0]["excerpt"]) == 300
    first, after, _ = view.page(1, None, Search())
    second, end, _ = view.page(2, after, Search())
    assert (first + second, end) == (items, None)
    for search, found in (
        (Search("PRICE"), items[2:]),
        (Search("offset 9"), items[1:2]),
        (Search("msft"), items[1:2]),
        (Search(run="r"), items[:1]),
        (Search(topic="stock-market-realtime"), items[1:]),
        (Search("price", run="r"), []),
    ):
        assert view.page(10, None, search) == (found, None, True), search


def test_a_quarantined_message_in_full_with_what_can_be_done(store, guard, pool, kept):
    view = QuarantineView(guard, 0, pool)
    message, _, row = kept
    shown = view.detail(message.id)
    assert (shown["bytes"], shown["text"]) == (15, '{"price": -1}·�')
    assert shown["hex"] == "7b 22 70 72 69 63 65 22 3a 20 2d 31 7d 00 ff"
    assert [line.partition(" --")[0] for line in shown["commands"]] == [
        f"ticklake quarantine {action} {message.id}" for action in ("mend", "replay", "drop")
    ]
    in_run = view.detail(row.id)["commands"]
    assert in_run[0] == f"ticklake quarantine drop {row.id}"
    assert "the next run asks for it again" in in_run[1]
    assert view.detail("f" * 16) is None
    decide(store, message, "drop", "kim")
    assert view.detail(message.id)["commands"] == []
    assert "dropped by kim" in view.detail(message.id)["decision"]
    assert message.id not in [item["id"] for item in view.page(10, None, Search())[0]]
    assert message.id in [item["id"] for item in view.page(10, None, Search(decided=True))[0]]


def test_a_store_that_is_away_is_asked_once_and_then_left_in_peace(store_settings):
    away = ObjectStore(store_settings.model_copy(update={"endpoint": "http://127.0.0.1:9", "timeout_seconds": 1}))
    guard, asked = StoreGuard(away, 60), []

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
        assert second.wait(SECONDS)
        return 1

    thread = threading.Thread(target=guard.call, args=(slow,))
    thread.start()
    assert first.wait(SECONDS)
    assert guard.failure == "not asked yet"
    assert guard.call(lambda store: 2) == 2
    second.set()
    thread.join(SECONDS)
    assert guard.failure == ""
