"""The source `simulated`: seeded daily bars of any number of symbols, on the real sessions of an exchange.

Each symbol's path starts at `ORIGIN` and every random number belongs to one session, so a session has the same price
as traded whatever period is asked for. What was traded is then restated, as Yahoo would, by the splits and dividends
up to the end of the period.
"""

import bisect
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa

from fetch_historical.answer_store import ROWS, Reply, empty_rows
from fetch_historical.batch_period import Period
from fetch_historical.recordings import Bars, Floats, adjust
from ticklake import calendar
from ticklake.errors import ConfigurationError
from ticklake.records import SymbolStatus

ORIGIN = date(1990, 1, 2)
"""First session of every simulated symbol, unless the exchange's sessions are known only from a later one on."""

_YEAR = 252.0
"""Sessions per year."""
_OVERNIGHT = 0.2
"""Share of a day's variance that falls between close and open."""


@dataclass(frozen=True)
class _Character:
    """What makes one symbol differ from another."""

    volatility: float
    """Of the log return, per root of a year."""
    drift: float
    """Of the log price, per year."""
    start: float
    """Price at `ORIGIN`."""
    shares: float
    """Typical shares traded per session, at the start."""
    dividend_yield: float
    """Per year."""
    ex_day: int
    """Which of every 63 sessions is a quarter's ex-date."""


class SimulatedSource:
    """Makes bars up; the same (seed, symbol) always gives the same path.

    Args:
        calendar_code: exchange whose sessions it uses.
        now: the clock, for the time of the answer.
    """

    def __init__(
        self, seed: int, calendar_code: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._seed = seed
        self._code = calendar_code
        self._now = now
        self._sessions: dict[date, tuple[date, ...]] = {}

    def ask(self, symbol: str, period: Period) -> Reply:
        """See `DataSource.ask`.

        Raises:
            ConfigurationError: the period begins before the simulation does.
        """
        asked_at = self._now()
        origin = max(ORIGIN, calendar.reach(self._code)[0])
        if period.first < origin:
            raise ConfigurationError(
                f"simulated bars begin on {origin}, the period on {period.first}: "
                "choose a later --date or fewer TICKLAKE_YEARS"
            )
        if period.last not in self._sessions:
            self._sessions[period.last] = calendar.sessions(self._code, origin, period.last)
        sessions = self._sessions[period.last]
        adjusted = adjust(traded_bars(self._seed, symbol, sessions))
        start = bisect.bisect_left(sessions, period.first)
        if start == len(sessions):
            reason = f"{symbol}: no session from {period.first} to {period.last}"
            return Reply(SymbolStatus.EMPTY, empty_rows(), asked_at, reason)
        columns = (
            adjusted.open,
            adjusted.high,
            adjusted.low,
            adjusted.close,
            adjusted.adj_close,
            adjusted.volume,
            adjusted.dividends,
            adjusted.splits,
        )
        arrays = [pa.array(sessions[start:], pa.date32()), *(pa.array(column[start:]) for column in columns)]
        return Reply(SymbolStatus.OK, pa.table(arrays, schema=ROWS), asked_at)


def traded_bars(seed: int, symbol: str, sessions: tuple[date, ...]) -> Bars:
    """Bars as traded: prices in whole cents, with splits that keep them in a usual range, and quarterly dividends.

    The log price is a Brownian motion with drift, overnight and intraday apart. High and low are drawn from the law of
    the extremes of a Brownian bridge between open and close (P. Glasserman, Monte Carlo Methods in Financial
    Engineering, 2004, section 6.4), each by itself.

    Args:
        sessions: from `ORIGIN` on, in order.
    """
    # A generator per quantity: more sessions then lengthen each stream and change none of its earlier numbers.
    word = int.from_bytes(hashlib.blake2b(symbol.encode(), digest_size=8).digest())
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence([seed, word]).spawn(7)]
    who = _character(streams[0])
    count = len(sessions)
    daily = who.volatility / np.sqrt(_YEAR)
    gap, intraday = daily * np.sqrt(_OVERNIGHT), daily * np.sqrt(1 - _OVERNIGHT)
    overnight = gap * streams[1].standard_normal(count)
    within = who.drift / _YEAR + intraday * streams[2].standard_normal(count)
    close = np.log(who.start) + np.cumsum(overnight + within)
    open_ = close - within
    high = _extreme(open_, close, intraday, streams[3].random(count), up=True)
    low = _extreme(open_, close, intraday, streams[4].random(count), up=False)
    busy = np.exp(0.35 * streams[5].standard_normal(count)) * (1.0 + np.abs(within) / daily)
    chance = streams[6].random(count)
    splits = _splits(np.exp(close), chance)
    # On its ex-date a split is in the price already.
    scale = np.cumprod(np.where(splits > 0, splits, 1.0))
    opened, highest, lowest, closed = (_cents(np.exp(value) / scale) for value in (open_, high, low, close))
    dividends = np.zeros(count)
    ex_days = np.arange(count) % 63 == who.ex_day
    dividends[1:] = np.where(ex_days[1:], np.round(closed[:-1] * who.dividend_yield / 4, 2), 0.0)
    # One event a session: a dividend would have to say which kind of share it is for.
    dividends[splits > 0] = 0.0
    volume = np.rint(who.shares * scale * busy)
    return Bars(sessions, opened, highest, lowest, closed, volume, dividends, splits)


def _character(rng: np.random.Generator) -> _Character:
    volatility, drift, start, shares, pays, dividend_yield = rng.random(6)
    return _Character(
        volatility=0.15 + 0.4 * volatility,
        drift=-0.02 + 0.12 * drift,
        start=float(np.exp(np.log(15) + start * np.log(12))),
        shares=float(np.exp(np.log(5e5) + shares * np.log(60))),
        dividend_yield=0.005 + 0.03 * dividend_yield if pays < 0.7 else 0.0,
        ex_day=int(rng.integers(63)),
    )


def _extreme(start: Floats, end: Floats, deviation: float, chance: Floats, *, up: bool) -> Floats:
    """Maximum (minimum where not `up`) of a Brownian bridge from `start` to `end`, by inversion of its law."""
    # 1 - chance lies in (0, 1], so the logarithm is finite.
    reach = np.sqrt((end - start) ** 2 - 2.0 * deviation**2 * np.log(1.0 - chance))
    found: Floats = (start + end + (reach if up else -reach)) / 2.0
    return np.maximum(found, np.maximum(start, end)) if up else np.minimum(found, np.minimum(start, end))


def _splits(price: Floats, chance: Floats) -> Floats:
    """New shares per old one where a split is due, else 0; a company looks at its price about twice a year."""
    ratios = np.zeros(len(price))
    scale = 1.0
    for n in np.flatnonzero(chance < 1.0 / 126.0):
        before = price[n - 1] / scale if n else price[0]
        ratio = _ratio(float(before))
        if ratio and n:
            ratios[n] = ratio
            scale *= ratio
    return ratios


def _ratio(price: float) -> float:
    if price > 1000:
        return 10.0
    if price > 400:
        return 4.0
    if price > 150:
        return 2.0
    return 0.1 if price < 4 else 0.0


def _cents(price: Floats) -> Floats:
    return np.maximum(np.round(price, 2), 0.01)
