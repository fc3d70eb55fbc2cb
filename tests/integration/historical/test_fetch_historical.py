"""fetch-historical against the real broker and store: what it stores, sends, rejects and repeats."""

import json
from datetime import date

import pytest
from pydantic import HttpUrl

from fetch_historical.answer_store import SourceUnavailableError, from_parquet
from fetch_historical.replay_server import Faults, served
from fetch_historical.settings import SimulatedSettings, YahooSettings
from ticklake import keys, symbols, topics
from ticklake.errors import ConfigurationError, ExitCode
from ticklake.kafka import end_offsets
from ticklake.lineage import OffsetRange
from ticklake.quarantine import QuarantinedMessage, read_object
from ticklake.records import Source, SymbolStatus

YEAR = (date(2012, 3, 2), date(2013, 3, 1))
QUICK = {"timeout_seconds": 5, "attempts": 3, "backoff_base_seconds": 0.01, "backoff_cap_seconds": 0.05}


def quick(url: str, **more: float) -> YahooSettings:
    return YahooSettings(endpoint=HttpUrl(url), **(QUICK | more))


def bars_of(found, run_id):
    decoded = [json.loads(message.value) for message in found]
    return [one for one in decoded if one["kind"] == "daily_bar" and one["batch_id"] == run_id]


def test_replay_sends_the_recorded_bars_and_then_the_trailers(fetch, messages, recorded, run_id, store):
    record = fetch()
    found = messages(record.offsets)
    bars = bars_of(found, run_id)
    for symbol in ("AAPL", "FB", "GOOG", "IBM", "MSFT"):
        expected = recorded(symbol, *YEAR)
        got = [bar for bar in bars if bar["symbol"] == symbol]
        # No symbol was split in this year, so the bars are as traded.
        for theirs in ("Open", "High", "Low", "Close"):
            assert [bar[theirs.lower()] for bar in got] == [float(row[theirs]) for row in expected]
        assert [bar["session_date"] for bar in got] == [row["Date"] for row in expected]
        assert [bar["volume"] for bar in got] == [int(row["Volume"]) for row in expected]
        assert [bar["sequence"] for bar in got] == list(range(len(expected)))
        assert record.symbols[symbol].rows == len(expected)
    assert (record.rows_in, record.rows_out, record.quarantined) == (1196, 1196, 0)
    # A trailer is the last message of its symbol, with the symbol as key.
    for symbol in record.symbols:
        own = [message for message in found if message.key == symbol.encode()]
        last = json.loads(own[-1].value)
        assert len({message.partition for message in own}) == 1
        assert (last["kind"], last["row_count"]) == ("batch_trailer", record.symbols[symbol].rows)
        assert last["batch_symbols"] == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    # The dividends of 2012 as the companies announced them.
    paid = {(bar["symbol"], bar["session_date"]): bar["dividends"] for bar in bars if bar["dividends"]}
    assert paid["AAPL", "2012-08-09"] == 2.65
    assert paid["MSFT", "2012-11-13"] == 0.23
    assert paid["IBM", "2012-05-08"] == 0.85
    assert all(part.topic == topics.BATCH_TOPIC for part in record.offsets)
    metadata = store.metadata(keys.source_answer_key(run_id, "AAPL"))
    assert (metadata["status"], metadata["source"], metadata["rows"]) == ("ok", "replay", "250")


def test_a_retry_sends_the_same_bytes_without_asking_again(fetch, messages, run_id):
    def sent(record):
        return sorted((message.key, message.value) for message in messages(record.offsets))

    with served() as server:
        options = {"source": Source.YAHOO, "symbols": ("IBM", "FB"), "yahoo": quick(server.url)}
        first = fetch(**options)
        asked = len(server.chart_requests)
        second = fetch(**options)
        assert len(server.chart_requests) == asked
    assert sent(first) == sent(second)
    assert first.symbols == second.symbols
    assert {(part.partition, part.last) for part in first.offsets} != {
        (part.partition, part.last) for part in second.offsets
    }


