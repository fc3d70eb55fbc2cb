"""daily-analytics against the real store: exact rows, one date at a time, history in one price basis."""

import hashlib
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import talib

from daily_analytics import writing
from fetch_historical.recordings import adjust
from fetch_historical.recordings import recorded as recording
from ticklake import lineage, manifests
from ticklake.errors import ConfigurationError, IntegrityError, StageError
from ticklake.names import lineage_key
from ticklake.records import Source, SymbolStatus, batch_checksum
from ticklake.tables import DAILY_COLUMNS

DAY = date(2012, 12, 28)
START = date(2012, 1, 3)


def keys(store, prefix="processed/"):
    return {found.key for found in store.list_objects(prefix)}


def check_against_talib(rows, symbol, first, last):
    """The rows of `symbol` must be TA-Lib's over the real bars from `first` to `last`, on the basis of `last`."""
    known = adjust(recording()[symbol].until(last))
    start = next(place for place, session in enumerate(known.sessions) if session >= first)
    factor = known.adj_close / known.close
    high, low, close = ((part * factor)[start:] for part in (known.high, known.low, known.close))
    macd, signal, hist = talib.MACD(close)
    expected = {
        "adj_close": close, "sma_5": talib.SMA(close, 5), "sma_200": talib.SMA(close, 200),
        "ema_26": talib.EMA(close, 26), "macd": macd, "macd_signal": signal, "macd_hist": hist,
        "rsi_14": talib.RSI(close, 14), "atr_14": talib.ATR(high, low, close, 14), "high_52w": talib.MAX(high, 252),
        "obv": talib.OBV(close, known.volume[start:].astype("float64")),
        "history_sessions": np.arange(1.0, len(close) + 1),
    }  # fmt: skip
    for name, values in expected.items():
        wanted = np.asarray(values)[-len(rows) :]
        # Differences of prices that are close to each other lose digits when both are first brought to another basis.
        np.testing.assert_allclose(rows[name].to_numpy("float64"), wanted, rtol=1e-9, atol=1e-10, err_msg=name)


def test_files_hold_exactly_the_bars_and_the_manifest_names_them(consumed, process, store, real_bars, stored):
    bars = {symbol: real_bars(symbol, START, DAY, run_id="run 1") for symbol in ("AAPL", "IBM", "FB")}
    before = consumed("run 1", DAY, bars, without={"NOPE": SymbolStatus.UNKNOWN, "GONE": SymbolStatus.DELISTED})
    record = process("run 1", DAY)

    assert (record.rows_in, record.rows_out, record.quarantined) == (before.rows_out,) * 2 + (0,)
    assert record.symbols == before.symbols
    assert record.symbols["NOPE"].status is SymbolStatus.UNKNOWN
    manifest = manifests.read_daily(store, DAY)
    assert manifest.objects == record.objects
    assert manifest.fetched_at == datetime(2012, 12, 28, 22, 30, 15, 250_000, tzinfo=UTC)
    assert {ref.key.rpartition("/")[0] for ref in record.objects} == {
        f"processed/historical/date=2012-12-28/symbol={symbol}" for symbol in bars
    }
    assert keys(store, "processed/historical/date=") == {ref.key for ref in record.objects}
    rows = stored(DAY)
    assert rows.columns.tolist() == [column.name for column in DAILY_COLUMNS if column.name != "symbol"] + ["ticker"]
    for symbol, mine in bars.items():
        there = rows[rows["ticker"] == symbol]
        for name in ("session_date", "open", "high", "low", "close", "adj_close", "volume", "dividends", "sequence"):
            assert there[name].tolist() == [getattr(bar, name) for bar in mine], name
        assert there["row_hash"].tolist() == [bar.row_hash() for bar in mine]
        assert set(there["fetched_at"]) == {mine[0].fetched_at}
        check_against_talib(there, symbol, START, DAY)
        span = manifest.spans[symbol]
        assert (span.first, span.last, span.rows) == (mine[0].session_date, DAY, len(mine))


