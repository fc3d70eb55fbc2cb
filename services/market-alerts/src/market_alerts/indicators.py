"""Formulas over one-minute bars; each is the last value as of the newest tick, None while there is too little history.

The running bar counts with its latest price as its close, as on a chart that moves.
"""

import math
from itertools import islice
from typing import NamedTuple

from market_alerts.bars import Bars

MINUTES_A_YEAR = 252 * 390
"""Minutes of trading: 252 sessions of 6.5 hours."""
_LEAST_RETURNS = 5


class Ema(NamedTuple):
    """An exponential moving average on its way: `total` is the sum of the first closes until there are enough."""

    seen: int = 0
    total: float = 0.0


def ema_step(state: Ema, close: float, period: int) -> Ema:
    """The average after one more close.

    EMA(t) = EMA(t-1) + 2/(n+1) x (close - EMA(t-1)), begun with the mean of the first n closes. Source: J. Murphy,
    Technical Analysis of the Financial Markets, 1999, chapter 9; the beginning is TA-Lib's.
    """
    seen = state.seen + 1
    if seen < period:
        return Ema(seen, state.total + close)
    if seen == period:
        return Ema(seen, (state.total + close) / period)
    return Ema(seen, state.total + 2 / (period + 1) * (close - state.total))


def ema(state: Ema, bars: Bars, period: int) -> float | None:
    """The average as of the newest tick; `state` covers the sealed bars."""
    for bar in bars.open:
        state = ema_step(state, bar.close, period)
    return state.total if state.seen >= period else None


class RsiState(NamedTuple):
    """Wilder's averages on their way: sums of the first moves until there are enough."""

    seen: int = 0
    """Closes seen."""
    gain: float = 0.0
    loss: float = 0.0
    close: float = 0.0


def rsi_step(state: RsiState, close: float, period: int) -> RsiState:
    """The averages after one more close.

    Average gain(t) = (average gain(t-1) x (n-1) + gain(t)) / n, the loss likewise, begun with the plain means of the
    first n moves. Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978.
    """
    if state.seen == 0:
        return RsiState(1, 0.0, 0.0, close)
    move = close - state.close
    up, down = max(move, 0.0), max(-move, 0.0)
    seen = state.seen + 1
    if seen <= period:
        return RsiState(seen, state.gain + up, state.loss + down, close)
    if seen == period + 1:
        return RsiState(seen, (state.gain + up) / period, (state.loss + down) / period, close)
    rest = period - 1
    return RsiState(seen, (state.gain * rest + up) / period, (state.loss * rest + down) / period, close)


def rsi(state: RsiState, bars: Bars, period: int) -> float | None:
    """The relative strength index, 0 to 100, as of the newest tick; `state` covers the sealed bars.

    RSI = 100 x average gain / (average gain + average loss); None where nothing moved, as neither side is stronger.
    """
    for bar in bars.open:
        state = rsi_step(state, bar.close, period)
    moved = state.gain + state.loss
    if state.seen <= period or moved < 1e-14:
        return None
    return 100 * state.gain / moved


def sma(bars: Bars, period: int) -> float | None:
    """The mean of the newest `period` closes (Murphy, as above)."""
    newest = bars.open[-period:]
    sealed = period - len(newest)
    if sealed > len(bars.closes):
        return None
    return (bars.sum_of_closes(sealed) + sum(bar.close for bar in newest)) / period


def volatility(bars: Bars, minutes: int) -> float | None:
    """Realised volatility of the newest `minutes`, in percent a year; None under half of them or under 5 returns.

    The root of the sum of squared log returns between consecutive bars' closes, scaled from the minutes that they span
    to a year of 252 x 390. Source: T. G. Andersen, T. Bollerslev, F. X. Diebold, P. Labys, Modeling and Forecasting
    Realized Volatility, Econometrica 71 (2003).
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
    if returns < _LEAST_RETURNS or 2 * spanned < minutes:
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


def volume_ratio(bars: Bars, number: int) -> float | None:
    """Volume over the mean of the `number` bars before: the greater of the last full bar's and the running bar's.

    A running bar that is over the limit already will not come back under it; one that has just begun says nothing,
    therefore the full one stands beside it. None without that many bars, or where they had no volume.
    """
    *ended, running = bars.open
    found = [_ratio(bars, running.volume, [bar.volume for bar in ended], number)]
    if ended:
        found.append(_ratio(bars, ended[-1].volume, [bar.volume for bar in ended[:-1]], number))
    elif bars.volumes and len(bars.volumes) > number:
        last = bars.volumes[-1]
        mean = (bars.sum_of_volumes(number + 1) - last) / number
        found.append(last / mean if mean else None)
    return max((ratio for ratio in found if ratio is not None), default=None)


def _ratio(bars: Bars, volume: int, before: list[int], number: int) -> float | None:
    before = before[-number:]
    sealed = number - len(before)
    if sealed > len(bars.volumes):
        return None
    mean = (bars.sum_of_volumes(sealed) + sum(before)) / number
    return volume / mean if mean else None
