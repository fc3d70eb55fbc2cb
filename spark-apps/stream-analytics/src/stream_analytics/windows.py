"""Sliding windows over ticks."""

from dataclasses import dataclass
from datetime import timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from ticklake.tables import WINDOW_COLUMNS

LARGEST_VOLUME = 2**63 - 1


@dataclass(frozen=True)
class WindowSpec:
    """One kind of sliding window. Windows start at whole multiples of the slide since 1970-01-01T00:00:00Z."""

    name: str
    """`15m` or `1h`: the value of the column `window_length`, and the query's name in manifests."""
    length: timedelta
    slide: timedelta


def aggregated(windowed: DataFrame) -> DataFrame:
    """One row per window, with the columns of `ticklake.tables.WINDOW_COLUMNS` in their order.

    Args:
        windowed: ticks with `window` (a struct of start and end) and `window_length`, once per window they lie in.
            Rows without a symbol (heartbeats) are in no result.

    The volume stops at the largest 64-bit integer: an error here would end the query for good.
    """
    price, volume = F.col("price"), F.col("volume")
    # The producer's run decides between two ticks of the same moment and number, so that a retry decides alike.
    order = F.struct("event_time", "sequence", "producer_run", "price")
    traded = F.sum(volume.cast("double"))
    rows = windowed.groupBy("window", "window_length", "symbol", "source").agg(
        F.min_by(price, order).alias("open"),
        F.max(price).alias("high"),
        F.min(price).alias("low"),
        F.max_by(price, order).alias("close"),
        F.when(traded > 0, F.sum(price * volume) / traded).otherwise(F.avg(price)).alias("vwap"),
        F.coalesce(F.try_sum(volume), F.lit(LARGEST_VOLUME)).alias("volume"),
        F.count("symbol").alias("tick_count"),
        F.avg(price).alias("moving_average"),
        F.stddev_samp(price).alias("volatility"),
        F.min("event_time").alias("first_event_time"),
        F.max("event_time").alias("last_event_time"),
    )
    # Not a filter on the symbol: Spark would move that below the watermark, which heartbeats are there to move.
    kept = rows.where(F.col("tick_count") > 0)
    bounds = kept.withColumn("window_start", F.col("window.start")).withColumn("window_end", F.col("window.end"))
    return bounds.select(*(F.col(column.name) for column in WINDOW_COLUMNS))


def in_windows(ticks: DataFrame, spec: WindowSpec) -> DataFrame:
    """Each tick once per window of `spec` that it lies in, with `window` and `window_length`."""
    return ticks.withColumn("window", _window(spec)).withColumn("window_length", F.lit(spec.name))


def _window(spec: WindowSpec) -> Column:
    seconds = (int(spec.length.total_seconds()), int(spec.slide.total_seconds()))
    return F.window("event_time", *(f"{value} seconds" for value in seconds))
