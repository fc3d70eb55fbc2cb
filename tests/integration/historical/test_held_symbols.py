"""Nine good symbols and an odd one, from a server of Yahoo's format to the judged batch."""

import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from pydantic import HttpUrl
from yahoo_rig import HttpAnswer, answering, case, chart

from consume_historical.validate_stage import ValidateSettings, validate_run
from fetch_historical.answer_store import SourceUnavailableError, from_parquet
from fetch_historical.settings import YahooSettings
from ticklake import calendar, history, keys
from ticklake.batch_checks import QualityError
from ticklake.batch_stage import Run
from ticklake.catalog import LakeTables
from ticklake.errors import ExitCode
from ticklake.quarantine import messages_below
from ticklake.records import Source, SymbolStatus
from ticklake.tables import DAILY_BARS, arrow_schema

DAY = date(2026, 8, 7)
DAYS = calendar.sessions("XNYS", date(2026, 7, 20), DAY)
NINE = tuple(f"GOOD{n}" for n in range(9))
ASK = {"attempts": 2, "backoff_base_seconds": 0.01, "backoff_cap_seconds": 0.05, "timeout_seconds": 2}


def good(symbol: str) -> HttpAnswer:
    return chart(symbol, DAYS, [100.0 + n for n in range(len(DAYS))])


@pytest.fixture
def known(catalog_settings, store_settings):
    """Puts bars of an earlier batch into the table, in US dollars."""

    def put(symbol: str, *days: date) -> None:
        row = dict.fromkeys(("open", "high", "low", "close"), 100.0) | {
            "symbol": symbol,
            "known_at": datetime(2026, 8, 6, 22, tzinfo=UTC),
            "volume": 1000,
            "currency": "USD",
            "source": "yahoo",
            "batch_id": "earlier",
            "batch_date": DAYS[-2],
            "row_hash": "",
            "change": "first",
        }
        rows = pa.Table.from_pylist([row | {"session_date": day} for day in days], arrow_schema(DAILY_BARS.columns))
        tables = LakeTables(catalog_settings, store_settings)
        tables.ensure("market", DAILY_BARS)
        tables.append("market", DAILY_BARS, "earlier", lambda _: rows)

    return put


@pytest.fixture
def batch(fetch, consume, store_settings, catalog_settings, run_id):
    """Fetches nine good symbols and those given, and judges what came."""

    def run(odd: dict[str, HttpAnswer], *, judged: bool = True):
        with answering({symbol: good(symbol) for symbol in NINE} | odd) as (url, _):
            fetched = fetch(
                day=DAY, source=Source.YAHOO, symbols=(*NINE, *odd), yahoo=YahooSettings(endpoint=HttpUrl(url), **ASK)
            )
        if not judged:
            return fetched
        consume(day=DAY)
        settings = ValidateSettings(store=store_settings, catalog=catalog_settings)
        return fetched, validate_run(settings, Run(run_id, DAY))[0]

    return run


