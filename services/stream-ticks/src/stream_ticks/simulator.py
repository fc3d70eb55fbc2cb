"""Simulated ticks: geometric Brownian motion per symbol and a U-shaped intraday volume, the same for the same seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ticklake.records import Source

SESSION_SECONDS = 23_400
"""09:30 to 16:00 in New York."""
_YEAR_SECONDS = 252 * SESSION_SECONDS
_OPEN_SECONDS = 9.5 * 3600
_NEW_YORK = ZoneInfo("America/New_York")

_LEAST, _GREATEST = 0.0001, 1e9
_DAILY_VOLUME = 40e6
"""Shares a day of a large listing, from which the mean volume of a tick follows."""
_VOLUME_SIGMA = 0.5
_U_DEPTH = 3.0
_OUTSIDE = 0.1


@dataclass(frozen=True)
class Start:
    """Where a symbol's path starts."""

    price: float
    volatility: float
    """Annualised standard deviation of log returns, e.g. 0.3."""


@dataclass(frozen=True)
class Rounds:
    """Consecutive rounds, each with one tick of every symbol."""

    first: int
    """Number of the first round, which is also its ticks' sequence."""
    event_ms: NDArray[np.int64]
    """Per round, milliseconds since 1970."""
    prices: NDArray[np.float64]
    """Per round and symbol, four decimals."""
    volumes: NDArray[np.int64]
    """Per round and symbol, shares."""


class Simulator:
    """Ticks of all symbols from `start_ms` on, one round each `step_ms`.

    Price: S(t+dt) = S(t) exp(-σ²/2 dt + σ √dt Z), geometric Brownian motion without drift (Hull, Options, Futures and
    Other Derivatives, "The process for a stock price"), dt in years of 252 sessions of 6.5 hours. Two simulators of
    one seed give the same ticks, however many rounds are asked for at a time.
    """

    def __init__(self, starts: Sequence[Start], seed: int, start_ms: int, step_ms: float) -> None:
        volatility = np.array([start.volatility for start in starts])
        years = step_ms / 1000 / _YEAR_SECONDS
        self._drift = -0.5 * volatility**2 * years
        self._scale = volatility * np.sqrt(years)
        self._log_prices = np.log(np.array([start.price for start in starts]))
        self._start_ms, self._step_ms = start_ms, step_ms
        self._round = 0
        # A generator each: how many numbers one takes must not move the other.
        self._price_noise, self._volume_noise = (
            np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2)
        )

    def move(self, milliseconds: int) -> None:
        """Move the event times of all further rounds, back where negative."""
        self._start_ms += milliseconds

    def next(self, rounds: int) -> Rounds:
        """The next `rounds` rounds."""
        shape = (rounds, len(self._log_prices))
        moves = self._drift + self._scale * self._price_noise.standard_normal(shape)
        # The state is the first term, so that the sums are the same in however many pieces they are made.
        paths = np.cumsum(np.vstack([self._log_prices, moves]), axis=0)[1:]
        self._log_prices = paths[-1]
        numbers = np.arange(self._round, self._round + rounds, dtype=np.int64)
        event_ms = self._start_ms + np.floor(numbers * self._step_ms).astype(np.int64)
        noise = np.exp(_VOLUME_SIGMA * self._volume_noise.standard_normal(shape) - _VOLUME_SIGMA**2 / 2)
        mean = _DAILY_VOLUME / SESSION_SECONDS * self._step_ms / 1000 * intraday_weight(event_ms)
        first, self._round = self._round, self._round + rounds
        return Rounds(
            first,
            event_ms,
            np.clip(np.round(np.exp(paths), 4), _LEAST, _GREATEST),
            np.maximum(1, np.rint(mean[:, None] * noise)).astype(np.int64),
        )


def intraday_weight(event_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """How busy the market is at each time (milliseconds since 1970), 1 on average over a session.

    A parabola over the session: (1 + 3 (2u - 1)²) / 2, u from 0 at the open to 1 at the close in New York, so twice the
    mean at both ends and half of it at midday; a tenth of the mean outside. Weekends and holidays are like any day.
    """
    hours = event_ms // 3_600_000
    offsets = {int(hour): _offset_seconds(int(hour)) for hour in np.unique(hours)}
    local = event_ms / 1000 + np.array([offsets[int(hour)] for hour in hours])
    u = (local % 86_400 - _OPEN_SECONDS) / SESSION_SECONDS
    inside = (1 + _U_DEPTH * (2 * u - 1) ** 2) / (1 + _U_DEPTH / 3)
    return np.where((u >= 0) & (u <= 1), inside, _OUTSIDE)


def _offset_seconds(hour: int) -> float:
    offset = datetime.fromtimestamp(hour * 3600, UTC).astimezone(_NEW_YORK).utcoffset()
    return (offset or timedelta()).total_seconds()


class Encoder:
    """Rounds to messages: the very bytes of `records.Tick.model_dump_json`, twenty times as fast."""

    def __init__(self, symbols: Sequence[str], producer_run: str, source: Source) -> None:
        self._keys = [symbol.encode() for symbol in symbols]
        self._heads = [f'{{"schema_version":1,"symbol":"{symbol}","price":' for symbol in symbols]
        self._tail = f',"producer_run":"{producer_run}","source":"{source.value}"}}'

    def messages(self, rounds: Rounds) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of every tick, round by round."""
        times = np.datetime_as_string(rounds.event_ms.astype("datetime64[ms]"), unit="ms").tolist()
        prices, volumes = rounds.prices.tolist(), rounds.volumes.tolist()
        for number, (time, row_prices, row_volumes) in enumerate(zip(times, prices, volumes, strict=True)):
            rest = f',"event_time":"{time}Z","sequence":{rounds.first + number}{self._tail}'
            for key, head, price, volume in zip(self._keys, self._heads, row_prices, row_volumes, strict=True):
                yield key, f'{head}{price!r},"volume":{volume}{rest}'.encode()
