"""daily-analytics against the real store and catalog: whole histories on one basis, replaced in one commit."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
import talib

from daily_analytics.lake import Lake
from fetch_historical.recordings import adjust
from fetch_historical.recordings import recorded as recording
from lake_maintenance.maintenance import MaintenanceSettings, maintain
from ticklake import history
from ticklake.catalog import RUN_ID, matching
from ticklake.errors import ConfigurationError, IntegrityError, StageError
from ticklake.history_options import moment
from ticklake.records import Source, SymbolStatus, batch_checksum
from ticklake.spark import SparkSettings, build_session, with_catalog
from ticklake.tables import DAILY_ANALYTICS, DAILY_BARS, arrow_schema

DAY = date(2012, 12, 28)
START = date(2012, 1, 3)
BEFORE, SPLIT = date(2005, 2, 25), date(2005, 2, 28)
"""AAPL's last session before its split 2:1, and the day of the split."""


def check_against_talib(rows, symbol, first, last):
    """The rows of `symbol` must be TA-Lib's over the real bars from `first` to `last`, on the basis of `last`."""
    known = adjust(recording()[symbol].until(last))
    start = next(place for place, session in enumerate(known.sessions) if session >= first)
    assert rows["session_date"].tolist() == list(known.sessions[start:])
    factor = known.adj_close / known.close
    high, low, close = ((part * factor)[start:] for part in (known.high, known.low, known.close))
    macd, signal, hist = talib.MACD(close)
    expected = {
        "close": known.close[start:],
        "adj_close": close,
        "sma_5": talib.SMA(close, 5),
        "sma_200": talib.SMA(close, 200),
        "ema_26": talib.EMA(close, 26),
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": hist,
        "rsi_14": talib.RSI(close, 14),
        "atr_14": talib.ATR(high, low, close, 14),
        "high_52w": talib.MAX(high, 252),
        "obv": talib.OBV(close, known.volume[start:].astype("float64")),
        "volume": known.volume[start:],
        "history_sessions": np.arange(1.0, len(close) + 1),
        "dividends": known.dividends[start:],
        "drawdown": close / np.maximum.accumulate(close) - 1,
        "stock_splits": known.splits[start:],
    }
    # The recording rounds its adjusted prices and dividends.
    for name, values in expected.items():
        np.testing.assert_allclose(
            rows[name].to_numpy("float64"), np.asarray(values, "float64"), rtol=1e-6, atol=1e-6, err_msg=name
        )


def snapshots(tables, namespace="market_test"):
    return tables._load(namespace, DAILY_ANALYTICS).metadata.snapshots


def test_each_session_has_one_row_on_the_basis_of_the_batch(recorded, process, stored, store, tables):
    symbols = ("AAPL", "FB", "IBM")
    recorded("run 1", DAY, START, *symbols, without={"NOPE": SymbolStatus.UNKNOWN, "GONE": SymbolStatus.DELISTED})
    record = process("run 1", DAY)
    rows = stored()
    assert rows.columns.tolist() == [column.name for column in DAILY_ANALYTICS.columns]
    assert (record.rows_in, record.rows_out, record.quarantined) == (len(rows), len(rows), 0)
    assert record.symbols["NOPE"].status is SymbolStatus.UNKNOWN
    assert record.symbols["NOPE"].checksum == batch_checksum(())
    for symbol in symbols:
        mine = stored(symbol)
        check_against_talib(mine, symbol, START, DAY)
        assert record.symbols[symbol].rows == len(mine)
        assert record.symbols[symbol].checksum == batch_checksum(mine["row_hash"])
        facts = tables.read("market_test", DAILY_BARS, matching(symbol=[symbol])).sort_by("session_date")
        assert mine["row_hash"].tolist() == facts["row_hash"].to_pylist()
    assert set(rows["batch_date"]) == {DAY}
    assert set(rows["batch_id"]) == {"run 1"}
    assert set(rows["known_at"]) == {datetime(2012, 12, 28, 22, 30, tzinfo=UTC)}
    files = [found.key for found in store.list_objects("processed/historical/")]
    assert {key.rpartition("/")[0] for key in files} == {
        f"processed/historical/date=2012-12-28/symbol={symbol}" for symbol in symbols
    }
    assert tables.read("market_test", DAILY_ANALYTICS).schema.types == arrow_schema(DAILY_ANALYTICS.columns).types
    (snapshot,) = snapshots(tables)
    assert snapshot.summary.additional_properties[RUN_ID] == "run 1"
    assert record.snapshots["daily_analytics"] == snapshot.snapshot_id