def test_a_retry_that_asks_for_something_else_is_rejected(fetch):
    fetch(symbols=("IBM",))
    with pytest.raises(ConfigurationError, match="repeat it as it began, or use a new --run-id"):
        fetch(symbols=("IBM", "FB"))
    with pytest.raises(ConfigurationError, match="source replay, not simulated"):
        fetch(source=Source.SIMULATED, symbols=("IBM",))


def test_an_unknown_and_a_delisted_symbol_do_not_stop_the_others(fetch, messages, run_id):
    with served(faults=Faults(delisted={"IBM": date(2010, 6, 30)}, empty=frozenset({"FB"}))) as server:
        record = fetch(source=Source.YAHOO, symbols=("MSFT", "NOSUCH", "IBM", "FB"), yahoo=quick(server.url))
    status = {symbol: result.status for symbol, result in record.symbols.items()}
    assert status == {
        "MSFT": SymbolStatus.OK,
        "NOSUCH": SymbolStatus.UNKNOWN,
        "IBM": SymbolStatus.DELISTED,
        "FB": SymbolStatus.EMPTY,
    }
    assert record.rows_out == record.symbols["MSFT"].rows == 250
    trailers = {
        one["symbol"]: one
        for one in (json.loads(message.value) for message in messages(record.offsets))
        if one["kind"] == "batch_trailer"
    }
    assert {symbol: trailer["row_count"] for symbol, trailer in trailers.items()} == {
        "MSFT": 250,
        "NOSUCH": 0,
        "IBM": 0,
        "FB": 0,
    }
    assert trailers["IBM"]["status"] == "delisted"
    assert any("NOSUCH is unknown: No data found" in note for note in record.notes)
    assert any("IBM is delisted: its last trade was on 2010-06-30" in note for note in record.notes)


def test_no_symbol_with_rows_is_unusable_input(fetch, run_id, store):
    with served() as server, pytest.raises(ConfigurationError, match="NOSUCH is unknown") as caught:
        fetch(source=Source.YAHOO, symbols=("NOSUCH",), yahoo=quick(server.url))
    assert caught.value.exit_code == ExitCode.UNUSABLE
    with pytest.raises(ConfigurationError, match="from 2000-03-01 to 2013-03-01"):
        fetch(day=date(2014, 6, 2), the_run="another")


def test_rate_limit_then_success(fetch):
    with served(faults=Faults(failures=3, retry_after="0")) as server:
        record = fetch(source=Source.YAHOO, symbols=("IBM",), yahoo=quick(server.url))
        assert len(server.chart_requests) > 3
    assert record.rows_out == 250


@pytest.mark.parametrize(
    "faults",
    [Faults(failures=10_000), Faults(failures=10_000, failure_status=503), Faults(failures=10_000, failure_status=200)],
)
def test_a_lasting_failure_stores_nothing_and_can_be_retried(fetch, store, run_id, faults):
    with served(faults=faults) as server:
        options = {"source": Source.YAHOO, "symbols": ("IBM", "FB"), "yahoo": quick(server.url, attempts=2)}
        with pytest.raises(SourceUnavailableError, match="no answer for IBM, FB") as caught:
            fetch(**options)
        assert caught.value.exit_code == ExitCode.FAILED
        assert list(store.list_objects("")) == []
        server.faults.failures = 0
        assert fetch(**options).rows_out == 250 + 196


def test_a_timeout_ends_with_exit_1_and_keeps_what_it_has(fetch, store, run_id):
    with served() as server:
        options = {"source": Source.YAHOO, "yahoo": quick(server.url, timeout_seconds=0.3, attempts=1)}
        fetch(symbols=("IBM",), the_run="warm", **options)
        server.faults.delay_seconds = 2
        with pytest.raises(SourceUnavailableError, match="does not answer"):
            fetch(symbols=("IBM", "FB", "AAPL"), **options)
        # After two symbols without any answer the third is not tried.
        assert not any("AAPL" in request for request in server.chart_requests)
        assert not list(store.list_objects(keys.source_answer_key(run_id, "").removesuffix(".parquet")))