def test_columns_have_the_types_that_the_tables_say(consumed, process, store, real_bars):
    consumed("run 1", DAY, {"IBM": real_bars("IBM", START, DAY, run_id="run 1")})
    (ref,) = process("run 1", DAY).objects
    schema = pq.read_schema(pa.BufferReader(store.get(ref.key)))
    kinds = {
        "string": pa.string(), "date": pa.date32(), "timestamp": pa.timestamp("us", tz="UTC"), "double": pa.float64(),
        "bigint": pa.int64(), "int": pa.int32(),
    }  # fmt: skip
    for column in DAILY_COLUMNS:
        if column.name != "symbol":
            assert schema.field(column.name).type == kinds[column.type], column.name


def test_a_second_run_replaces_its_date_and_nothing_else(consumed, process, store, real_bars, stored):
    other = DAY - timedelta(days=7)
    consumed("other", other, {"IBM": real_bars("IBM", START, other, run_id="other")})
    process("other", other)
    untouched = {key: store.get(key) for key in keys(store)}

    bars = {symbol: real_bars(symbol, START, DAY, run_id="run 1") for symbol in ("AAPL", "IBM")}
    consumed("run 1", DAY, bars)
    first = process("run 1", DAY)
    before = stored(DAY)
    again = process("run 1", DAY)
    assert stored(DAY).equals(before)
    assert again.symbols == first.symbols
    assert not {ref.key for ref in first.objects} & {ref.key for ref in again.objects}
    assert keys(store, f"processed/historical/date={DAY}/") == {ref.key for ref in again.objects}

    # A later run for the date with one symbol fewer: what the date held of the other is gone.
    later = datetime(2012, 12, 29, 10, tzinfo=UTC)
    consumed("run 2", DAY, {"IBM": real_bars("IBM", START, DAY, run_id="run 2", fetched_at=later)})
    process("run 2", DAY)
    assert set(stored(DAY)["ticker"]) == {"IBM"}
    assert set(stored(DAY)["batch_id"]) == {"run 2"}
    assert {key: store.get(key) for key in untouched} == untouched


def test_a_crash_leaves_readers_with_the_old_or_the_new(consumed, process, store, real_bars, stored, monkeypatch):
    consumed("run 1", DAY, {"IBM": real_bars("IBM", START, DAY, run_id="run 1")})
    process("run 1", DAY)
    old = stored(DAY)
    later = datetime(2012, 12, 29, 10, tzinfo=UTC)
    consumed("run 2", DAY, {"IBM": real_bars("IBM", date(2012, 3, 1), DAY, run_id="run 2", fetched_at=later)})

    with monkeypatch.context() as patch:
        patch.setattr(writing, "switch", crash)
        with pytest.raises(Crash):
            process("run 2", DAY)
    assert stored(DAY).equals(old)
    assert len(keys(store, f"processed/historical/date={DAY}/")) == 2

    with monkeypatch.context() as patch:
        patch.setattr(writing, "remove", crash)
        with pytest.raises(Crash):
            process("run 2", DAY)
    assert set(stored(DAY)["batch_id"]) == {"run 2"}
    new = stored(DAY)

    record = process("run 2", DAY)
    assert stored(DAY).equals(new)
    assert keys(store, f"processed/historical/date={DAY}/") == {ref.key for ref in record.objects}


class Crash(Exception):
    pass


def crash(*_):
    raise Crash


def test_stored_history_fills_the_windows_of_a_short_batch(consumed, process, real_bars, stored):
    middle = date(2012, 11, 30)
    consumed("run 1", middle, {"IBM": real_bars("IBM", date(2011, 12, 1), middle, run_id="run 1")})
    process("run 1", middle)
    consumed("run 2", DAY, {"IBM": real_bars("IBM", date(2012, 11, 26), DAY, run_id="run 2")})
    process("run 2", DAY)
    rows = stored(DAY)
    assert rows["session_date"].iloc[0] == date(2012, 11, 26)
    assert rows["sma_200"].notna().all()
    check_against_talib(rows, "IBM", date(2011, 12, 1), DAY)


