"""Indicators over a fixed number of sessions, and those over all so far: window functions with explicit frames.

Definitions are those of TA-Lib where it has the indicator. A value is null until its window is full.
"""

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

TRADING_YEAR = 252
"""Sessions of 52 weeks, and of the year that volatility is scaled to."""


def _sessions() -> WindowSpec:
    # A function, because a window cannot be described before there is a session.
    return Window.partitionBy("symbol").orderBy("session_date")


def _so_far() -> WindowSpec:
    return _sessions().rowsBetween(Window.unboundedPreceding, Window.currentRow)


def with_changes(bars: DataFrame) -> DataFrame:
    """Add history_sessions, change, change_pct and log_return; null on a symbol's first session.

    Args:
        bars: symbol, session_date, adj_close.
    """
    close, before = F.col("adj_close"), F.lag("adj_close").over(_sessions())
    return bars.withColumns(
        {
            "history_sessions": F.row_number().over(_sessions()),
            "change": close - before,
            "change_pct": (close - before) / before * 100,
            "log_return": F.log(close / before),
        }
    )


def with_windows(bars: DataFrame) -> DataFrame:
    """Add the averages, Bollinger bands (20 sessions, 2 population standard deviations), volatility, 52-week range.

    volatility_20 is the sample standard deviation of 20 log returns times the root of 252, so it needs 21 sessions.

    Args:
        bars: symbol, session_date, adj_high, adj_low, adj_close and the columns of `with_changes`.
    """
    sma_20, deviation = _over(F.avg("adj_close"), 20), _over(F.stddev_pop("adj_close"), 20)
    return bars.withColumns(
        {
            "sma_5": _over(F.avg("adj_close"), 5),
            "sma_20": sma_20,
            "sma_50": _over(F.avg("adj_close"), 50),
            "sma_200": _over(F.avg("adj_close"), 200),
            "bb_middle": sma_20,
            "bb_upper": sma_20 + 2 * deviation,
            "bb_lower": sma_20 - 2 * deviation,
            "volatility_20": _over(F.stddev_samp("log_return"), 20, first=21) * F.lit(TRADING_YEAR**0.5),
            "high_52w": _over(F.max("adj_high"), TRADING_YEAR),
            "low_52w": _over(F.min("adj_low"), TRADING_YEAR),
        }
    )


def with_running(bars: DataFrame) -> DataFrame:
    """Add obv and drawdown, which look at all sessions so far.

    On-balance volume starts with the first session's volume and then adds or takes each session's, by the sign of its
    change; drawdown is adj_close over its highest value so far, minus 1.

    Args:
        bars: symbol, session_date, adj_close, volume and the columns of `with_changes`.
    """
    signed = F.when(F.col("change").isNull() | (F.col("change") > 0), F.col("volume")).when(
        F.col("change") < 0, -F.col("volume")
    )
    return bars.withColumns(
        {
            "obv": F.sum(F.coalesce(signed, F.lit(0)).cast("double")).over(_so_far()),
            "drawdown": F.col("adj_close") / F.max("adj_close").over(_so_far()) - 1,
        }
    )


def _over(aggregate: Column, sessions: int, *, first: int | None = None) -> Column:
    """`aggregate` over the last `sessions` sessions, null before the symbol's session number `first`."""
    frame = _sessions().rowsBetween(1 - sessions, Window.currentRow)
    return F.when(F.col("history_sessions") >= (first or sessions), aggregate.over(frame))
