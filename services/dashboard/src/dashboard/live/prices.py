"""Live prices in memory: the newest ticks of each symbol and what the page shows of them."""

import threading
from bisect import insort
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ticklake import calendar, logs
from ticklake.errors import ConfigurationError
from ticklake.records import Tick

log = logs.get(__name__)

SPARKLINE = 60
_DAY_MS = 86_400_000
_OTHER_SOURCE_MS = 30_000
"""Silence of a symbol's source after which another one takes its place; two at once never mix nor alternate."""
_MOST_LEFT_OUT = 100
"""Names of symbols that there is no room for."""
_REMEMBERED = 2000
"""Identities by which a tick that was sent twice is recognised; it comes again soon or never."""


@dataclass(frozen=True, slots=True, order=True)
class HeldTick:
    """A tick as it is held; sorts by event time."""

    event_ms: int
    sequence: int
    price: float
    volume: int
    arrived_ms: int
    """The broker's time of the message."""


@dataclass
class SymbolState:
    """One symbol's ticks of one source."""

    source: str
    ticks: list[HeldTick] = field(default_factory=list)
    """By event time, oldest first."""
    day: int = -1
    """When the trading day begins that high, low and volume are of, in milliseconds since 1970."""
    high: float = 0.0
    low: float = 0.0
    volume: int = 0
    first_price: float = 0.0
    arrived_ms: int = 0
    seen: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    seen_set: set[tuple[str, int]] = field(default_factory=set)

    def add(self, tick: HeldTick, identity: tuple[str, int], most: int, day: int) -> bool:
        """Take a tick of the trading day that begins at `day`; False for one that was taken before."""
        if identity in self.seen_set:
            return False
        if len(self.seen) == self.seen.maxlen:
            self.seen_set.discard(self.seen[0])
        self.seen.append(identity)
        self.seen_set.add(identity)
        if not self.ticks:
            self.first_price = tick.price
        if not self.ticks or tick > self.ticks[-1]:
            self.ticks.append(tick)
        else:
            insort(self.ticks, tick)
        if len(self.ticks) > most + most // 10 + 1:
            # In pieces: taking each single one off a list's front would cost as much as the list is long.
            del self.ticks[: len(self.ticks) - most]
        self.arrived_ms = max(self.arrived_ms, tick.arrived_ms)
        self._count(tick, day)
        return True

    def _count(self, tick: HeldTick, day: int) -> None:
        if day > self.day:
            self.day, self.high, self.low, self.volume = day, tick.price, tick.price, 0
        if day == self.day:
            self.high, self.low = max(self.high, tick.price), min(self.low, tick.price)
            self.volume += tick.volume

    def sparkline(self) -> list[float]:
        """At most `SPARKLINE` prices, evenly taken, the first and the last among them."""
        count = len(self.ticks)
        if count <= SPARKLINE:
            return [tick.price for tick in self.ticks]
        step = (count - 1) / (SPARKLINE - 1)
        return [self.ticks[round(number * step)].price for number in range(SPARKLINE)]


