"""One-minute bars of one series of ticks, by event time; memory is bounded."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

MINUTE_MS = 60_000


class Bar:
    """A minute in which ticks may still come."""

    __slots__ = ("close", "close_ms", "minute", "volume")

    def __init__(self, minute: int, close_ms: int, close: float, volume: int) -> None:
        self.minute, self.close_ms, self.close, self.volume = minute, close_ms, close, volume


class Bars:
    """The newest bars of a series. A minute without ticks has no bar.

    A bar is sealed once no tick within the lateness bound can fall into it; what follows the last sealed one is open:
    the running bar and, for as long as the bound, the one before it.
    """

    def __init__(self, keep: int, lateness_ms: int, on_sealed: Callable[[float], None]) -> None:
        """Start empty.

        Args:
            keep: sealed bars to hold.
            lateness_ms: how far behind the newest tick a tick may come, at most a minute.
            on_sealed: called with the close of each bar that is sealed, oldest first.
        """
        self.minutes: deque[int] = deque(maxlen=keep)
        self.closes: deque[float] = deque(maxlen=keep)
        self.volumes: deque[int] = deque(maxlen=keep)
        self.open: list[Bar] = []
        self._lateness_ms, self._on_sealed = lateness_ms, on_sealed
        self._sums: dict[Any, float] = {}

    def add(self, event_ms: int, price: float, volume: int, newest_ms: int) -> None:
        """Add a tick that is not later than the bound; `newest_ms` is the newest event time, this tick's included."""
        minute = event_ms // MINUTE_MS
        open_bars = self.open
        bar = open_bars[-1] if open_bars else None
        if bar is None or minute > bar.minute:
            open_bars.append(Bar(minute, event_ms, price, volume))
        elif minute == bar.minute:
            _merge(bar, event_ms, price, volume)
        elif not self.minutes or minute > self.minutes[-1]:  # else sealed, under a shorter bound before a restart
            place = bisect_left([each.minute for each in open_bars], minute)
            if open_bars[place].minute == minute:
                _merge(open_bars[place], event_ms, price, volume)
            else:
                open_bars.insert(place, Bar(minute, event_ms, price, volume))
        if len(open_bars) > 1:
            self._seal(newest_ms - self._lateness_ms)

    def _seal(self, before_ms: int) -> None:
        while len(self.open) > 1 and (self.open[0].minute + 1) * MINUTE_MS <= before_ms:
            bar = self.open.pop(0)
            self.minutes.append(bar.minute)
            self.closes.append(bar.close)
            self.volumes.append(bar.volume)
            self._sums.clear()
            self._on_sealed(bar.close)

    def sum_of_closes(self, number: int) -> float:
        """Sum of the newest `number` sealed closes."""
        return self._sum("closes", self.closes, number)

    def sum_of_volumes(self, number: int) -> float:
        """Sum of the newest `number` sealed volumes."""
        return self._sum("volumes", self.volumes, number)

    def _sum(self, name: str, values: "deque[float] | deque[int]", number: int) -> float:
        # The sums change once a minute and are asked for at every tick.
        key = (name, number)
        if (known := self._sums.get(key)) is None:
            known = self._sums[key] = sum(islice(values, len(values) - number, None)) if number else 0
        return known

    def cached(self, key: Any, compute: Callable[[], Any]) -> Any:
        """What `compute` gives of the sealed bars, computed once per sealed bar."""
        if (known := self._sums.get(key)) is None:
            known = self._sums[key] = compute()
        return known

    def dump(self) -> dict[str, Any]:
        """The bars as JSON has them."""
        return {
            "minutes": list(self.minutes),
            "closes": list(self.closes),
            "volumes": list(self.volumes),
            "open": [[bar.minute, bar.close_ms, bar.close, bar.volume] for bar in self.open],
        }

    def restore(self, dumped: dict[str, Any]) -> None:
        """Continue from what `dump` gave."""
        self.minutes.extend(dumped["minutes"])
        self.closes.extend(dumped["closes"])
        self.volumes.extend(dumped["volumes"])
        self.open = [Bar(*values) for values in dumped["open"]]


def _merge(bar: Bar, event_ms: int, price: float, volume: int) -> None:
    bar.volume += volume
    if event_ms >= bar.close_ms:
        bar.close, bar.close_ms = price, event_ms