def trailer(messages, record, symbol):
    found = [json.loads(one.value) for one in messages(record.offsets) if one.key == symbol.encode()]
    assert [one["kind"] for one in found] == ["batch_trailer"]
    return found[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("split_recorded_not_applied", "not adjusted for it"),
        ("truncated_to_last_row", "250 sessions late"),
        ("answer_of_another_symbol", "the answer is of MSFT"),
        ("dividend_in_another_currency", "dividends in VND"),
    ],
)
def test_a_doubtful_answer_is_held_and_stored(batch, messages, store, run_id, name, reason):
    fetched, judged = batch({"AAPL": case(name)})
    part = fetched.symbols["AAPL"]
    rows = len(case(name).body["chart"]["result"][0]["timestamp"])
    assert (part.status, part.rows, part.held) == (SymbolStatus.HELD, 0, rows)
    assert any(reason in line for line in part.reasons)
    sent = trailer(messages, fetched, "AAPL")
    assert (sent["status"], sent["row_count"]) == ("held", 0)
    answer = from_parquet(store.get(keys.source_answer_key(run_id, "AAPL")))
    assert (answer.status, answer.rows.num_rows, answer.reasons) == (SymbolStatus.HELD, rows, part.reasons)
    assert (fetched.rows_out, judged.rows_out) == (9 * len(DAYS), 9 * len(DAYS))
    assert judged.held_symbols() == {"AAPL": part.reasons}
    # A retry sends the same from what is stored, and asks nobody.
    with answering({}) as (_, script):
        assert batch({"AAPL": case(name)}, judged=False).symbols == fetched.symbols
        assert script.asked == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (case("http_422"), "Unprocessable Entity"),
        (HttpAnswer(503, b""), "HTTP 503"),
        (HttpAnswer(0, None), "does not answer"),
        (case("http_401_invalid_crumb"), "Invalid Crumb"),
    ],
)
def test_a_lasting_error_holds_its_symbol_and_a_retry_recovers_it(batch, messages, store, run_id, answer, reason):
    fetched, judged = batch({"ODD": answer})
    assert fetched.symbols["ODD"].status is SymbolStatus.HELD
    assert reason in fetched.symbols["ODD"].reasons[0]
    assert trailer(messages, fetched, "ODD")["row_count"] == 0
    assert judged.held_symbols().keys() == {"ODD"}
    assert keys.source_answer_key(run_id, "ODD") not in {info.key for info in store.list_objects("raw/source/")}
    fetched, judged = batch({"ODD": good("ODD")})
    assert (fetched.symbols["ODD"].status, judged.rows_out) == (SymbolStatus.OK, 10 * len(DAYS))


def test_a_symbol_that_was_acquired_goes_on_and_is_noted(batch, store, run_id):
    days = calendar.sessions("XNYS", date(2026, 5, 1), date(2026, 7, 2))
    fetched, judged = batch({"ODD": chart("ODD", days, [100.0 + n for n in range(len(days))])})
    assert fetched.symbols["ODD"].ended == days[-1]
    assert f"ODD: it is no longer traded, as the source says: the last trade was on {days[-1]}" in fetched.notes
    assert judged.held_symbols() == {}
    assert judged.symbols["ODD"].rows == len(days)
    assert from_parquet(store.get(keys.source_answer_key(run_id, "ODD"))).ended == days[-1]


@pytest.mark.parametrize("answer", [case("http_404_once"), case("http_200_result_null")])
def test_a_symbol_that_the_lake_has_is_never_unknown(batch, known, answer):
    known("ODD", DAYS[0], DAYS[-2])
    fetched, judged = batch({"ODD": answer})
    assert fetched.symbols["ODD"].status is SymbolStatus.HELD
    assert "but the lake has its sessions from 2026-07-20 to 2026-08-06" in fetched.symbols["ODD"].reasons[0]
    assert judged.held_symbols().keys() == {"ODD"}
    assert batch({"ODD": good("ODD")})[0].symbols["ODD"].status is SymbolStatus.OK


def test_a_symbol_whose_currency_changes(batch, fetch, known):
    assert batch({}, judged=False).rows_out == 9 * len(DAYS)
    known("ODD", DAYS[0], DAYS[-1])
    changed = chart("ODD", DAYS, [100.0] * len(DAYS), currency="EUR")
    with answering({"ODD": changed, "GOOD0": good("GOOD0")}) as (url, _):
        yahoo = YahooSettings(endpoint=HttpUrl(url), **ASK)
        record = fetch(day=DAY, source=Source.YAHOO, symbols=("GOOD0", "ODD"), yahoo=yahoo, the_run="another")
    assert record.symbols["ODD"].reasons == ("prices in EUR, before they were in USD",)


