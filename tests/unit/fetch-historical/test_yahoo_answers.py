"""What comes of each answer when the real yfinance asks a local server for it."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from math import isnan
from typing import Any

import pytest
from pydantic import HttpUrl
from yahoo_rig import HttpAnswer, Script, answering, case, changed, chart

from fetch_historical.answer_checks import Known
from fetch_historical.answer_store import Reply, Scope, SourceUnavailableError
from fetch_historical.bar_cleaning import BatchFields, Cleaned, clean, wanted_days
from fetch_historical.batch_period import Period, closed_sessions
from fetch_historical.settings import YahooSettings
from fetch_historical.yahoo import YahooSource
from ticklake import calendar
from ticklake.records import Source, SymbolStatus

YEAR = Period(date(2025, 8, 8), date(2026, 8, 7))
SESSIONS = calendar.sessions("XNYS", YEAR.first, YEAR.last)
DAYS = SESSIONS[-30:]
GOOD = chart("AAPL", DAYS, [100.0] * 30)
EVENING = datetime(2026, 8, 7, 22, 0, tzinfo=UTC)
NULL = case("http_200_result_null")
GONE = case("http_404_once")
NO_DATA = HttpAnswer(
    400,
    {
        "chart": {
            "result": None,
            "error": {"code": "Bad Request", "description": "Data doesn't exist for startDate = 1, endDate = 2"},
        }
    },
)
BUSY = HttpAnswer(503, b"<html>")
LIMITED = HttpAnswer(429, b"Too Many Requests")


def reshaped(**parts: Any) -> HttpAnswer:
    """A good answer with other parts."""
    result = GOOD.body["chart"]["result"][0]
    return HttpAnswer(200, {"chart": {"result": [result | parts], "error": None}})


@contextmanager
def source(
    answers: dict[str, HttpAnswer | Sequence[HttpAnswer]],
    *,
    attempts: int = 4,
    known: Known | None = None,
    at: datetime = EVENING,
    **more: Any,
) -> Iterator[tuple[Callable[..., Reply], Script]]:
    with answering(answers) as (url, script):
        settings = YahooSettings(
            endpoint=HttpUrl(url), attempts=attempts, timeout_seconds=more.pop("timeout_seconds", 5)
        )
        asked = YahooSource(
            settings, known=lambda _: known, sleep=lambda _: None, now=lambda: at, rng=random.Random(1), **more
        )
        with asked:
            yield (lambda symbol="AAPL": asked.ask(symbol, YEAR)), script


def ask(answer: HttpAnswer | Sequence[HttpAnswer], **more: Any) -> Reply:
    with source({"AAPL": answer}, **more) as (asked, _):
        return asked()


def bars(reply: Reply) -> Cleaned:
    fields = BatchFields("AAPL", Source.YAHOO, "run", YEAR.last, EVENING)
    days = [YEAR.first + timedelta(days=n) for n in range((YEAR.last - YEAR.first).days + 1)]
    closed = closed_sessions("XNYS", YEAR, EVENING)
    return clean(reply.rows.to_pylist(), fields, wanted_days(days, SESSIONS, closed), SESSIONS, reply.actions)


def test_a_good_answer_is_taken_as_it_came_with_one_request() -> None:
    with source({"AAPL": case("revised_close_2_later_answer")}) as (asked, script):
        reply = asked()
    assert (reply.status, reply.reasons, reply.currency, reply.notes) == (SymbolStatus.OK, (), "USD", ())
    assert reply.rows.column("close").to_pylist() == [100.0 + n for n in range(15)]
    assert reply.rows.column("session_date").to_pylist()[::14] == [date(2026, 7, 20), date(2026, 8, 7)]
    assert script.asked == ["AAPL"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("split_recorded_not_applied", "not adjusted"),
        ("truncated_to_last_row", "250 sessions late"),
        ("answer_of_another_symbol", "MSFT"),
        ("dividend_in_another_currency", "VND"),
    ],
)
def test_a_doubtful_answer_is_asked_again_and_then_held(name: str, reason: str) -> None:
    with source({"AAPL": case(name)}) as (asked, script):
        reply = asked()
    assert reply.status is SymbolStatus.HELD
    assert any(reason in line for line in reply.reasons)
    assert reply.rows.num_rows == len(case(name).body["chart"]["result"][0]["timestamp"])
    assert len(script.asked) == 4


@pytest.mark.parametrize(
    "bad",
    [
        case("truncated_to_last_row"),
        case("answer_of_another_symbol"),
        GONE,
        NULL,
        BUSY,
        LIMITED,
        case("http_422"),
        case("http_401_invalid_crumb"),
        HttpAnswer(200, b"<html>"),
    ],
)
def test_one_bad_answer_is_no_harm(bad: HttpAnswer) -> None:
    # yfinance itself repeats a request that was rejected, so that one answer counts as two.
    reply = ask([bad, bad, GOOD])
    assert (reply.status, reply.rows.num_rows) == (SymbolStatus.OK, 30)


@pytest.mark.parametrize(
    ("answer", "status"), [(GONE, SymbolStatus.UNKNOWN), (NULL, SymbolStatus.EMPTY), (NO_DATA, SymbolStatus.EMPTY)]
)
def test_that_there_is_nothing_needs_a_second_answer(answer: HttpAnswer, status: SymbolStatus) -> None:
    with source({"AAPL": answer}) as (asked, script):
        assert asked().status is status
        assert len(script.asked) >= 2
    for known in (Known(SESSIONS[0], SESSIONS[-2]), Known(DAYS[5], DAYS[-1])):
        with pytest.raises(SourceUnavailableError, match="but the lake has its sessions from") as caught:
            ask(answer, known=known)
        assert caught.value.scope is Scope.SYMBOL


def test_nothing_in_a_period_that_the_lake_has_nothing_of_either() -> None:
    later = Known(date(2026, 9, 1), date(2026, 10, 1))
    assert ask(NULL, known=later).status is SymbolStatus.EMPTY
    with pytest.raises(SourceUnavailableError):
        ask(GONE, known=later)


def test_a_delisted_symbol() -> None:
    old = calendar.sessions("XNYS", date(2024, 1, 2), date(2024, 2, 2))
    described = chart("AAPL", old, [100.0] * len(old))
    assert ask([NO_DATA, NO_DATA, described, NO_DATA, NO_DATA, described]).status is SymbolStatus.DELISTED
    assert ask(described).status is SymbolStatus.DELISTED
    with pytest.raises(SourceUnavailableError, match="but the lake has"):
        ask(described, known=Known(SESSIONS[0], SESSIONS[5]))


def test_a_single_no_among_failures_is_not_final() -> None:
    with pytest.raises(SourceUnavailableError, match="only one of 2 answers reported: AAPL: no session"):
        ask([BUSY, BUSY, NULL], attempts=2)


@pytest.mark.parametrize(
    ("answer", "scope", "line"),
    [
        (case("http_422"), Scope.SYMBOL, "HTTP 422: Unprocessable Entity, 1d data not available"),
        (BUSY, Scope.UNCLEAR, "HTTP 503"),
        (LIMITED, Scope.SOURCE, "HTTP 429"),
        (case("http_401_invalid_crumb"), Scope.UNCLEAR, "rejects cookie and crumb, new ones too .*Invalid Crumb"),
        (HttpAnswer(403, b"no"), Scope.UNCLEAR, "rejects cookie and crumb, new ones too .HTTP 403"),
        (HttpAnswer(200, b"<html>consent"), Scope.UNCLEAR, "not understood .HTTP 200, it begins with '<html>consent'"),
        (HttpAnswer(200, b'{"chart": {"result": [{"meta'), Scope.UNCLEAR, "not understood .*it begins with "),
        (changed(GOOD, close={3: "seven"}), Scope.UNCLEAR, "not understood .HTTP 200, 'seven' is no number.$"),
        (changed(GOOD, volume={3: True}), Scope.UNCLEAR, "not understood .HTTP 200, True is no number.$"),
        (changed(GOOD, close={3: {}}), Scope.UNCLEAR, "not understood .*{} is no number"),
        (reshaped(timestamp=[1_786_109_400_000] * 30), Scope.UNCLEAR, "1786109400000 is no time in seconds since 1970"),
        (reshaped(timestamp=[None] * 30), Scope.UNCLEAR, "None is no time in seconds"),
        (reshaped(timestamp=[1_786_109_400]), Scope.UNCLEAR, r"it has 1 times and columns of \[30, 30, "),
        (reshaped(indicators={"quote": [{}]}), Scope.UNCLEAR, "not understood .HTTP 200, it has no 'close'.$"),
        (reshaped(events={"splits": [4]}), Scope.UNCLEAR, "not understood .*it is not built like a chart"),
        (HttpAnswer(404, b"<html>"), Scope.UNCLEAR, "not understood"),
    ],
)
def test_what_stays_no_answer(answer: HttpAnswer, scope: Scope, line: str) -> None:
    with pytest.raises(SourceUnavailableError, match=line) as caught:
        ask(answer, attempts=2)
    assert caught.value.scope is scope


def test_silence_is_no_answer() -> None:
    with pytest.raises(SourceUnavailableError, match="does not answer") as caught:
        ask(HttpAnswer(0, None), attempts=1, timeout_seconds=0.3)
    assert caught.value.scope is Scope.UNCLEAR


def test_a_rejected_crumb_is_renewed() -> None:
    rejected = case("http_401_invalid_crumb")
    # Twice by yfinance's own two ways to a crumb, then with all of it forgotten.
    with source({"AAPL": [GOOD, rejected, rejected, GOOD]}) as (asked, script):
        asked()
        before = script.crumbs
        assert asked().status is SymbolStatus.OK
        assert script.crumbs >= before + 2


@pytest.mark.parametrize("symbol", ["M&M.NS", "BRK-B", "^GSPC", "EURUSD=X", "0700.HK", "BF-B", "^VIX", "BTC-USD"])
def test_every_symbol_arrives_as_it_is_spelled(symbol: str) -> None:
    with source({symbol: chart(symbol, DAYS, [100.0] * 30)}) as (asked, script):
        assert asked(symbol).status is SymbolStatus.OK
        assert script.asked == [symbol]


def test_an_answer_without_currency_says_so() -> None:
    reply = ask(case("no_currency_in_meta"))
    assert (reply.status, reply.rows.num_rows, reply.currency) == (SymbolStatus.OK, 15, None)
    assert "does not say the currency" in " ".join(reply.notes)


@pytest.mark.parametrize(
    "left_out",
    ["currency", "instrumentType", "firstTradeDate", "regularMarketTime", "exchangeTimezoneName", "dataGranularity"],
)
def test_an_incomplete_description_costs_no_bars(left_out: str) -> None:
    reply = ask(chart("AAPL", DAYS, [100.0] * 30, **{left_out: None}))
    assert (reply.status, reply.rows.num_rows) == (SymbolStatus.OK, 30)
    assert reply.rows.column("session_date").to_pylist() == list(DAYS)


def test_volumes_are_never_changed() -> None:
    odd = {3: None, 4: 1.5, 5: 2**63, 6: -7, 7: 2**53 + 1, 8: 2**53, 9: 0}
    reply = ask(changed(GOOD, volume=odd))
    volumes = reply.rows.column("volume").to_pylist()
    assert isnan(volumes[3])
    assert volumes[4:10] == [1.5, 2.0**63, -7.0, float(2**53), 2.0**53, 0.0]
    found = bars(reply)
    assert [row.position for row in found.rejected] == [3, 4, 5, 6]
    assert all("volume" in row.reason for row in found.rejected)
    assert {bar.volume for bar in found.bars} == {1000, 2**53, 0}
    assert not found.no_volume


@pytest.mark.parametrize("nothing", [None, 0])
def test_a_symbol_that_has_no_volume(nothing: int | None) -> None:
    answer = chart("AAPL", DAYS, [100.0] * 30, volumes=[nothing] * 30, instrumentType="INDEX")
    found = bars(ask(answer))
    assert (len(found.bars), found.rejected, found.no_volume) == (30, (), True)
    assert {bar.volume for bar in found.bars} == {0}


@pytest.mark.parametrize(
    ("events", "kind", "reason"),
    [
        ({"splits": [{"at": 9, "numerator": 1, "denominator": 0, "splitRatio": "1:0"}]}, "split", "without a finite"),
        ({"splits": [{"at": 9, "numerator": 0, "denominator": 1}]}, "split", "without a finite"),
        ({"splits": [{"at": 9, "numerator": -2, "denominator": 1}]}, "split", "without a finite"),
        ({"splits": [{"at": 9}]}, "split", "without a finite"),
        ({"dividends": [{"at": 9, "amount": -0.5}]}, "dividend", "below 0"),
        ({"dividends": [{"at": 9, "amount": None}]}, "dividend", "without a finite"),
        # Python's JSON knows these numbers, and so does its reader.
        ({"dividends": [{"at": 9, "amount": float("nan")}]}, "dividend", "without a finite"),
        ({"splits": [{"at": 9, "numerator": float("inf"), "denominator": 1}]}, "split", "without a finite"),
    ],
)
def test_an_action_that_cannot_be_costs_no_bar(events: dict[str, Any], kind: str, reason: str) -> None:
    found = bars(ask(chart("AAPL", DAYS, [100.0] * 30, events=events)))
    assert (len(found.bars), found.rejected, len(found.rejected_actions)) == (30, (), 1)
    (rejected,) = found.rejected_actions
    assert (rejected.position, rejected.kind) == (9, kind)
    assert reason in rejected.reason
    # What came is in the quarantine.
    (given,) = next(iter(events.values()))
    assert all(f'"{name}"' in rejected.original.decode() for name in given if name != "at")
    assert (found.bars[9].dividends, found.bars[9].stock_splits) == (0.0, 0.0)


def test_the_case_of_a_split_1_to_0() -> None:
    found = bars(ask(case("split_1_to_0")))
    assert (len(found.bars), found.rejected, len(found.rejected_actions)) == (15, (), 1)


def test_an_action_of_a_day_without_a_bar_is_moved_to_the_next_and_noted() -> None:
    days = (*DAYS[:10], *DAYS[11:])
    split = {"splits": [{"at": 10, "numerator": 4, "denominator": 1}]}
    answer = chart("AAPL", days, [100.0] * 29, events=split)
    event = answer.body["chart"]["result"][0]["events"]["splits"]["0"]
    event["date"] -= 24 * 3600
    reply = ask(answer)
    assert reply.rows.column("stock_splits").to_pylist()[10] == 4.0
    assert reply.notes == (f"the split of {DAYS[10]} has no bar and is moved to that of {DAYS[11]}",)


CLOSE = datetime(2026, 8, 7, 20, 0, tzinfo=UTC)


@pytest.mark.parametrize(("seconds", "settle", "held"), [(30, 15, False), (901, 15, True), (30, 0, True)])
def test_a_session_counts_some_minutes_after_its_close(seconds: int, settle: int, held: bool) -> None:
    """The last bar's price is like a missed split: it is judged only where the session counts as closed."""
    answer = chart("AAPL", DAYS, [100.0] * 29 + [20.0])
    at = CLOSE + timedelta(seconds=seconds)
    reply = ask(answer, attempts=1, at=at, settle=timedelta(minutes=settle))
    assert (reply.status is SymbolStatus.HELD) is held
    period = closed_sessions("XNYS", YEAR, at - timedelta(minutes=settle))
    assert (period[-1] == YEAR.last) is held
