"""The recorded bars in Yahoo's convention, and the simulated ones."""

import csv
import gzip
from datetime import UTC, date, datetime

import numpy as np
import pytest
from bokeh_sampledata import package_path

from fetch_historical.batch_period import Period
from fetch_historical.recordings import Bars, adjust, recorded
from fetch_historical.replay_server import replay_last_session
from fetch_historical.simulated import ORIGIN, SimulatedSource, traded_bars
from ticklake import calendar
from ticklake.errors import ConfigurationError

NOW = datetime(2026, 1, 30, 12, 0, tzinfo=UTC)


def rows_of(symbol: str) -> list[dict[str, str]]:
    with gzip.open(package_path("stocks.csv.gz"), "rt", encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["Ticker"] == symbol]


@pytest.mark.parametrize("symbol", ["AAPL", "FB", "GOOG", "IBM", "MSFT"])
def test_every_recorded_row_is_there(symbol: str) -> None:
    bars, rows = recorded()[symbol], rows_of(symbol)
    assert [day.isoformat() for day in bars.sessions] == [row["Date"] for row in rows]
    assert bars.close.tolist() == [float(row["Close"]) for row in rows]
    assert bars.volume.tolist() == [float(row["Volume"]) for row in rows]


def test_the_recordings_last_session() -> None:
    assert replay_last_session() == date(2013, 3, 1)


def at(bars: Bars, day: date) -> int:
    return bars.sessions.index(day)


def test_splits_adjust_what_was_traded_before_them() -> None:
    # Closes as traded: 101.25 the day before the first 2:1 split of AAPL, 88.99 before the second, 48.30 before MSFT's.
    aapl, msft = adjust(recorded()["AAPL"]), adjust(recorded()["MSFT"])
    assert aapl.close[at(aapl, date(2000, 6, 20))] == 101.25 / 4
    assert aapl.close[at(aapl, date(2000, 6, 21))] == 55.63 / 2
    assert aapl.close[at(aapl, date(2005, 2, 25))] == 44.495
    assert aapl.close[at(aapl, date(2005, 2, 28))] == 44.86
    assert msft.close[at(msft, date(2003, 2, 14))] == 24.15
    # On the split's own day no price has jumped any more.
    for bars, day in ((aapl, date(2000, 6, 21)), (aapl, date(2005, 2, 28)), (msft, date(2003, 2, 18))):
        assert abs(bars.open[at(bars, day)] / bars.close[at(bars, day) - 1] - 1) < 0.12
    raw = recorded()["AAPL"]
    assert aapl.volume[0] == raw.volume[0] * 4


def test_as_known_on_a_day_before_a_split_nothing_is_adjusted_for_it() -> None:
    evening = adjust(recorded()["AAPL"].until(date(2005, 2, 25)))
    assert evening.sessions[-1] == date(2005, 2, 25)
    assert evening.close[-1] == evening.adj_close[-1] == 88.99


def test_dividends_are_what_the_companies_paid() -> None:
    # Ex-dates and amounts as announced: MSFT's special dividend of 3 dollars beside its quarterly 8 cents, and others.
    known = {
        ("MSFT", date(2003, 2, 19)): 0.08,
        ("MSFT", date(2004, 11, 15)): 3.08,
        ("MSFT", date(2012, 11, 13)): 0.23,
        ("IBM", date(2000, 5, 8)): 0.13,
        ("IBM", date(2013, 2, 6)): 0.85,
        ("AAPL", date(2012, 8, 9)): 2.65,
    }
    for (symbol, day), amount in known.items():
        bars = recorded()[symbol]
        assert bars.dividends[at(bars, day)] == amount
    assert not recorded()["FB"].dividends.any()
    assert not recorded()["GOOG"].dividends.any()
    assert np.count_nonzero(recorded()["AAPL"].dividends) == 3
    assert np.count_nonzero(recorded()["IBM"].dividends) == 52


def test_adjusted_close_follows_crsp() -> None:
    # The recording ends less than a quarter after this ex-date, so one factor alone is between.
    ibm = adjust(recorded()["IBM"])
    ex = at(ibm, date(2013, 2, 6))
    before = float(next(row["Close"] for row in rows_of("IBM") if row["Date"] == "2013-02-05"))
    assert ibm.adj_close[ex:].tolist() == ibm.close[ex:].tolist()
    assert ibm.adj_close[ex - 1] == pytest.approx(before * (1 - 0.85 / before), rel=1e-14)


