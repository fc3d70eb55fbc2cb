"""From bars to `ticklake.tables.DAILY_COLUMNS`: pure functions of data frames, apart from reading and writing."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from daily_analytics.merge import PASSING, batch_rows, by_symbol, history_rows
from daily_analytics.scan import scan_states, with_recursive_indicators
from daily_analytics.windows import with_changes, with_running, with_windows
from ticklake.tables import DAILY_COLUMNS


def daily_analytics(bars: DataFrame, history: DataFrame | None, partitions: int) -> DataFrame:
    """The batch's rows with their indicators, computed over history and batch.

    Args:
        bars: the batch, columns as `ticklake.tables.BAR_COLUMNS`, each session of a symbol once.
        history: rows of older batches (`DAILY_COLUMNS`), None where there are none.
        partitions: how many parts to work in; 1 needs no shuffle.

    Returns:
        one row per bar of the batch, with the columns of `DAILY_COLUMNS` in order; sorted by symbol and session
        within each part, and each symbol in one part.
    """
    rows = batch_rows(bars)
    if history is not None:
        rows = rows.unionByName(history_rows(history))
    rows = rows.coalesce(1) if partitions == 1 else rows.repartition(partitions, "symbol")
    sessions = _with_states(by_symbol(rows, with_history=history is not None))
    computed = with_recursive_indicators(with_running(with_windows(with_changes(sessions))))
    of_bar = {name: F.col("bar")[name].alias(name) for name in PASSING}
    return computed.filter(F.col("bar").isNotNull()).select(
        *(of_bar.get(column.name, F.col(column.name)) for column in DAILY_COLUMNS)
    )


def _with_states(symbols: DataFrame) -> DataFrame:
    """From an array of bars per symbol to one row per session: its bar's fields, and `state` of the scan."""
    zipped = F.arrays_zip("bars", "states")
    return (
        symbols.withColumn("states", scan_states(F.col("bars")))
        .select("symbol", F.inline(zipped))
        .select(
            "symbol",
            *(f"bars.{name}" for name in ("session_date", "adj_high", "adj_low", "adj_close", "volume", "bar")),
            F.col("states").alias("state"),
        )
    )
