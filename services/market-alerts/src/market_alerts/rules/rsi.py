"""The relative strength index leaves its usual range."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from market_alerts.bars import Bars
from market_alerts.history import BarIndicator, Indicator, PriceHistory
from market_alerts.rules.base import BarCount, BaseRule, Condition, NotNegative, number


class Rsi(BaseRule):
    """The relative strength index is over or under a limit. Value: 0 to 100."""

    label: ClassVar = "Relative strength index"

    kind: Literal["rsi"]
    period: BarCount = 14
    over: Annotated[float, Field(gt=0, lt=100)] | None = None
    under: Annotated[float, Field(gt=0, lt=100)] | None = None
    hysteresis: NotNegative = 2.0

    @model_validator(mode="after")
    def _has_limits(self) -> Self:
        if self.over is None and self.under is None:
            raise ValueError("over, under or both are needed")
        if self.over is not None and self.under is not None and self.under >= self.over:
            raise ValueError("under should be below over")
        return self

    @property
    def bars_needed(self) -> int:
        """One more than moves."""
        return self.period + 1

    def indicators(self) -> Sequence[Indicator]:
        """Wilder's averages."""
        return (WilderAverages(self.period),)

    def measure(self, history: PriceHistory) -> float | None:
        """The index."""
        return history.indicator(WilderAverages, self.period).rsi(history.bars)

    def conditions(self) -> Sequence[Condition]:
        """One per limit."""
        found = []
        if self.over is not None:
            found.append(Condition("over", self.over, 1, self.hysteresis, f"{self._is} at least {number(self.over)}"))
        if self.under is not None:
            found.append(
                Condition("under", self.under, -1, self.hysteresis, f"{self._is} at most {number(self.under)}")
            )
        return found

    @property
    def _is(self) -> str:
        return f"RSI({self.period}) is"

    @property
    def text(self) -> str:
        """E.g. `RSI(14) is at least 75 or at most 25`."""
        return super().text.replace(f"or {self._is}", "or")


class _Averages(NamedTuple):
    seen: int = 0
    """Closes seen."""
    gain: float = 0.0
    loss: float = 0.0
    """Averages; sums of the first moves until there are enough."""
    close: float = 0.0


class WilderAverages(BarIndicator):
    """Wilder's averages of gains and losses over `parameter` moves between closes."""

    name = "rsi"
    state = _Averages()

    @staticmethod
    def step(state: _Averages, close: float, parameter: int) -> _Averages:
        """The averages after one more close.

        Average gain(t) = (average gain(t-1) x (n-1) + gain(t)) / n, the loss likewise, begun with the plain means of
        the first n moves. Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978.
        """
        if state.seen == 0:
            return _Averages(1, 0.0, 0.0, close)
        move, seen, period = close - state.close, state.seen + 1, parameter
        up, down = max(move, 0.0), max(-move, 0.0)
        if seen <= period:
            return _Averages(seen, state.gain + up, state.loss + down, close)
        if seen == period + 1:
            return _Averages(seen, (state.gain + up) / period, (state.loss + down) / period, close)
        rest = period - 1
        return _Averages(seen, (state.gain * rest + up) / period, (state.loss * rest + down) / period, close)

    def rsi(self, bars: Bars) -> float | None:
        """The relative strength index, 0 to 100, as of the newest tick.

        RSI = 100 x average gain / (average gain + average loss); None where nothing moved, as neither side is stronger.
        """
        averages: _Averages = self.current(bars)
        moved = averages.gain + averages.loss
        if averages.seen <= self.parameter or moved < 1e-14:
            return None
        return 100 * averages.gain / moved