def test_a_split_and_dividends_restate_the_history(consumed, process, real_bars, stored):
    """Apple split 2:1 on 2005-02-28; IBM paid a dividend on 2005-02-08, Microsoft one on 2005-02-15."""
    symbols, first, split = ("AAPL", "IBM", "MSFT"), date(2003, 6, 2), date(2005, 2, 28)
    for run_id, start, last in (
        ("oldest", first, date(2004, 8, 31)),
        ("older", date(2004, 3, 1), date(2005, 2, 4)),
        ("newest", date(2005, 1, 31), date(2005, 3, 31)),
    ):
        consumed(run_id, last, {symbol: real_bars(symbol, start, last, run_id=run_id) for symbol in symbols})
        process(run_id, last)
    # As traded the price halves; in either batch it does not.
    before = stored(date(2005, 2, 4), "AAPL")["close"].iloc[-1]
    after = stored(date(2005, 3, 31), "AAPL")
    assert after["close"].iloc[4] == before / 2
    assert after["stock_splits"][after["session_date"] == split].item() == 2
    for symbol in symbols:
        check_against_talib(stored(date(2005, 3, 31), symbol), symbol, first, date(2005, 3, 31))


def test_history_without_a_session_in_common_is_left_out_and_named(consumed, process, real_bars, stored):
    middle = date(2012, 11, 30)
    consumed("run 1", middle, {"IBM": real_bars("IBM", START, middle, run_id="run 1")})
    process("run 1", middle)
    consumed("run 2", DAY, {"IBM": real_bars("IBM", date(2012, 12, 3), DAY, run_id="run 2")})
    record = process("run 2", DAY)
    assert stored(DAY)["history_sessions"].tolist() == list(range(1, 20))
    assert len(record.notes) == 1
    assert record.notes[0].startswith("IBM: stored history ends just before")


def test_a_batch_of_many_parts_writes_the_same_rows(consumed, process, real_bars, stored):
    consumed("run 1", DAY, {s: real_bars(s, START, DAY, run_id="run 1") for s in ("AAPL", "FB", "IBM", "MSFT")})
    process("run 1", DAY)
    one = stored(DAY)
    process("run 1", DAY, rows_per_part=100)
    assert stored(DAY).equals(one)


def test_a_date_without_any_row_needs_no_spark(consumed, process, store):
    consumed("run 1", DAY, {}, without={"NOPE": SymbolStatus.UNKNOWN})
    record = process("run 1", DAY)
    assert record.rows_out == 0
    assert record.symbols["NOPE"].checksum == batch_checksum(())
    assert manifests.read_daily(store, DAY).objects == ()


def test_what_must_not_be_replaced_is_refused(consumed, process, store, real_bars, stored):
    consumed(
        "real", DAY, {"IBM": real_bars("IBM", START, DAY, run_id="real", source=Source.YAHOO)}, source=Source.YAHOO
    )
    process("real", DAY)
    held, objects = stored(DAY), keys(store)
    later = datetime(2013, 1, 2, tzinfo=UTC)
    consumed("replayed", DAY, {"IBM": real_bars("IBM", START, DAY, run_id="replayed", fetched_at=later)})
    with pytest.raises(ConfigurationError, match="choose another date or data folder"):
        process("replayed", DAY)
    earlier = datetime(2012, 12, 28, 21, tzinfo=UTC)
    old = real_bars("IBM", START, DAY, run_id="old", source=Source.YAHOO, fetched_at=earlier)
    consumed("old", DAY, {"IBM": old}, source=Source.YAHOO)
    with pytest.raises(ConfigurationError, match="newer than this one"):
        process("old", DAY)
    with pytest.raises(ConfigurationError, match="not for --date 2012-12-27"):
        process("old", date(2012, 12, 27))
    with pytest.raises(ConfigurationError, match="run that stage first"):
        process("never run", DAY)
    assert stored(DAY).equals(held)
    assert keys(store) == objects


def test_a_raw_object_that_changed_is_found(consumed, process, store, real_bars):
    record = consumed("run 1", DAY, {"IBM": real_bars("IBM", START, DAY, run_id="run 1")})
    key = record.objects[0].key
    body = store.get(key)
    store.put(key, body.replace(b"2012-01-03,", b"2012-01-04,", 1))
    with pytest.raises(IntegrityError, match="was changed"):
        process("run 1", DAY)
    store.delete(key)
    with pytest.raises(IntegrityError, match="is gone"):
        process("run 1", DAY)
    assert not [key for key in keys(store) if key.endswith("parquet")]