def test_a_run_without_new_facts_commits_nothing(recorded, process, stored, tables):
    recorded("run 1", DAY, START, "AAPL", "IBM")
    first = process("run 1", DAY)
    before = stored()
    again = process("run 1", DAY)
    assert (again.symbols, again.snapshots) == (first.symbols, first.snapshots)
    recorded(
        "run 2",
        DAY + timedelta(days=1),
        START,
        "AAPL",
        "IBM",
        change=lambda bars: bars.assign(close=bars["close"] * (1 + 4e-7)),
    )
    other = process("run 2", DAY + timedelta(days=1))
    assert other.notes == ("2 of 2 symbols have nothing new and were left alone",)
    assert len(snapshots(tables)) == 1
    assert stored().equals(before)


def test_only_symbols_with_new_facts_are_replaced_in_one_commit(recorded, process, stored, tables):
    next_day = date(2012, 12, 31)
    recorded("run 1", DAY, START, "AAPL", "IBM", "MSFT")
    process("run 1", DAY)
    before = stored("IBM")
    recorded("run 2", next_day, START, "AAPL", "MSFT")
    recorded("run 3", DAY, START, "IBM")
    record = process("run 2", next_day)
    assert record.notes == ()
    assert len(snapshots(tables)) == 2
    for symbol in ("AAPL", "MSFT"):
        check_against_talib(stored(symbol), symbol, START, next_day)
        assert set(stored(symbol)["batch_date"]) == {next_day}
    assert process("run 3", DAY).symbols["IBM"].rows == len(before)
    assert stored("IBM").equals(before)


def test_a_revised_close_changes_what_comes_after_it(recorded, process, stored):
    """The newest close was provisional in the first batch: the other 251 sessions must not be scaled by it."""
    earlier = date(2012, 12, 27)

    def provisional(bars):
        wrong = bars["session_date"].dt.date == earlier
        return bars.assign(close=bars["close"].where(~wrong, bars["close"] * 1.1), high=bars["high"] * 1.2)

    recorded("run 1", earlier, START, "IBM", change=lambda bars: provisional(bars).assign(high=bars["high"]))
    process("run 1", earlier)
    assert stored("IBM")["close"].iloc[-1] == pytest.approx(1.1 * recording()["IBM"].until(earlier).close[-1])
    recorded("run 2", DAY, START, "IBM")
    process("run 2", DAY)
    check_against_talib(stored("IBM"), "IBM", START, DAY)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_split_leaves_no_step_and_the_order_of_dates_does_not_matter(recorded, process, stored, order):
    runs = [("run 1", BEFORE, date(2004, 2, 26)), ("run 2", SPLIT, date(2004, 3, 1))]
    for number in order:
        run_id, day, first = runs[number]
        recorded(run_id, day, first, "AAPL", "IBM")
        process(run_id, day)
    for symbol in ("AAPL", "IBM"):
        check_against_talib(stored(symbol), symbol, date(2004, 2, 26), SPLIT)
    closes = stored("AAPL").set_index("session_date")["close"]
    assert closes[date(2004, 2, 27)] == pytest.approx(23.92 / 2)  # as traded 23.92; halved by the split of 2005
    assert (closes.pct_change().iloc[1:].abs() < 0.2).all()


def test_the_rows_of_each_night_are_what_is_read_as_of_it(recorded, process, stored, tables):
    """Over a split: what the table had then, from the facts alone, later."""
    nights = [(date(2005, 2, 24), "run 1"), (BEFORE, "run 2"), (SPLIT, "run 3"), (date(2005, 3, 1), "run 4")]
    then = {}
    for day, run_id in nights:
        recorded(run_id, day, date(2004, 2, 26), "AAPL", "IBM")
        process(run_id, day)
        then[day] = {symbol: stored(symbol) for symbol in ("AAPL", "IBM")}
    for symbol in ("AAPL", "IBM"):
        versions = history.read(tables, [symbol], Source.REPLAY)[symbol]
        for day, _ in nights:
            found = history.analytics(versions, as_of=moment(str(day))).to_pandas()
            expected = then[day][symbol][found.columns]
            for name in found:
                same = {"rtol": 1e-9} if name in ("log_return", "volatility_20") else {"check_exact": True}
                pd.testing.assert_series_equal(found[name], expected[name], check_dtype=False, **same)
    assert then[BEFORE]["AAPL"]["close"].iloc[-1] > 1.5 * then[SPLIT]["AAPL"]["close"].iloc[-2]