def simulate(period: Period, symbol: str = "AAPL", seed: int = 1) -> dict[str, np.ndarray]:
    rows = SimulatedSource(seed, "XNYS", now=lambda: NOW).ask(symbol, period).rows
    return {name: np.array(rows.column(name).to_pylist()) for name in rows.column_names}


YEARS = Period(date(2016, 1, 30), date(2026, 1, 29))


@pytest.mark.parametrize("symbol", ["AAPL", "MSFT", "V", "SIM0001", "SIM0400"])
def test_simulated_bars_are_possible(symbol: str) -> None:
    bars = simulate(YEARS, symbol)
    assert tuple(bars["session_date"]) == calendar.sessions("XNYS", YEARS.first, YEARS.last)
    top, bottom = np.maximum(bars["open"], bars["close"]), np.minimum(bars["open"], bars["close"])
    assert (bars["high"] >= top).all()
    assert (bars["low"] <= bottom).all()
    assert (bars["low"] > 0).all()
    assert (bars["volume"] >= 0).all()
    assert (bars["volume"] == np.rint(bars["volume"])).all()
    assert (bars["adj_close"] <= bars["close"] * (1 + 1e-12)).all()
    assert (bars["adj_close"] > 0).all()


def test_the_same_seed_and_symbol_give_the_same_bars() -> None:
    one, again, other = simulate(YEARS), simulate(YEARS), simulate(YEARS, seed=2)
    assert all((one[name] == again[name]).all() for name in one)
    assert (one["close"] != other["close"]).any()
    assert (one["close"] != simulate(YEARS, "MSFT")["close"]).any()


def test_a_session_was_traded_at_the_same_price_whatever_is_asked() -> None:
    shorter = calendar.sessions("XNYS", ORIGIN, date(2020, 6, 30))
    longer = calendar.sessions("XNYS", ORIGIN, date(2026, 1, 29))
    for symbol in ("AAPL", "V"):
        one, two = traded_bars(1, symbol, shorter), traded_bars(1, symbol, longer)
        for name in ("open", "high", "low", "close", "volume", "dividends", "splits"):
            assert (getattr(one, name) == getattr(two, name)[: len(shorter)]).all()


def test_a_later_split_restates_and_a_later_start_does_not() -> None:
    sessions = calendar.sessions("XNYS", ORIGIN, YEARS.last)
    split = int(np.flatnonzero(traded_bars(1, "AAPL", sessions).splits)[-1])
    ratio = traded_bars(1, "AAPL", sessions).splits[split]
    start = sessions[split - 100]
    before = simulate(Period(start, sessions[split - 1]))
    after = simulate(Period(start, sessions[split]))
    assert after["close"][:-1] * ratio == pytest.approx(before["close"], rel=1e-12)
    later = simulate(Period(sessions[split - 50], sessions[split]))
    assert (after["close"][50:] == later["close"]).all()
    assert after["stock_splits"][-1] == ratio


def test_volatility_is_each_symbols_own_and_splits_and_dividends_happen() -> None:
    sessions = calendar.sessions("XNYS", ORIGIN, YEARS.last)
    every = [adjust(traded_bars(1, f"SIM{n:04d}", sessions)) for n in range(40)]
    volatilities = [np.std(np.diff(np.log(bars.close))) * np.sqrt(252) for bars in every]
    assert min(volatilities) > 0.12
    assert max(volatilities) < 0.65
    assert max(volatilities) - min(volatilities) > 0.2
    assert sum(bool(bars.splits.any()) for bars in every) > 10
    assert 15 < sum(bool(bars.dividends.any()) for bars in every) < 40
    traded = [traded_bars(1, f"SIM{n:04d}", sessions) for n in range(40)]
    assert max(bars.close.max() for bars in traded) < 5000
    assert all((np.round(bars.close, 2) == bars.close).all() for bars in traded)


def test_a_period_before_the_simulation_begins_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="1990-01-02"):
        simulate(Period(date(1989, 6, 1), date(1990, 6, 1)))