@pytest.mark.parametrize(("old", "new"), [(b",5,2012-12-28T", b",5,6,2012-12-28T"), (b"0.0,USD,", b"zero,USD,")])
def test_a_row_that_does_not_fit_the_schema_fails_the_stage_in_one_line(consumed, process, store, real_bars, old, new):
    record = consumed("run 1", DAY, {"IBM": real_bars("IBM", START, DAY, run_id="run 1")})
    (ref,) = record.objects
    body = store.get(ref.key).replace(old, new, 1)
    store.put(ref.key, body)
    changed = ref.model_copy(update={"sha256": hashlib.sha256(body).hexdigest()})
    lineage.write(store, record.model_copy(update={"objects": (changed,)}))
    with pytest.raises(StageError, match="Spark failed to compute") as caught:
        process("run 1", DAY)
    assert "\n" not in str(caught.value)
    assert ref.key in str(caught.value)
    assert manifests.read_daily(store, DAY) is None


def test_a_value_that_the_batch_did_not_bring_is_found(consumed, process, store, real_bars):
    record = consumed("run 1", DAY, {"IBM": real_bars("IBM", START, DAY, run_id="run 1")})
    (ref,) = record.objects
    first = str(recording()["IBM"].until(DAY).close[-1]).encode()
    body = store.get(ref.key)
    body = body.replace(first, first + b"1", 1)
    store.put(ref.key, body)
    changed = ref.model_copy(update={"sha256": hashlib.sha256(body).hexdigest()})
    lineage.write(store, record.model_copy(update={"objects": (changed,)}))
    with pytest.raises(IntegrityError):
        process("run 1", DAY)
    assert not [key for key in keys(store) if key.endswith("parquet")]


def test_a_held_symbol_is_left_out_and_what_was_known_of_it_stays(consumed, process, store, real_bars, stored):
    first = {symbol: real_bars(symbol, START, DAY, run_id="run 1") for symbol in ("AAPL", "IBM")}
    consumed("run 1", DAY, first)
    process("run 1", DAY)
    before = stored(DAY, "IBM")
    later = datetime(2012, 12, 29, 1, tzinfo=UTC)
    again = {
        symbol: real_bars(symbol, START, DAY, run_id="run 2", fetched_at=later) for symbol in ("AAPL", "IBM", "FB")
    }
    consumed("run 2", DAY, again, held=("IBM", "FB"))
    record = process("run 2", DAY)
    assert (record.rows_in, record.rows_out) == (len(again["AAPL"]),) * 2
    assert record.held_symbols() == {"IBM": ("odd",), "FB": ("odd",)}
    assert [ref.symbol for ref in record.objects] == ["AAPL"]
    rows = stored(DAY)
    assert set(rows["ticker"]) == {"AAPL", "IBM"}
    assert set(rows[rows["ticker"] == "AAPL"]["batch_id"]) == {"run 2"}
    assert stored(DAY, "IBM").equals(before)
    assert manifests.read_daily(store, DAY).spans.keys() == {"AAPL", "IBM"}


def test_a_batch_that_was_not_judged_is_refused(consumed, process, store, real_bars):
    bars = {"IBM": real_bars("IBM", START, DAY, run_id="run 1")}
    consumed("run 1", DAY, bars)
    judged = lineage.read(store, "run 1", "validate-raw")
    lineage.write(store, judged.model_copy(update={"rows_in": 1}))
    with pytest.raises(ConfigurationError, match="was consumed anew: run validate-raw again"):
        process("run 1", DAY)
    store.delete(lineage_key("run 1", "validate-raw"))
    with pytest.raises(ConfigurationError, match="has no result of validate-raw"):
        process("run 1", DAY)


@pytest.mark.parametrize("symbol", ["M&M.NS", "^GSPC", "EURUSD=X"])
def test_a_symbol_with_other_characters_has_a_history_too(consumed, process, real_bars, stored, symbol):
    earlier = date(2012, 12, 27)
    for run_id, first, day in (("run 1", START, earlier), ("run 2", date(2012, 12, 3), DAY)):
        bars = [bar.model_copy(update={"symbol": symbol}) for bar in real_bars("IBM", first, day, run_id=run_id)]
        consumed(run_id, day, {symbol: bars})
        assert process(run_id, day).symbols[symbol].rows == len(bars)
    assert stored(DAY, symbol)["history_sessions"].max() == len(real_bars("IBM", START, DAY, run_id="x"))
