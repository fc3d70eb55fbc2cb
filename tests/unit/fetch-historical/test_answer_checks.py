"""Which answers are doubted and why; real and simulated ones never are."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from math import exp
from typing import Any

import pytest
from yahoo_rig import HttpAnswer, case, changed, chart

from fetch_historical.answer_checks import Known, ended, impossible, reasons
from fetch_historical.batch_period import Period
from fetch_historical.recordings import adjust, recorded
from fetch_historical.replay_server import chart_json
from fetch_historical.simulated import SimulatedSource
from fetch_historical.yahoo_chart import Chart, Meta, read_chart
from ticklake import calendar

YEAR = Period(date(2025, 8, 8), date(2026, 8, 7))
SESSIONS = calendar.sessions("XNYS", YEAR.first, YEAR.last)
DAYS = SESSIONS[-30:]
FLAT = [100.0 + n % 3 for n in range(30)]
QUOTE = ("open", "high", "low", "close", "volume")


def doubts(
    answer: HttpAnswer,
    symbol: str = "AAPL",
    known: Known | None = None,
    period: Period = YEAR,
    sessions: Sequence[date] = SESSIONS,
) -> str:
    read = read_chart(answer.body["chart"]["result"][0], period, "America/New_York")
    return "; ".join(reasons(symbol, period, sessions, read, known))


def good(closes: Sequence[float] = FLAT, days: Sequence[date] = DAYS, **more: Any) -> HttpAnswer:
    return chart("AAPL", days, closes, **more)


@pytest.mark.parametrize(
    "name", ["revised_close_2_later_answer", "no_currency_in_meta", "null_and_fractional_volume", "split_1_to_0"]
)
def test_the_cases_that_are_no_doubt(name: str) -> None:
    assert doubts(case(name)) == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("split_recorded_not_applied", "prices move by -74.8% over the split 4:1 of 2026-08-03"),
        ("truncated_to_last_row", "begins on 2026-08-07, 250 sessions late: it was first traded on 1980-12-12"),
        ("answer_of_another_symbol", "the answer is of MSFT"),
        ("dividend_in_another_currency", "dividends in VND, prices in USD"),
    ],
)
def test_the_cases_that_are_doubted(name: str, reason: str) -> None:
    assert reason in doubts(case(name))


@pytest.mark.parametrize("symbol", ["AAPL", "FB", "GOOG", "IBM", "MSFT"])
def test_no_recorded_answer_is_doubted(symbol: str) -> None:
    """Every year as it would have been answered on its last day, and all of the recording."""
    whole = recorded()[symbol].sessions
    ends = [max(day for day in whole if day.year == year) for year in sorted({day.year for day in whole})]
    for end in ends:
        bars = adjust(recorded()[symbol].until(end))
        for first in (end.replace(year=end.year - 1, day=min(end.day, 28)), whole[0]):
            period = Period(first, end)
            chosen = [n for n, day in enumerate(bars.sessions) if first <= day]
            answer = HttpAnswer(200, chart_json(symbol, bars, chosen))
            assert doubts(answer, symbol, None, period, calendar.sessions("XNYS", first, end)) == "", (first, end)


def test_no_simulated_answer_is_doubted() -> None:
    period = Period(date(2006, 1, 31), date(2026, 1, 30))
    sessions = calendar.sessions("XNYS", period.first, period.last)
    source = SimulatedSource(7, "XNYS", now=lambda: datetime(2026, 1, 31, tzinfo=UTC))
    for number in range(150):
        symbol = f"SIM{number:04d}"
        meta = Meta(symbol, "1d", "USD", "EQUITY", sessions[0], period.last)
        answer = Chart(meta, source.ask(symbol, period).rows, (), ())
        assert reasons(symbol, period, sessions, answer) == (), symbol


def test_which_symbol() -> None:
    assert doubts(good(), "MSFT") == "the answer is of AAPL"
    nameless = good().body["chart"]["result"][0]
    del nameless["meta"]["symbol"]
    assert "which symbol" in doubts(HttpAnswer(200, {"chart": {"result": [nameless]}}))
    assert doubts(chart("JPY=X", DAYS, FLAT, instrumentType="CURRENCY"), "USDJPY=X") == ""


def test_how_often() -> None:
    assert "bars of 1mo instead of days" in doubts(good(dataGranularity="1mo"))
    # An answer that calls itself daily, or says nothing, shows by its rows what it is.
    for step in (5, 21):
        days = SESSIONS[::step]
        assert "they are not daily" in doubts(good([100.0] * len(days), days, dataGranularity=None))
    twice = sorted([*DAYS, *DAYS])
    # The last day's second row is the latest quote.
    assert "59 rows for 30 days" in doubts(good([100.0] * 60, twice))


def test_currencies() -> None:
    paid = {"dividends": [{"at": 10, "amount": 0.5, "currency": "GBP"}]}
    adjusted = [price * (1 - 0.5 / FLAT[9]) if n < 10 else price for n, price in enumerate(FLAT)]
    assert doubts(good(events=paid, adj_closes=adjusted)) == "dividends in GBP, prices in USD"
    assert doubts(good(events=paid, adj_closes=adjusted, currency="GBP")) == ""
    assert doubts(good(events=paid, adj_closes=adjusted, currency=None)) == ""
    before = Known(DAYS[0], DAYS[-1], "EUR")
    assert doubts(good(), known=before) == "prices in USD, before they were in EUR"
    assert doubts(good(currency=None), known=before) == ""
    assert doubts(good(), known=Known(DAYS[0], DAYS[-1], None)) == ""


def stamp(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 18, tzinfo=UTC).timestamp())


def test_where_the_bars_begin() -> None:
    decades = stamp(date(1980, 12, 12))
    assert "sessions late: it was first traded on 1980-12-12" in doubts(good(firstTradeDate=decades))
    assert doubts(good(firstTradeDate=stamp(SESSIONS[-40]))) == ""
    assert "11 sessions late" in doubts(good(firstTradeDate=stamp(SESSIONS[-41])))
    assert doubts(good(firstTradeDate=None)) == ""
    assert "the lake has it from" in doubts(good(firstTradeDate=None), known=Known(SESSIONS[0], DAYS[-2]))
    # A history that began before the period says nothing of where this one must begin.
    assert doubts(good(), known=Known(date(2001, 1, 2), DAYS[-2])) == ""
    assert "does not say when" in doubts(good(FLAT[:1], DAYS[-1:], firstTradeDate=None))


def test_where_the_bars_end() -> None:
    cut = {"closes": FLAT[:20], "days": DAYS[:20]}
    assert doubts(good(**cut)) == ""  # last traded then: a share that was acquired
    assert "10 sessions early: it was last traded on" in doubts(good(**cut, regularMarketTime=stamp(DAYS[-1])))
    assert doubts(good(**cut, regularMarketTime=stamp(DAYS[20]))) == ""
    assert "the lake has it up to" in doubts(good(**cut, regularMarketTime=None), known=Known(DAYS[0], DAYS[25]))
    assert "no row of a closed session" in doubts(changed(good(), close=dict.fromkeys(range(30))))


@pytest.mark.parametrize(("last", "day"), [(19, DAYS[19]), (20, None), (29, None), (None, None)])
def test_a_symbol_without_a_trade_for_ten_sessions_is_no_longer_traded(last: int | None, day: date | None) -> None:
    meta = Meta("AAPL", "1d", "USD", "EQUITY", DAYS[0], None if last is None else DAYS[last])
    assert ended(meta, SESSIONS) == day


@pytest.mark.parametrize(("ratio", "near"), [(4, 1), (2, 1), (1.5, 1), (10, 0.95), (1.2, 1), (0.1, 1), (0.5, 1.05)])
@pytest.mark.parametrize("twice", [False, True])
def test_a_split_that_the_prices_do_not_show(ratio: float, near: float, twice: bool) -> None:
    """Not divided, or divided once more."""
    wrong = 1 / ratio if twice else ratio
    closes = [price * wrong * near if n < 15 else price for n, price in enumerate(FLAT)]
    split = {"splits": [{"at": 15, "numerator": ratio * 10, "denominator": 10}]}
    assert "they are not adjusted for it" in doubts(good(closes, events=split))
    assert doubts(good(FLAT, events=split)) == ""


@pytest.mark.parametrize("fall", [0.797, 0.8, 0.5, 0.333, 0.9])
def test_a_move_like_a_split_that_nobody_recorded(fall: float) -> None:
    closes = [price if n < 15 else price * (1 - fall) for n, price in enumerate([100.0] * 30)]
    assert "as over a split" in doubts(good(closes))
    # Not adjusted for a split means not adjusted in the volume either: the turnover stays what it was.
    unadjusted = [1000 if n < 15 else round(1000 / (1 - fall)) for n in range(30)]
    assert "as over a split" in doubts(good(closes, volumes=unadjusted))
    # A share that people sell at a fifth of its price changes hands a lot.
    sold = [1000] * 15 + [round(5000 / (1 - fall))] + [3000] * 14
    assert doubts(good(closes, volumes=sold)) == ""


def test_great_moves_that_are_no_split() -> None:
    doubled = [price if n < 15 else price * 2 for n, price in enumerate(FLAT)]
    assert doubts(good(doubled)) == ""
    fallen = [price if n < 15 else price * 0.58 for n, price in enumerate([100.0] * 30)]
    assert doubts(good(fallen)) == ""
    index = chart("^VIX", DAYS, [20.0 if n < 15 else 13.3 for n in range(30)], volumes=0, instrumentType="INDEX")
    assert doubts(index, "^VIX") == ""
    for ratio in (3, 10):
        risen = [price if n < 15 else price * ratio for n, price in enumerate([100.0] * 30)]
        assert f"as over a split 1:{ratio}" in doubts(good(risen))


def dividend(amount: float, part: float = 1.0) -> HttpAnswer:
    """Paid at place 10; adj_close shows `part` of it."""
    kept = 1 - part * amount / FLAT[9]
    adjusted = [price * kept if n < 10 else price for n, price in enumerate(FLAT)]
    return good(events={"dividends": [{"at": 10, "amount": amount}]}, adj_closes=adjusted)


def test_a_dividend_and_what_adj_close_makes_of_it() -> None:
    for amount in (0.01, 0.25, 3.0, 40.0):
        assert doubts(dividend(amount)) == ""
        assert doubts(dividend(amount, 1.03)) == ""
    for amount, part in ((0.25, 0.0), (3.0, 0.0), (3.0, 0.5), (0.25, 4.0), (0.25, 100.0)):
        assert "over the dividend of" in doubts(dividend(amount, part))
    assert "is not below the close before it" in doubts(dividend(15000.0, 0.0))
    unpaid = [price * (0.97 if n < 10 else 1.0) for n, price in enumerate(FLAT)]
    assert "from what the dividends give" in doubts(good(adj_closes=unpaid))
    assert "from what the dividends give" in doubts(changed(good(), adjclose={4: 250.0}))


@pytest.mark.parametrize("part", [1 / 3, 0.5, 0.8, 0.95])
def test_a_great_dividend_is_no_split(part: float) -> None:
    """The price falls by it, as over a split, and adj_close shows it."""
    amount = part * FLAT[9]
    kept = 1 - part
    closes = [price if n < 10 else price * kept for n, price in enumerate(FLAT)]
    adjusted = [price * kept for price in FLAT]
    paid = {"dividends": [{"at": 10, "amount": amount}]}
    assert doubts(good(closes, adj_closes=adjusted, events=paid)) == ""
    # The price stays what it was: nothing was paid from it.
    assert doubts(good(FLAT, adj_closes=adjusted, events=paid)) != ""


def emptied(answer: HttpAnswer, *places: int) -> HttpAnswer:
    """`answer` with rows of nulls at `places`."""
    return changed(answer, **{name: dict.fromkeys(places) for name in (*QUOTE, "adjclose")})


def test_an_action_of_a_row_without_prices_counts_at_the_next_bar() -> None:
    assert doubts(emptied(dividend(3.0), 10)) == ""
    assert doubts(emptied(dividend(3.0), 10, 11)) == ""
    assert "over the dividend of" in doubts(emptied(dividend(3.0, 0.0), 10))
    assert "is not below the close before it" in doubts(emptied(dividend(15000.0, 0.0), 10))
    split = {"splits": [{"at": 15, "numerator": 4, "denominator": 1}]}
    undivided = [price * 4 if n < 15 else price for n, price in enumerate(FLAT)]
    assert "over the split 4:1" in doubts(emptied(good(undivided, events=split), 15))
    assert doubts(emptied(good(FLAT, events=split), 15)) == ""
    assert doubts(emptied(good(FLAT, events={"splits": [{"at": 29, "numerator": 4, "denominator": 1}]}), 29)) == ""


def test_a_real_dividend() -> None:
    """I3E.L in November 2022, as Yahoo gave it (github.com/ranaroussi/yfinance/issues/1273)."""
    days = calendar.sessions("XNYS", date(2022, 11, 7), date(2022, 11, 11))
    closes = [24.6, 24.5, 23.549999, 23.5, 23.5]
    adjusted = [24.451147, 24.351751, 23.407499, 23.5, 23.5]
    period = Period(days[0], days[-1])

    def reported(values: list[float], amount: float) -> str:
        paid = {"dividends": [{"at": 3, "amount": amount}]}
        answer = chart("I3E.L", days, closes, adj_closes=values, events=paid, currency="GBp")
        return doubts(answer, "I3E.L", None, period, days)

    assert reported(adjusted, 0.1425) == ""
    # In pounds beside prices in pence, or not adjusted for, as Yahoo's answers have been too.
    assert "over the dividend" in reported(adjusted, 0.001425)
    assert "over the dividend" in reported(closes, 0.1425)


def test_not_every_reason_is_reported() -> None:
    flips = [100.0 if n % 2 else 10_000.0 for n in range(30)]
    found = doubts(good(flips)).split("; ")
    assert (len(found), found[-1]) == (6, "and 24 more reasons")


def test_capital_gains_count_as_dividends() -> None:
    kept = 1 - 3.0 / FLAT[9]
    adjusted = [price * kept if n < 10 else price for n, price in enumerate(FLAT)]
    events = {"dividends": [{"at": 10, "amount": 1.0}], "capitalGains": [{"at": 10, "amount": 2.0}]}
    assert doubts(good(events=events, adj_closes=adjusted, instrumentType="MUTUALFUND")) == ""


def test_dividends_over_decades_stay_within_the_tolerance() -> None:
    """Amounts rounded to a hundredth of what they were, prices in single precision, as Yahoo gives old history."""
    period = Period(date(1996, 8, 8), date(2026, 8, 7))
    sessions = calendar.sessions("XNYS", period.first, period.last)
    closes = [float(f"{5 * exp(n / 4000):.6g}") for n in range(len(sessions))]
    factor, adjusted, paid = 1.0, [0.0] * len(sessions), []
    for n in range(len(sessions) - 1, -1, -1):
        adjusted[n] = float(f"{closes[n] * factor:.6g}")
        if n % 63 == 62:
            amount = 0.006 * closes[n - 1]
            factor *= 1 - amount / closes[n - 1]
            paid.append({"at": n, "amount": round(amount, 3)})
    assert len(paid) > 100
    answer = chart("AAPL", sessions, closes, adj_closes=adjusted, events={"dividends": paid})
    assert doubts(answer, "AAPL", None, period, sessions) == ""


def test_no_volume_at_all() -> None:
    assert "no volume in any row" in doubts(good(volumes=0))
    assert doubts(chart("^VIX", DAYS, FLAT, volumes=0), "^VIX") == ""
    assert doubts(good(volumes=0, instrumentType="MUTUALFUND")) == ""


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("split", float("nan"), "a split without a finite value"),
        ("split", float("inf"), "a split without a finite"),
        ("dividend", -0.5, "a dividend below 0"),
        ("dividend", 0.0, None),
        ("split", 0.1, None),
    ],
)
def test_actions_that_cannot_be(kind: str, value: float, reason: str | None) -> None:
    found = impossible(kind, value)
    assert found == reason if reason is None else str(found).startswith(reason)
