"""Recorded real daily bars, turned into the convention of Yahoo.

The package `bokeh_sampledata` carries the bars of AAPL, FB, GOOG, IBM and MSFT from 2000-03-01 to 2013-03-01 as they
were traded, and beside them the publisher's adjusted close. Between two sessions that adjustment changes by
close / (close + dividend), and by the ratio of a split, so every dividend can be read off it to the cent.
"""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SPLITS: dict[str, dict[date, int]] = {
    "AAPL": {date(2000, 6, 21): 2, date(2005, 2, 28): 2},
    "MSFT": {date(2003, 2, 18): 2},
}
"""New shares per old one, by ex-date, within the recording."""


@dataclass(frozen=True)
class Bars:
    """Daily bars of one symbol; arrays of one length, a value per session, in the order of the sessions."""

    sessions: tuple[date, ...]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    dividends: Floats
    """Cash per share on its ex-date, else 0."""
    splits: Floats
    """New shares per old one on the ex-date, else 0."""

    def until(self, last: date) -> "Bars":
        """The bars up to `last`, included."""
        count = sum(1 for session in self.sessions if session <= last)
        columns = (self.open, self.high, self.low, self.close, self.volume, self.dividends, self.splits)
        return Bars(self.sessions[:count], *(column[:count] for column in columns))


@dataclass(frozen=True)
class AdjustedBars(Bars):
    """Bars in Yahoo's convention, as known at their last session.

    Open to close, dividends and volume are adjusted for the splits after them.
    """

    adj_close: Floats
    """Close, adjusted for the splits and the dividends after it."""


def adjust(traded: Bars) -> AdjustedBars:
    """Bars as traded, in Yahoo's convention.

    A session's prices are divided, and its volume multiplied, by the product of all later splits. The adjusted close
    is further multiplied by 1 - dividend / previous close for every later ex-date (Yahoo's help page "What is the
    adjusted close?", after the Center for Research in Security Prices).
    """
    shares = _product_of_later(np.where(traded.splits > 0, traded.splits, 1.0))
    close = traded.close / shares
    dividends = traded.dividends / shares
    # A dividend and the close before it must be per share of the same kind: both are in today's shares here.
    keep = np.ones(len(close))
    if len(close) > 1:
        keep[1:] = 1.0 - dividends[1:] / close[:-1]
    return AdjustedBars(
        sessions=traded.sessions,
        open=traded.open / shares,
        high=traded.high / shares,
        low=traded.low / shares,
        close=close,
        volume=np.rint(traded.volume * shares),
        dividends=dividends,
        splits=traded.splits,
        adj_close=close * _product_of_later(keep),
    )


def _product_of_later(factors: Floats) -> Floats:
    """For each position the product of the factors after it, 1 at the last."""
    products = np.ones(len(factors))
    if len(factors) > 1:
        products[:-1] = np.cumprod(factors[:0:-1])[::-1]
    return products


@lru_cache
def recorded() -> dict[str, Bars]:
    """The recorded bars as traded, with their splits and dividends, by symbol."""
    from bokeh_sampledata import stocks

    return {symbol: _bars(symbol, getattr(stocks, symbol)) for symbol in ("AAPL", "FB", "GOOG", "IBM", "MSFT")}


def last_recorded_session() -> date:
    """The recording's own last session."""
    return max(bars.sessions[-1] for bars in recorded().values())


def first_recorded_session() -> date:
    """The recording's own first session."""
    return min(bars.sessions[0] for bars in recorded().values())


def _bars(symbol: str, columns: dict[str, list[float]]) -> Bars:
    sessions = tuple(date.fromisoformat(str(day)) for day in columns["date"])
    numbers = {name: np.array(columns[name], "float64") for name in ("open", "high", "low", "close", "volume")}
    known = SPLITS.get(symbol, {})
    splits = np.array([float(known.get(session, 0)) for session in sessions])
    dividends = _dividends(numbers["close"], np.array(columns["adj_close"], "float64"), splits)
    return Bars(sessions, **numbers, dividends=dividends, splits=splits)


def _dividends(close: Floats, publishers_adj_close: Floats, splits: Floats) -> Floats:
    """Cash per share on each ex-date, from the change of the publisher's factor; dividends are whole cents here."""
    factor = publishers_adj_close / close
    change = factor[:-1] / factor[1:] * np.where(splits[1:] > 0, splits[1:], 1.0)
    dividends = np.zeros(len(close))
    dividends[1:] = np.round(close[1:] * (1.0 / change - 1.0), 2)
    return np.where(dividends > 0, dividends, 0.0)
