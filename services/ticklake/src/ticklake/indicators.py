"""Technical indicators of daily bars: TA-Lib's, for one symbol at a time. Needs the package `ta-lib`."""

from typing import Any

import numpy as np
import pyarrow as pa

from ticklake.adjustment import Floats

NAMES = (
    "sma_5",
    "sma_20",
    "sma_50",
    "sma_200",
    "ema_12",
    "ema_26",
    "macd",
    "macd_signal",
    "macd_hist",
    "rsi_14",
    "bb_middle",
    "bb_upper",
    "bb_lower",
    "atr_14",
    "obv",
    "high_52w",
    "low_52w",
)
"""What `indicators` adds, in order; see `tables.INDICATOR_COLUMNS` for each one's meaning."""

METRICS = ("history_sessions", "change", "change_pct", "log_return", "drawdown", "volatility_20")
"""What `metrics` adds, in order; see `tables.INDICATOR_COLUMNS` for each one's meaning."""

TRADING_YEAR = 252
"""Sessions of a year."""
_VOLATILITY_RETURNS = 20


def indicators(bars: pa.Table) -> pa.Table:
    """One symbol's bars with the columns `NAMES` behind their own, each null until its window is full.

    Formulas: TA-Lib (ta-lib.org), functions SMA, EMA, MACD, RSI, BBANDS, ATR, OBV, MAX and MIN.

    Args:
        bars: the columns adj_high, adj_low, adj_close and volume, without nulls, in session order.
    """
    # Its import reads a hundred function descriptions.
    import talib

    high, low, close, volume = (_floats(bars[name]) for name in ("adj_high", "adj_low", "adj_close", "volume"))
    upper, middle, lower = talib.BBANDS(close, timeperiod=20, nbdevup=2, nbdevdn=2)
    values = (
        *(talib.SMA(close, timeperiod=sessions) for sessions in (5, 20, 50, 200)),
        *(talib.EMA(close, timeperiod=sessions) for sessions in (12, 26)),
        *talib.MACD(close, fastperiod=12, slowperiod=26, signalperiod=9),
        talib.RSI(close, timeperiod=14),
        middle,
        upper,
        lower,
        talib.ATR(high, low, close, timeperiod=14),
        talib.OBV(close, volume),
        talib.MAX(high, timeperiod=TRADING_YEAR),
        talib.MIN(low, timeperiod=TRADING_YEAR),
    )
    for name, value in zip(NAMES, values, strict=True):
        bars = bars.append_column(name, pa.array(value, pa.float64(), mask=np.isnan(value)))
    return bars


def metrics(bars: pa.Table) -> pa.Table:
    """One symbol's bars with the columns `METRICS` behind their own, each null where it is not defined yet.

    They are what the table of analytics has, where Spark computes them; logarithm and deviation to the last digits.

    Args:
        bars: the column adj_close, without nulls, in session order.
    """
    close = _floats(bars["adj_close"])
    before = np.concatenate(([np.nan], close))[: len(close)]
    returns = np.log(close / before)
    volatility = np.full(len(close), np.nan)
    if len(close) > _VOLATILITY_RETURNS:
        runs = np.lib.stride_tricks.sliding_window_view(returns, _VOLATILITY_RETURNS)
        volatility[_VOLATILITY_RETURNS - 1 :] = runs.std(axis=1, ddof=1) * TRADING_YEAR**0.5
    values = (
        close - before,
        (close - before) / before * 100,
        returns,
        close / np.maximum.accumulate(close) - 1,
        volatility,
    )
    bars = bars.append_column(METRICS[0], pa.array(np.arange(1, len(close) + 1), pa.int32()))
    for name, value in zip(METRICS[1:], values, strict=True):
        bars = bars.append_column(name, pa.array(value, pa.float64(), mask=np.isnan(value)))
    return bars


def _floats(column: Any) -> Floats:
    found: Floats = np.ascontiguousarray(column.to_numpy(), dtype="float64")
    return found
