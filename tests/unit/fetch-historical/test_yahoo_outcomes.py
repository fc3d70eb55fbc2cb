"""What each kind of answer of Yahoo's means, and where the session sends its requests."""

import json
from datetime import UTC, date, datetime

import pytest
from pydantic import HttpUrl

from fetch_historical.answer_store import Scope, SourceUnavailableError
from fetch_historical.batch_period import Period
from fetch_historical.http_session import ChartFacts, YahooSession
from fetch_historical.settings import FetchSettings, YahooSettings
from fetch_historical.yahoo import judge
from ticklake.errors import ConfigurationError
from ticklake.records import Source, SymbolStatus
from ticklake.settings import load

PERIOD = Period(date(2012, 3, 2), date(2013, 3, 1))
NOW = datetime(2026, 1, 30, 12, 0, tzinfo=UTC)


def facts(status: int, body: object, retry_after: str | None = None) -> ChartFacts:
    found = ChartFacts()
    found.note(status, retry_after, body if isinstance(body, bytes) else json.dumps(body).encode())
    return found


def error(code: str, text: str) -> dict[str, object]:
    return {"chart": {"result": None, "error": {"code": code, "description": text}}}


def known(last_trade: datetime, **more: object) -> dict[str, object]:
    meta = {"symbol": "IBM", "regularMarketTime": int(last_trade.timestamp()), **more}
    return {"chart": {"result": [{"meta": meta, "indicators": {"quote": [{}]}}], "error": None}}


@pytest.fixture(autouse=True)
def catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLAKE_CATALOG_URI", "sqlite:///none")


def test_unknown() -> None:
    status, reason = judge(facts(404, error("Not Found", "No data found, symbol may be delisted")), PERIOD, None, NOW)
    assert (status, reason) == (SymbolStatus.UNKNOWN, "No data found, symbol may be delisted")


def test_delisted_before_the_period() -> None:
    assert judge(facts(200, known(datetime(2010, 6, 30, 20, tzinfo=UTC))), PERIOD, None, NOW)[0] == "delisted"


def test_known_but_empty() -> None:
    assert judge(facts(200, known(datetime(2013, 3, 1, 21, tzinfo=UTC))), PERIOD, None, NOW)[0] == "empty"


def test_no_data_in_the_period_is_judged_by_the_description_that_came_before() -> None:
    found = facts(200, known(datetime(2010, 6, 30, 20, tzinfo=UTC)))
    found.begin()
    text = "Data doesn't exist for startDate = 1330664400, endDate = 1362200400"
    found.note(400, None, json.dumps(error("Bad Request", text)).encode())
    assert judge(found, PERIOD, None, NOW)[0] is SymbolStatus.DELISTED


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (facts(429, b"Too Many Requests"), "HTTP 429"),
        (facts(503, b"<html>"), "HTTP 503"),
        (facts(200, b"<html>"), "not understood"),
        (facts(200, {"chart": None}), "not understood"),
        (facts(200, {"chart": {"result": [{}], "error": None}}), "not understood"),
        (facts(401, error("Unauthorized", "Invalid Crumb")), "Invalid Crumb"),
        (ChartFacts(), "yfinance failed"),
    ],
)
def test_what_is_no_answer_may_be_asked_again(found: ChartFacts, message: str) -> None:
    with pytest.raises(SourceUnavailableError, match=message):
        judge(found, PERIOD, None, NOW)


def test_no_connection_says_what_to_do() -> None:
    with pytest.raises(SourceUnavailableError, match="TICKLAKE_YAHOO_ENDPOINT") as caught:
        judge(ChartFacts(), PERIOD, TimeoutError("timed out"), NOW)
    assert caught.value.scope is Scope.UNCLEAR


def test_retry_after_is_passed_on() -> None:
    with pytest.raises(SourceUnavailableError) as caught:
        judge(facts(429, b"", "17"), PERIOD, None, NOW)
    assert caught.value.retry_after == 17


def test_only_yahoos_hosts_go_to_the_endpoint() -> None:
    session = YahooSession(YahooSettings(endpoint=HttpUrl("http://127.0.0.1:8080/base/")))
    route = session.route
    assert route("https://query2.finance.yahoo.com/v8/finance/chart/IBM?a=1") == (
        "http://127.0.0.1:8080/base/v8/finance/chart/IBM?a=1"
    )
    assert route("https://fc.yahoo.com") == "http://127.0.0.1:8080/base/"
    assert route("https://notyahoo.com/x") == "https://notyahoo.com/x"
    session.close()
    plain = YahooSession(YahooSettings())
    assert plain.route("https://fc.yahoo.com") == "https://fc.yahoo.com"
    plain.close()


def test_symbols_by_source(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(load(FetchSettings).wanted_symbols) == 10
    assert load(FetchSettings, source=Source.REPLAY).wanted_symbols == ("AAPL", "FB", "GOOG", "IBM", "MSFT")
    monkeypatch.setenv("TICKLAKE_SYMBOLS", "ibm, msft,IBM")
    monkeypatch.setenv("TICKLAKE_SIMULATED_EXTRA_SYMBOLS", "2")
    assert load(FetchSettings, source=Source.REPLAY).wanted_symbols == ("IBM", "MSFT")
    assert load(FetchSettings, source="simulated").wanted_symbols == ("IBM", "MSFT", "SIM0001", "SIM0002")
    monkeypatch.setenv("TICKLAKE_SYMBOLS", "M&M.NS,BRK-B,^GSPC,EURUSD=X,0700.HK,BF-B")
    assert load(FetchSettings).wanted_symbols == ("M&M.NS", "BRK-B", "^GSPC", "EURUSD=X", "0700.HK", "BF-B")


def test_a_rejected_symbol_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLAKE_SYMBOLS", "IBM,A/B,MSFT,not one")
    with pytest.raises(ConfigurationError, match=r"TICKLAKE_SYMBOLS: .*'A/B', 'not one'"):
        load(FetchSettings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TICKLAKE_SOURCE", "bloomberg"),
        ("TICKLAKE_SYMBOLS", "IBM,not a symbol"),
        ("TICKLAKE_YAHOO_ENDPOINT", "nowhere"),
        ("TICKLAKE_YAHOO_ATTEMPTS", "0"),
        ("TICKLAKE_SIMULATED_SEED", "-1"),
        ("TICKLAKE_YEARS", "0"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        load(FetchSettings)
