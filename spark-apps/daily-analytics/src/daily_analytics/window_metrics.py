"""The daily metrics: window functions over each symbol's sessions, whose prices are fully adjusted."""

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from ticklake.indicators import TRADING_YEAR

METRICS = ("history_sessions", "change", "change_pct", "log_return", "drawdown", "volatility_20")
"""What `with_metrics` adds; see `tables.INDICATOR_COLUMNS` for each one's meaning."""


def _sessions() -> WindowSpec:
    return Window.partitionBy("symbol").orderBy("session_date")


def with_metrics(bars: DataFrame) -> DataFrame:
    """Add `METRICS`.

    Changes are null on a symbol's first session; volatility_20 is the sample standard deviation of 20 log returns
    times the root of 252, so it needs 21 sessions; drawdown is adj_close over its highest value so far, minus 1.

    Args:
        bars: symbol, session_date, adj_close.
    """
    close, before = F.col("adj_close"), F.lag("adj_close").over(_sessions())
    last_20 = _sessions().rowsBetween(-19, Window.currentRow)
    so_far = _sessions().rowsBetween(Window.unboundedPreceding, Window.currentRow)
    changes = bars.withColumns(
        {
            "history_sessions": F.row_number().over(_sessions()),
            "change": close - before,
            "change_pct": (close - before) / before * 100,
            "log_return": F.log(close / before),
            "drawdown": close / F.max("adj_close").over(so_far) - 1,
        }
    )
    volatility = F.stddev_samp("log_return").over(last_20) * F.lit(TRADING_YEAR**0.5)
    return changes.withColumn("volatility_20", _from(21, volatility))


def _from(session: int, value: Column) -> Column:
    """`value`, null before the symbol's session of that number."""
    return F.when(F.col("history_sessions") >= session, value)
