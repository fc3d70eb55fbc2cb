"""A short moving average crosses a long one."""

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import model_validator

from market_alerts.bars import Bars
from market_alerts.history import BarIndicator, Indicator, PriceHistory
from market_alerts.rules.base import BarCount, CrossingRule, Direction

_NOISE_DIGITS = 9
"""Averages of equal prices differ in their last bits, which is no crossing."""


class MaCross(CrossingRule):
    """A short moving average crosses a long one. Value: short over long, minus 1, in percent."""

    label: ClassVar = "Moving averages"
    unit: ClassVar = " %"
    value_format: ClassVar = "{:+.3f}"

    kind: Literal["ma_cross"]
    average: Literal["sma", "ema"] = "ema"
    short: BarCount
    long: BarCount

    @model_validator(mode="after")
    def _short_is_shorter(self) -> Self:
        if self.short >= self.long:
            raise ValueError("short should be below long")
        return self

    @property
    def bars_needed(self) -> int:
        """The longer average's."""
        return self.long

    def indicators(self) -> Sequence[Indicator]:
        """The exponential averages; plain ones are computed from the bars."""
        return [Ema(self.short), Ema(self.long)] if self.average == "ema" else []

    def measure(self, history: PriceHistory) -> float | None:
        """The gap between the averages."""
        short, long = self._average(history, self.short), self._average(history, self.long)
        return None if short is None or long is None else round(100 * (short / long - 1), _NOISE_DIGITS)

    def _average(self, history: PriceHistory, period: int) -> float | None:
        if self.average == "ema":
            return history.indicator(Ema, period).value(history.bars)
        return sma(history.bars, period)

    def thresholds(self) -> tuple[float, float]:
        """No gap."""
        return 0.0, 0.0

    def text_of(self, direction: Direction) -> str:
        """E.g. `EMA(5) crosses above EMA(20)`."""
        name = self.average.upper()
        return f"{name}({self.short}) {self.crosses(f'{name}({self.long})', direction)}"


def sma(bars: Bars, period: int) -> float | None:
    """The mean of the newest `period` closes, the running bar's price as its close (Murphy, as below)."""
    newest = bars.open[-period:]
    sealed = period - len(newest)
    if sealed > len(bars.closes):
        return None
    return (bars.sum_of_closes(sealed) + sum(bar.close for bar in newest)) / period


class _Average(NamedTuple):
    seen: int = 0
    """Closes seen."""
    total: float = 0.0
    """The average; the sum of the first closes until there are enough."""


class Ema(BarIndicator):
    """The exponential moving average of closes over a period of `parameter` bars."""

    name = "ema"
    state = _Average()

    @staticmethod
    def step(state: _Average, close: float, parameter: int) -> _Average:
        """The average after one more close.

        EMA(t) = EMA(t-1) + 2/(n+1) x (close - EMA(t-1)), begun with the mean of the first n closes. Source: J. Murphy,
        Technical Analysis of the Financial Markets, 1999, chapter 9; the beginning is TA-Lib's.
        """
        seen = state.seen + 1
        if seen < parameter:
            return _Average(seen, state.total + close)
        if seen == parameter:
            return _Average(seen, (state.total + close) / parameter)
        return _Average(seen, state.total + 2 / (parameter + 1) * (close - state.total))

    def value(self, bars: Bars) -> float | None:
        """The average as of the newest tick."""
        average: _Average = self.current(bars)
        return average.total if average.seen >= self.parameter else None