def test_a_short_batch_is_based_on_the_whole_stored_history(recorded, process, stored):
    middle = date(2012, 11, 30)
    recorded("run 1", middle, date(2011, 12, 1), "IBM")
    process("run 1", middle)
    recorded("run 2", DAY, date(2012, 12, 3), "IBM")
    process("run 2", DAY)
    check_against_talib(stored("IBM"), "IBM", date(2011, 12, 1), DAY)


def test_lost_analytics_are_computed_anew(recorded, process, stored, tables):
    recorded("run 1", DAY, START, "AAPL", "IBM")
    process("run 1", DAY)
    before = stored()
    tables.replace(
        "market_test",
        DAILY_ANALYTICS,
        "loss",
        arrow_schema(DAILY_ANALYTICS.columns).empty_table(),
        matching(symbol=["IBM"]),
    )
    assert process("run 1", DAY).notes == ("1 of 2 symbols have nothing new and were left alone",)
    assert stored().equals(before)


def test_rows_that_were_changed_by_hand_are_computed_anew(recorded, process, stored, tables):
    recorded("run 1", DAY, START, "IBM")
    process("run 1", DAY)
    before = stored()
    rows = tables.read("market_test", DAILY_ANALYTICS)
    tables.replace("market_test", DAILY_ANALYTICS, "hand", rows.slice(1), matching(symbol=["IBM"]))
    process("run 1", DAY)
    assert stored().equals(before)


def test_symbols_of_two_sources_are_stored_side_by_side(recorded, process, stored):
    recorded("run 1", DAY, START, "IBM")
    recorded("run 2", DAY, date(2012, 6, 1), "IBM", source=Source.SIMULATED)
    process("run 1", DAY)
    before = stored("IBM")
    process("run 2", DAY)
    assert stored("IBM", source=["replay"]).equals(before)
    assert stored("IBM", source=["simulated"])["session_date"].iloc[0] == date(2012, 6, 1)
    recorded("run 3", DAY, START, "IBM", source=Source.YAHOO)
    process("run 3", DAY)
    assert len(stored("IBM", namespace="market")) == len(before)
    assert stored("IBM", source=["replay"]).equals(before)


def test_a_batch_of_many_parts_writes_the_same_rows(recorded, process, stored, tables):
    recorded("run 1", DAY, START, "AAPL", "FB", "IBM", "MSFT")
    process("run 1", DAY)
    one = stored()
    tables.replace(
        "market_test",
        DAILY_ANALYTICS,
        "loss",
        arrow_schema(DAILY_ANALYTICS.columns).empty_table(),
        matching(source=["replay"]),
    )
    process("run 1", DAY, rows_per_part=100)
    assert stored().equals(one)


def test_a_date_without_any_row_needs_no_spark(recorded, process, stored):
    recorded("run 1", DAY, START, without={"NOPE": SymbolStatus.UNKNOWN})
    record = process("run 1", DAY)
    assert (record.rows_out, record.symbols["NOPE"].rows) == (0, 0)
    assert stored().empty


def test_a_held_symbol_is_left_out_and_what_was_known_of_it_stays(recorded, process, stored):
    recorded("run 1", DAY, START, "AAPL", "IBM")
    process("run 1", DAY)
    before = stored("IBM")
    next_day = date(2012, 12, 31)
    recorded("run 2", next_day, START, "AAPL", "IBM", "FB", held=("IBM", "FB"))
    record = process("run 2", next_day)
    assert record.held_symbols() == {"IBM": ("odd",), "FB": ("odd",)}
    assert record.rows_out == record.symbols["AAPL"].rows == len(stored("AAPL"))
    assert stored("IBM").equals(before)
    assert stored("FB").empty


def test_a_run_that_is_not_ready_is_rejected(recorded, process, tables):
    recorded("run 1", DAY, START, "IBM")
    with pytest.raises(ConfigurationError, match="not of --date 2012-12-27"):
        process("run 1", date(2012, 12, 27))
    with pytest.raises(ConfigurationError, match="run that stage first"):
        process("never run", DAY)
    tables._catalog().drop_table(("market_test", DAILY_BARS.name))
    with pytest.raises(IntegrityError, match="no facts of IBM are recorded: run validate-raw again"):
        process("run 1", DAY)


