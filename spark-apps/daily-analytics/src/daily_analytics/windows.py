"""Indicators over a fixed number of sessions, and those over all so far: window functions with explicit frames.

Definitions are those of TA-Lib where it has the indicator. A value is null until its window is full.

Spark goes through a sliding frame anew for every row. So only short frames are gone through; the sum or extreme of a
long one is put together from those of shorter ones that end earlier, e.g. 200 sessions from 4 times 50. A running
total, from which what leaves the window is taken away again, would lose digits where prices fall by powers of ten.
"""

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

TRADING_YEAR = 252
"""Sessions of 52 weeks, and of the year that volatility is scaled to."""

_SCRATCH = ("sum_5", "sum_50", "high_9", "high_63", "low_9", "low_63")


def _sessions() -> WindowSpec:
    # A function, because a window cannot be described before there is a session.
    return Window.partitionBy("symbol").orderBy("session_date")


def _last(sessions: int) -> WindowSpec:
    return _sessions().rowsBetween(1 - sessions, Window.currentRow)


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
    short = bars.withColumns(
        {
            "sum_5": F.sum("adj_close").over(_last(5)),
            "high_9": F.max("adj_high").over(_last(9)),
            "low_9": F.min("adj_low").over(_last(9)),
            "deviation_20": F.stddev_pop("adj_close").over(_last(20)),
            "volatility_20": _from(21, F.stddev_samp("log_return").over(_last(20)) * F.lit(TRADING_YEAR**0.5)),
        }
    )
    middle = short.withColumns(
        {
            "sma_20": _from(20, _total("sum_5", 5, 4) / 20),
            "sum_50": _total("sum_5", 5, 10),
            "high_63": F.greatest(*_earlier("high_9", 9, 7)),
            "low_63": F.least(*_earlier("low_9", 9, 7)),
        }
    )
    return middle.withColumns(
        {
            "sma_5": _from(5, F.col("sum_5") / 5),
            "sma_50": _from(50, F.col("sum_50") / 50),
            "sma_200": _from(200, _total("sum_50", 50, 4) / 200),
            "bb_middle": F.col("sma_20"),
            "bb_upper": F.col("sma_20") + 2 * F.col("deviation_20"),
            "bb_lower": F.col("sma_20") - 2 * F.col("deviation_20"),
            "high_52w": _from(TRADING_YEAR, F.greatest(*_earlier("high_63", 63, 4))),
            "low_52w": _from(TRADING_YEAR, F.least(*_earlier("low_63", 63, 4))),
        }
    ).drop(*_SCRATCH, "deviation_20")


def with_running(bars: DataFrame) -> DataFrame:
    """Add obv and drawdown, which look at all sessions so far.

    On-balance volume starts with the first session's volume and then adds or takes each session's, by the sign of its
    change; drawdown is adj_close over its highest value so far, minus 1.

    Args:
        bars: symbol, session_date, adj_close, volume and the columns of `with_changes`.
    """
    signed = (
        F.when(F.col("change").isNull() | (F.col("change") > 0), F.col("volume"))
        .when(F.col("change") < 0, -F.col("volume"))
        .otherwise(0.0)
    )
    return bars.withColumns(
        {
            "obv": F.sum(signed).over(_so_far()),
            "drawdown": F.col("adj_close") / F.max("adj_close").over(_so_far()) - 1,
        }
    )


def _from(session: int, value: Column) -> Column:
    """`value`, null before the symbol's session of that number."""
    return F.when(F.col("history_sessions") >= session, value)


def _earlier(column: str, length: int, count: int) -> list[Column]:
    """The values of a `length`-session window that end now, `length` sessions ago, and so on, `count` in all."""
    return [F.col(column), *(F.lag(column, place * length).over(_sessions()) for place in range(1, count))]


def _total(column: str, length: int, count: int) -> Column:
    """Their sum: that of a window of `length` x `count` sessions."""
    total, *others = _earlier(column, length, count)
    for other in others:
        total = total + other
    return total
