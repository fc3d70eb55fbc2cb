"""Indicators that each session's value of depends on the session before: one scan per symbol over its sorted bars.

The scan runs inside the JVM as a higher-order function over the symbol's array of bars. Its state after each bar holds
the running averages; a field that is not seeded yet holds the sum that will seed it. Definitions and seeds are those of
TA-Lib (functions EMA, MACD, RSI, ATR with their default settings), in the same order of operations.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

FAST, SLOW, SIGNAL, WILDER = 12, 26, 9, 14

MACD_FROM = SLOW + SIGNAL - 1
"""Bars until MACD's three lines are there, the first of them included: TA-Lib starts all with the signal line."""

_START = {
    "bars": "0", "previous": "0D", "ema_12": "0D", "ema_26": "0D", "macd_fast": "0D", "signal": "0D",
    "gain": "0D", "loss": "0D", "range": "0D",
}  # fmt: skip


def scan_states(bars: Column) -> Column:
    """The state after each bar.

    Args:
        bars: array of structs in session order, with `adj_high`, `adj_low` and `adj_close` (doubles) among the fields.

    Returns:
        an array of the same length of structs: `bars` (how many so far), `ema_12`, `ema_26`, `macd_fast` (the EMA 12
        that MACD uses), `signal` (EMA 9 of MACD), `gain` and `loss` (Wilder's averages), `range` (average true range).
    """
    start = F.expr("array(named_struct(" + ", ".join(f"'{name}', {zero}" for name, zero in _START.items()) + "))")

    def append(states: Column, bar: Column) -> Column:
        return F.concat(states, F.transform(F.slice(states, -1, 1), lambda state: _next_state(state, bar)))

    states = F.aggregate(bars, start, append)
    return F.slice(states, F.lit(2), F.size(bars))


def _next_state(state: Column, bar: Column) -> Column:
    """The state after `bar`, from the one before it."""
    close, previous = bar["adj_close"], state["previous"]
    count = state["bars"] + 1
    ema_26 = _ema(state["ema_26"], close, count, SLOW)
    # MACD's fast average starts at the same bar as the slow one: its seed is the mean of the bars 15 to 26.
    fast = _ema(state["macd_fast"], close, count - (SLOW - FAST), FAST)
    signal = _ema(state["signal"], fast - ema_26, count - (SLOW - 1), SIGNAL)
    change = close - previous
    true_range = F.greatest(
        bar["adj_high"] - bar["adj_low"], F.abs(previous - bar["adj_high"]), F.abs(previous - bar["adj_low"])
    )
    return F.struct(
        count.alias("bars"),
        close.alias("previous"),
        _ema(state["ema_12"], close, count, FAST).alias("ema_12"),
        ema_26.alias("ema_26"),
        fast.alias("macd_fast"),
        signal.alias("signal"),
        _wilder(state["gain"], F.greatest(change, F.lit(0.0)), count - 1).alias("gain"),
        _wilder(state["loss"], F.greatest(-change, F.lit(0.0)), count - 1).alias("loss"),
        _wilder(state["range"], true_range, count - 1).alias("range"),
    )


def _ema(before: Column, value: Column, nth: Column, period: int) -> Column:
    """Exponential moving average: seeded with the mean of the first `period` values, then smoothed by 2/(period+1).

    `nth` counts the values from 1; below 1 there is none yet.
    """
    return (
        F.when(nth > period, before + (value - before) * F.lit(2.0 / (period + 1)))
        .when(nth == period, (before + value) / period)
        .when(nth >= 1, before + value)
        .otherwise(0.0)
    )


def _wilder(before: Column, value: Column, nth: Column) -> Column:
    """Wilder's average of 14: seeded with the mean, then (13 x before + value) / 14. `nth` as for `_ema`."""
    return (
        F.when(nth > WILDER, (before * (WILDER - 1) + value) / WILDER)
        .when(nth == WILDER, (before + value) / WILDER)
        .when(nth >= 1, before + value)
        .otherwise(0.0)
    )


def with_recursive_indicators(states: DataFrame) -> DataFrame:
    """Turn the column `state` of `scan_states` into ema_12, ema_26, macd, macd_signal, macd_hist, rsi_14 and atr_14.

    Each is null until its window is full, as in TA-Lib. RSI is 0 where neither gain nor loss was seen, as in TA-Lib.
    """
    state, bars = F.col("state"), F.col("state.bars")
    moves = state["gain"] + state["loss"]
    macd = F.when(bars >= MACD_FROM, state["macd_fast"] - state["ema_26"])
    signal = F.when(bars >= MACD_FROM, state["signal"])
    # TA-Lib takes what is nearer to zero than this for zero.
    rsi = F.when(moves < 1e-14, 0.0).otherwise(state["gain"] / moves * 100)
    return states.withColumns(
        {
            "ema_12": F.when(bars >= FAST, state["ema_12"]),
            "ema_26": F.when(bars >= SLOW, state["ema_26"]),
            "macd": macd,
            "macd_signal": signal,
            "macd_hist": macd - signal,
            "rsi_14": F.when(bars > WILDER, rsi),
            "atr_14": F.when(bars > WILDER, state["range"]),
        }
    )