def test_an_impossible_action_is_quarantined_and_its_bar_kept(batch, store, run_id):
    fetched, judged = batch({"AAPL": case("split_1_to_0")})
    part = fetched.symbols["AAPL"]
    assert (part.rows, part.quarantined, part.actions_quarantined) == (15, 0, 1)
    (kept,) = messages_below(store, keys.quarantined_rows_prefix(run_id, "AAPL"))
    assert (kept.reason, kept.position, kept.part) == ("a split without a finite value", 5, "split")
    assert judged.held_symbols() == {}
    assert (fetched.rows_in, fetched.rows_out) == (10 * 15, 10 * 15)


@pytest.mark.parametrize("amount", [100.0, 150.0])
def test_a_dividend_that_takes_all_of_a_close_that_only_the_lake_has_holds_its_symbol(
    batch, known, catalog_settings, store_settings, amount
):
    """On the first day of an answer there is no close before; the known history could not be adjusted any more."""
    known("ODD", date(2026, 7, 16), date(2026, 7, 17))
    paid = chart("ODD", DAYS, [100.0] * len(DAYS), events={"dividends": [{"at": 0, "amount": amount}]})
    fetched, judged = batch({"ODD": paid})
    assert fetched.symbols["ODD"].status is SymbolStatus.OK
    assert judged.held_symbols() == {
        "ODD": ("dividends not below the close before them: 1 dividends, at most 0 allowed",)
    }
    assert judged.rows_out == 9 * len(DAYS)
    rows = history.bars(LakeTables(catalog_settings, store_settings), "ODD", Source.YAHOO)
    assert rows["session_date"].to_pylist() == [date(2026, 7, 16), date(2026, 7, 17)]


def test_odd_volumes_are_quarantined(batch):
    fetched, judged = batch({"AAPL": case("null_and_fractional_volume")})
    assert (fetched.symbols["AAPL"].rows, fetched.symbols["AAPL"].quarantined) == (13, 2)
    # Two of fifteen rows are too many to go on with.
    assert judged.held_symbols().keys() == {"AAPL"}
    assert judged.rows_out == 9 * len(DAYS)


def test_a_source_that_is_away_stops_the_run(fetch, store):
    with answering({symbol: HttpAnswer(503, b"") for symbol in NINE}) as (url, _):
        yahoo = YahooSettings(endpoint=HttpUrl(url), **ASK)
        with pytest.raises(SourceUnavailableError, match="no answer for GOOD0") as caught:
            fetch(day=DAY, source=Source.YAHOO, symbols=NINE, yahoo=yahoo)
    assert caught.value.exit_code == ExitCode.FAILED
    assert list(store.list_objects("")) == []


def test_only_held_symbols_leave_the_decision_to_the_judgement(
    fetch, consume, store_settings, catalog_settings, run_id
):
    with answering({"AAPL": case("answer_of_another_symbol")}) as (url, _):
        yahoo = YahooSettings(endpoint=HttpUrl(url), **ASK)
        record = fetch(day=DAY, source=Source.YAHOO, symbols=("AAPL",), yahoo=yahoo)
    assert (record.rows_in, record.rows_out, record.held) == (15, 0, 15)
    consume(day=DAY)
    with pytest.raises(QualityError, match=r"symbols held or without rows: 1 of all, .*AAPL: the answer is of MSFT"):
        validate_run(ValidateSettings(store=store_settings, catalog=catalog_settings), Run(run_id, DAY))


def test_a_calendar_that_does_not_reach_so_far(program, run_id):
    for code, day in (("XSAU", "2021-06-01"), ("XBOM", "1997-06-02")):
        done = program("fetch-historical", run_id, day=day, TICKLAKE_SOURCE="simulated", TICKLAKE_CALENDAR=code)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    done = program("fetch-historical", run_id, day="2025-06-02", TICKLAKE_SOURCE="simulated", TICKLAKE_CALENDAR="XTKS")
    assert done.returncode == 0, done.stderr