class LiveState:
    """All symbols' ticks. One thread adds, any number reads.

    Args:
        ticks_per_symbol: newest ticks held of each.
        most_symbols: ticks of further symbols are left out.
        exchange: code of the calendar whose trading days high, low and volume are of.
    """

    def __init__(self, ticks_per_symbol: int, most_symbols: int, exchange: str) -> None:
        self._most_ticks, self._most_symbols, self._exchange = ticks_per_symbol, most_symbols, exchange
        self._day = (0, 0)
        self._lock = threading.Lock()
        self._symbols: dict[str, SymbolState] = {}
        self._changed: set[str] = set()
        self._newest: tuple[int, str] | None = None
        self._left_out: set[str] = set()

    def add(self, tick: Tick, arrived_ms: int) -> bool:
        """Take a tick; False for one that was taken before, is of a symbol too many or of a second source."""
        held = HeldTick(tick.event_ms, tick.sequence, tick.price, tick.volume, arrived_ms)
        with self._lock:
            state = self._state_for(tick.symbol, tick.source.value, arrived_ms)
            if state is None:
                return False
            if not state.add(held, (tick.producer_run, tick.sequence), self._most_ticks, self._day_of(held)):
                return False
            self._changed.add(tick.symbol)
            if self._newest is None or arrived_ms >= self._newest[0]:
                self._newest = (arrived_ms, tick.source.value)
            return True

    def _day_of(self, tick: HeldTick) -> int:
        start, end = self._day
        if not start <= tick.event_ms < end:
            try:
                bounds = calendar.trading_day(self._exchange, _time(tick.event_ms))
                start, end = (round(bound.timestamp() * 1000) for bound in bounds)
            except ConfigurationError:
                start = tick.event_ms // _DAY_MS * _DAY_MS
                end = start + _DAY_MS
            self._day = start, end
        return start

    def _state_for(self, symbol: str, source: str, arrived_ms: int) -> SymbolState | None:
        state = self._symbols.get(symbol)
        if state is not None and state.source == source:
            return state
        if state is not None and arrived_ms - state.arrived_ms < _OTHER_SOURCE_MS:
            return None
        if state is None and len(self._symbols) >= self._most_symbols:
            if symbol not in self._left_out and len(self._left_out) < _MOST_LEFT_OUT:
                self._left_out.add(symbol)
                log.warning("no room for the prices of another symbol", symbol=symbol, limit=self._most_symbols)
            return None
        state = self._symbols[symbol] = SymbolState(source)
        return state

    def symbols(self) -> list[str]:
        """Symbols with ticks, in order."""
        with self._lock:
            return sorted(self._symbols)

    def left_out(self) -> list[str]:
        """Symbols beyond the limit, in order; the first hundred that came."""
        with self._lock:
            return sorted(self._left_out)

    def newest(self) -> tuple[int, str] | None:
        """When the newest tick arrived (milliseconds since 1970) and its source; None before the first."""
        return self._newest

    def source_of(self, symbol: str) -> str | None:
        """The source of a symbol's ticks; None where there are none."""
        state = self._symbols.get(symbol)
        return state.source if state else None

    def session_dates(self) -> dict[str, tuple[str, datetime]]:
        """Per symbol its ticks' source and the newest one's event time."""
        with self._lock:
            return {name: (state.source, _time(state.ticks[-1].event_ms)) for name, state in self._symbols.items()}

    def take_changed(self) -> set[str]:
        """The symbols that changed since the last call."""
        with self._lock:
            changed, self._changed = self._changed, set()
            return changed

    def ticks(self, symbol: str, limit: int) -> tuple[str, list[HeldTick]] | None:
        """The source and the newest ticks of a symbol, oldest first; None where there are none."""
        with self._lock:
            state = self._symbols.get(symbol)
            return (state.source, state.ticks[-min(limit, self._most_ticks) :]) if state else None

    def quote(self, symbol: str, previous_close: float | None, *, full: bool) -> dict[str, Any]:
        """A symbol's price as `models.Quote` has it, or `models.QuoteChange` if not `full`.

        Raises:
            KeyError: there are no ticks of it.
        """
        with self._lock:
            state = self._symbols[symbol]
            last = state.ticks[-1]
            base = previous_close or state.first_price
            quote: dict[str, Any] = {
                "symbol": symbol,
                "price": last.price,
                "change": last.price - base,
                "change_percent": (last.price / base - 1) * 100,
                "volume": state.volume,
                "high": state.high,
                "low": state.low,
                "event_time": _time(last.event_ms),
                "arrived_at": _time(last.arrived_ms),
                "source": state.source,
            }
            if full:
                since = "first_tick" if previous_close is None else "previous_close"
                quote |= {
                    "previous_close": previous_close,
                    "change_since": since,
                    "sparkline": state.sparkline(),
                }
            return quote


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
