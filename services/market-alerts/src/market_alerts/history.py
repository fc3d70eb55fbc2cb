"""What is kept of one symbol's ticks for its rules to measure: price, one-minute bars, indicators."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeVar

from market_alerts.bars import Bars


class Indicator:
    """What a rule needs beside the bars, updated with each tick or each sealed bar, and saved with them."""

    name: ClassVar[str]
    """Under which its state is saved."""

    def __init__(self, parameter: int) -> None:
        """Start without history; rules of the same `parameter` (a period, a window) share one indicator."""
        self.parameter = parameter

    def on_tick(self, event_ms: int, price: float, newest_ms: int) -> None:
        """Add a tick; `newest_ms` is the newest event time, this tick's included."""

    def on_bar(self, close: float) -> None:
        """Add a sealed bar."""

    def dump(self) -> Any:
        """The state as JSON has it."""
        raise NotImplementedError

    def restore(self, dumped: Any) -> None:
        """Continue from what `dump` gave."""
        raise NotImplementedError


class BarIndicator(Indicator):
    """An indicator of the bars' closes, as a state (a named tuple) and the step from one to the next."""

    state: Any

    @staticmethod
    def step(state: Any, close: float, parameter: int) -> Any:
        """The state after one more close."""
        raise NotImplementedError

    def on_bar(self, close: float) -> None:
        """Add a sealed bar."""
        self.state = self.step(self.state, close, self.parameter)

    def current(self, bars: Bars) -> Any:
        """The state as of the newest tick: the running bar counts with its latest price as its close."""
        state = self.state
        for bar in bars.open:
            state = self.step(state, bar.close, self.parameter)
        return state

    def dump(self) -> Any:
        """The state as JSON has it."""
        return self.state

    def restore(self, dumped: Any) -> None:
        """Continue from what `dump` gave."""
        self.state = type(self.state)(*dumped)


AnyIndicator = TypeVar("AnyIndicator", bound=Indicator)


class PriceHistory:
    """Price, bars and indicators as of the newest tick."""

    def __init__(self, keep_bars: int, indicators: Iterable[Indicator], lateness_ms: int) -> None:
        """Start empty.

        Args:
            keep_bars: sealed bars to hold.
            lateness_ms: how far behind the newest tick a tick may come, at most a minute.
        """
        self.newest_ms: int | None = None
        self.price = math.nan
        self.bars = Bars(keep_bars, lateness_ms, self._on_sealed)
        self._indicators = {(type(each), each.parameter): each for each in indicators}
        self._lateness_ms = lateness_ms

    def indicator(self, kind: type[AnyIndicator], parameter: int) -> AnyIndicator:
        """The indicator of this kind and parameter, which a rule asked for."""
        return self._indicators[kind, parameter]  # type: ignore[return-value]

    def add(self, event_ms: int, price: float, volume: int) -> bool | None:
        """Add a tick: True where it is the newest, False where it is late, None where it is too late and left out.

        A late tick, within the bound, counts in bars and indicators, but does not change the price.
        """
        newest = self.newest_ms
        in_order = newest is None or event_ms >= newest
        if newest is None or in_order:
            self.newest_ms, self.price, newest = event_ms, price, event_ms
        elif event_ms < newest - self._lateness_ms:
            return None
        self.bars.add(event_ms, price, volume, newest)
        for indicator in self._indicators.values():
            indicator.on_tick(event_ms, price, newest)
        return in_order

    def _on_sealed(self, close: float) -> None:
        for indicator in self._indicators.values():
            indicator.on_bar(close)

    def dump(self) -> dict[str, Any]:
        """The whole state as JSON has it."""
        indicators: dict[str, dict[str, Any]] = {}
        for each in self._indicators.values():
            indicators.setdefault(each.name, {})[str(each.parameter)] = each.dump()
        return {"newest_ms": self.newest_ms, "price": self.price, "bars": self.bars.dump()} | indicators

    def restore(self, dumped: dict[str, Any]) -> None:
        """Continue from what `dump` gave; an indicator that is not in it starts from the bars and the newest tick."""
        newest: int = dumped["newest_ms"]
        self.newest_ms, self.price = newest, dumped["price"]
        self.bars.restore(dumped["bars"])
        closes: Sequence[float] = dumped["bars"]["closes"]
        for each in self._indicators.values():
            known = dumped.get(each.name, {}).get(str(each.parameter))
            if known:
                each.restore(known)
                continue
            for close in closes:
                each.on_bar(close)
            each.on_tick(newest, self.price, newest)
