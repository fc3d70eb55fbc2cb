"""Sliding windows over ticks: which ones a tick lies in, and what is computed over each."""

from datetime import timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from stream_analytics.specs import WindowSpec, micros
from ticklake.tables import WINDOW_COLUMNS

LARGEST_VOLUME = 2**63 - 1

_WATERMARK_DELAY_KEY = "spark.watermarkDelayMs"


def next_slide(event_time: Column, spec: WindowSpec) -> Column:
    """End of the earliest window that a tick lies in, in microseconds since 1970."""
    moment, slide = F.unix_micros(event_time), F.lit(micros(spec.slide))
    return moment - F.pmod(moment, slide) + slide


def in_windows(ticks: DataFrame, specs: tuple[WindowSpec, ...], watermark: timedelta) -> DataFrame:
    """Each tick once per window that it lies in, with `window` (struct of start and end) and `window_length`.

    The same rows as a union of `functions.window` over each kind, but from one scan of the ticks and in one stateful
    query: on two cores a micro-batch has a fixed cost of about half a second, and a scan of its own per kind parses
    every message anew.

    Args:
        ticks: has `event_time` and a watermark on it.
        watermark: the delay of that watermark.
    """
    windows = F.concat(*(_windows_of(spec) for spec in specs))
    exploded = ticks.withColumn("placed", F.explode(windows))
    # `functions.window` marks its column as bound to the watermark; a window made by hand has to be marked likewise,
    # or no window would ever close.
    window = F.col("placed.window").alias(
        "window", metadata={_WATERMARK_DELAY_KEY: watermark // timedelta(milliseconds=1)}
    )
    return exploded.select(*ticks.columns, window, F.col("placed.window_length").alias("window_length"))


def _windows_of(spec: WindowSpec) -> Column:
    ends = F.sequence(F.lit(0), F.lit(spec.length // spec.slide - 1))
    first = next_slide(F.col("event_time"), spec)

    def window(number: Column) -> Column:
        end = first + number.cast("bigint") * micros(spec.slide)
        start = F.timestamp_micros(end - micros(spec.length))
        bounds = F.struct(start.alias("start"), F.timestamp_micros(end).alias("end"))
        return F.struct(F.lit(spec.name).alias("window_length"), bounds.alias("window"))

    return F.transform(ends, window)


def aggregated(placed: DataFrame) -> DataFrame:
    """One row per window, with the columns of `ticklake.tables.WINDOW_COLUMNS` in their order.

    VWAP is sum(price x volume) / sum(volume), the mean price where no share was traded; volatility is the sample
    standard deviation (n - 1). The volume stops at the largest 64-bit integer: an error would end the query for good.

    Args:
        placed: what `in_windows` gives. Rows without a symbol (heartbeats) are in no result.
    """
    price, volume = F.col("price"), F.col("volume")
    # The producer's run decides between two ticks of the same moment and number, so that a retry decides alike.
    order = F.struct("event_time", "sequence", "producer_run", "price")
    traded = F.sum(volume.cast("double"))
    rows = placed.groupBy("window", "window_length", "symbol", "source").agg(
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
