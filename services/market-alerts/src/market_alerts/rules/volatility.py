"""Realised volatility over a window is above a limit."""

import math
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from market_alerts.bars import Bars
from market_alerts.history import PriceHistory
from market_alerts.rules.base import MAX_BARS, BaseRule, Condition, Duration, Positive, duration, number

MINUTES_A_YEAR = 252 * 390
"""Minutes of trading: 252 sessions of 6.5 hours."""
_MIN_RETURNS = 5


class Volatility(BaseRule):
    """Realised volatility over a window is above a limit. Value: percent a year."""

    label: ClassVar = "Volatility"
    unit: ClassVar = " % a year"

    kind: Literal["volatility"]
    window: Annotated[Duration, Field(ge=300, le=MAX_BARS * 60)]
    above: Positive

    @property
    def bars_needed(self) -> int:
        """The window's, and the one before it for the first return."""
        return self.window // 60 + 1

    def measure(self, history: PriceHistory) -> float | None:
        """Realised volatility over the window."""
        return realised_volatility(history.bars, self.window // 60)

    def conditions(self) -> Sequence[Condition]:
        """The limit."""
        text = f"realised volatility over {duration(self.window)} is at least {number(self.above)} % a year"
        return [Condition("above", self.above, 1, self.hysteresis, text)]


def realised_volatility(bars: Bars, minutes: int) -> float | None:
    """Realised volatility of the newest `minutes`, in percent a year; None under half of them or under 5 returns.

    The root of the sum of squared log returns between consecutive bars' closes, scaled from the minutes that they span
    to a year of 252 x 390. Source: T. G. Andersen, T. Bollerslev, F. X. Diebold, P. Labys, Modeling and Forecasting
    Realized Volatility, Econometrica 71 (2003). The running bar counts with its latest price as its close.
    """
    newest = bars.open[-1].minute
    cutoff = newest - minutes
    squares, returns, start, last = bars.cached(("returns", cutoff), lambda: _returns(bars, cutoff))
    for bar in bars.open:
        if bar.minute < cutoff:
            continue
        if last is None:
            start = bar.minute
        else:
            squares += math.log(bar.close / last) ** 2
            returns += 1
        last = bar.close
    spanned = newest - start
    if returns < _MIN_RETURNS or 2 * spanned < minutes:
        return None
    return 100 * math.sqrt(squares / spanned * MINUTES_A_YEAR)


def _returns(bars: Bars, cutoff: int) -> tuple[float, int, int, float | None]:
    """Of the sealed bars from `cutoff` on: sum of squared log returns, their number, first minute, last close."""
    squares, returns, start, last = 0.0, 0, cutoff, None
    older = sum(1 for minute in bars.minutes if minute < cutoff)
    for minute, close in islice(zip(bars.minutes, bars.closes, strict=True), older, None):
        if last is None:
            start = minute
        else:
            squares += math.log(close / last) ** 2
            returns += 1
        last = close
    return squares, returns, start, last