def test_only_what_is_missing_is_asked_again(fetch):
    with served() as server:
        options = {"source": Source.YAHOO, "symbols": ("IBM", "FB"), "yahoo": quick(server.url, attempts=1)}
        server.take_failure = lambda path: server.chart_requests.append(path) or "/FB" in path  # type: ignore[func-returns-value]
        with pytest.raises(SourceUnavailableError, match="no answer for FB"):
            fetch(**options)
        del server.take_failure
        server.chart_requests.clear()
        assert fetch(**options).rows_out == 446
        assert server.chart_requests
        assert all("/FB" in request for request in server.chart_requests)


def test_bad_rows_are_quarantined_with_their_original(fetch, store, run_id, inject_row, messages, kafka_settings):
    """A source that sends NaN, a high below the low and a day without a session."""
    positions = inject_row(run_id, "IBM", {3: {"close": float("nan")}, 7: {"high": 1.0}, 9: {"volume": -5.0}})
    begin = end_offsets(kafka_settings, topics.QUARANTINE_TOPIC)[0]
    record = fetch(symbols=("IBM",))
    assert (record.rows_in, record.rows_out, record.quarantined) == (250, 247, 3)
    sent = messages((OffsetRange(topic=topics.QUARANTINE_TOPIC, partition=0, first=begin, last=begin + 2),))
    assert len(record.symbols["IBM"].missing_sessions) == 3
    (kept,) = store.list_objects(keys.quarantined_rows_prefix(run_id, "IBM"))
    stored = read_object(store, kept.key)
    assert [one.position for one in stored] == positions
    assert [QuarantinedMessage.model_validate_json(message.value) for message in sent] == stored
    originals = [json.loads(one.original) for one in stored]
    assert (originals[0]["close"], originals[1]["high"], originals[2]["volume"]) == ("nan", 1.0, -5.0)
    assert "close" in stored[0].reason
    assert "below low" in stored[1].reason
    assert "volume" in stored[2].reason
    fetch(symbols=("IBM",))
    # A retry writes the same object.
    assert [found.key for found in store.list_objects(keys.QUARANTINE)] == [kept.key]


def test_the_ten_symbols_simulated(fetch, messages, run_id):
    record = fetch(day=date(2025, 12, 31), source=Source.SIMULATED, simulated=SimulatedSettings(extra_symbols=2))
    # The exchange's calendar for 2025: 261 weekdays less 10 holidays and the day of mourning of 9 January.
    assert {result.rows for result in record.symbols.values()} == {250}
    assert list(record.symbols) == [*symbols.BATCH_SYMBOLS, "SIM0001", "SIM0002"]
    assert record.rows_out == 3000
    assert {bar["source"] for bar in bars_of(messages(record.offsets), run_id)} == {"simulated"}


def test_the_answer_is_stored_as_it_came(fetch, store, run_id, recorded):
    fetch(symbols=("GOOG",))
    answer = from_parquet(store.get(keys.source_answer_key(run_id, "GOOG")))
    assert answer.rows.column("close").to_pylist() == [float(row["Close"]) for row in recorded("GOOG", *YEAR)]


def test_exit_codes_and_one_line(program, run_id):
    broken = program(
        "fetch-historical",
        run_id,
        TICKLAKE_SOURCE="replay",
        TICKLAKE_KAFKA_TIMEOUT_SECONDS="2",
        TICKLAKE_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9",
    )
    assert (broken.returncode, len(broken.stderr.splitlines())) == (1, 1), broken.stderr
    assert "is the broker up" in broken.stderr
    rejected = program("fetch-historical", run_id + "x", TICKLAKE_SOURCE="replay", TICKLAKE_STORE_SECRET_KEY="wrong")
    assert (rejected.returncode, len(rejected.stderr.splitlines())) == (2, 1), rejected.stderr
    assert "TICKLAKE_STORE_SECRET_KEY" in rejected.stderr


def test_works_where_home_is_read_only(program, run_id, tmp_path):
    tmp_path.chmod(0o500)
    done = program("fetch-historical", run_id, TICKLAKE_SOURCE="replay", HOME=str(tmp_path / "none"))
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