def test_of_two_runs_that_replace_a_symbol_at_once_one_fails(recorded, process, stored, monkeypatch):
    recorded("run 1", DAY, START, "IBM", "AAPL")
    process("run 1", DAY)
    next_day = date(2012, 12, 31)
    recorded("run 2", next_day, START, "IBM")
    real, inner = Lake.replace, []

    def late(self, *arguments):
        if not inner:
            inner.append(True)
            process("run 2", next_day)
        real(self, *arguments)

    monkeypatch.setattr(Lake, "replace", late)
    with pytest.raises(StageError, match="Spark failed to compute") as caught:
        process("run 2", next_day)
    assert "\n" not in str(caught.value)
    whole = stored("IBM")
    check_against_talib(whole, "IBM", START, next_day)
    process("run 2", next_day)
    assert stored("IBM").equals(whole)


def test_a_lake_of_a_former_version_is_rejected(recorded, process, store, tables):
    recorded("run 1", DAY, START, "IBM")
    store.put("processed/historical/_manifests/date=2012-12-27.json", b"{}")
    with pytest.raises(ConfigurationError, match="was filled by a version without tables"):
        process("run 1", DAY)
    assert tables.version("market_test", DAILY_ANALYTICS) is None


def test_three_engines_read_the_same_rows(recorded, process, stored, tables, catalog_settings, store_settings):
    """PyIceberg, Spark, and Polars with its own Parquet reader, each before and after a symbol was replaced."""
    next_day = date(2012, 12, 31)
    options = {
        "aws_endpoint_url": store_settings.endpoint,
        "aws_allow_http": "true",
        "aws_region": store_settings.region,
        "aws_access_key_id": store_settings.access_key.get_secret_value(),
        "aws_secret_access_key": store_settings.secret_key.get_secret_value(),
    }
    columns = [column.name for column in DAILY_ANALYTICS.columns]
    for run_id, day in (("run 1", DAY), ("run 2", next_day)):
        recorded(run_id, day, START, "AAPL", "IBM")
        process(run_id, day)
        session = with_catalog(
            build_session("tests", SparkSettings(), store_settings), catalog_settings, store_settings
        )
        spark = session.table("ticklake.market_test.daily_analytics").select(*columns).toArrow()
        there = tables._load("market_test", DAILY_ANALYTICS)
        frame = pl.scan_iceberg(there, reader_override="native", storage_options=options).collect()
        found = [
            rows.select(columns)
            .cast(arrow_schema(DAILY_ANALYTICS.columns))
            .sort_by([("symbol", "ascending"), ("session_date", "ascending")])
            for rows in (tables.read("market_test", DAILY_ANALYTICS), spark, frame.to_arrow())
        ]
        assert found[0].num_rows == len(stored())
        assert found[0].equals(found[1])
        assert found[0].equals(found[2])


@pytest.mark.parametrize("symbol", ["M&M.NS", "^GSPC", "EURUSD=X", "O'X"])
def test_a_symbol_with_other_characters_has_a_history_too(recorded, process, stored, symbol):
    for run_id, first, day in (("run 1", START, date(2012, 12, 27)), ("run 2", date(2012, 12, 3), DAY)):
        recorded(run_id, day, first, "IBM", under=(symbol,))
        process(run_id, day)
    check_against_talib(stored(symbol), "IBM", START, DAY)


def test_the_batch_goes_on_after_maintenance(recorded, process, stored, tables, store_settings, catalog_settings):
    """Spark reads and replaces what PyIceberg has put together, tagged and let go."""
    days = [date(2012, 12, day) for day in (24, 26, 27)]
    for number, day in enumerate(days):
        recorded(f"run {number}", day, START, "AAPL", "IBM")
        process(f"run {number}", day)
    before = stored()
    settings = MaintenanceSettings(store=store_settings, catalog=catalog_settings, compact_least_files=2)
    done = maintain(settings, "upkeep", datetime.now(UTC).date() + timedelta(days=200))
    assert {each.table: each.compacted for each in done.tables}["market_test.daily_bars"] == 3
    assert "month-" in " ".join(tables._load("market_test", DAILY_ANALYTICS).metadata.refs)
    assert stored().equals(before)
    recorded("run 3", DAY, START, "AAPL", "IBM")
    process("run 3", DAY)
    for symbol in ("AAPL", "IBM"):
        check_against_talib(stored(symbol), symbol, START, DAY)
    maintain(settings, "upkeep", datetime.now(UTC).date() + timedelta(days=200))
    assert process("run 3", DAY).rows_out == len(stored())
