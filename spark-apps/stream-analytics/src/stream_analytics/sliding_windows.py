"""Sliding windows over ticks: which ones a tick lies in, and what is computed over each."""

from datetime import timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from stream_analytics.partial_aggregates import LARGEST_VOLUME
from stream_analytics.window_specs import WindowSpec, micros
from ticklake.tables import WINDOW_COLUMNS

_WATERMARK_DELAY_KEY = "spark.watermarkDelayMs"
_SPLIT = 2.0**36 + 1
_LEAST_VARIANCE = 1e-20
"""Of a price squared: less than that between the means of parts comes from rounding."""


def windows_of(parts: DataFrame, specs: tuple[WindowSpec, ...], watermark: timedelta) -> DataFrame:
    """One row per window, with the columns of `ticklake.tables.WINDOW_COLUMNS` in their order.

    Args:
        parts: what `partial_aggregates` makes of ticks; in a stream, with a watermark. Rows without `pane_start` are in
            no window.
        watermark: the delay of that watermark.
    """
    return aggregated(in_windows(parts, "pane_start", specs, watermark))


def next_slide(event_time: Column, spec: WindowSpec) -> Column:
    """End of the earliest window that a tick lies in, in microseconds since 1970."""
    moment, slide = F.unix_micros(event_time), F.lit(micros(spec.slide))
    return moment - F.pmod(moment, slide) + slide


def in_windows(rows: DataFrame, time: str, specs: tuple[WindowSpec, ...], watermark: timedelta) -> DataFrame:
    """Each row once per window that it lies in, with `window` (struct of start and end) and `window_length`.

    The same rows as a union of `functions.window` over each kind, but in one stateful query with one scan. A row
    without a time is in none.

    Args:
        time: the column by which a row lies in a window.
        watermark: the delay of the watermark.
    """
    windows = F.concat(*(_windows_of(F.col(time), spec) for spec in specs))
    # By what the generator gives: a filter on the rows would be moved below the watermark, which heartbeats then would
    # not reach.
    exploded = rows.withColumn("placed", F.explode(windows)).where(F.col("placed.window.end").isNotNull())
    # `functions.window` marks its column as bound to the watermark; a window made by hand has to be marked likewise,
    # or no window would ever close.
    window = F.col("placed.window").alias(
        "window", metadata={_WATERMARK_DELAY_KEY: watermark // timedelta(milliseconds=1)}
    )
    return exploded.select(*rows.columns, window, F.col("placed.window_length").alias("window_length"))


def _windows_of(time: Column, spec: WindowSpec) -> Column:
    ends = F.sequence(F.lit(0), F.lit(spec.length // spec.slide - 1))
    first = next_slide(time, spec)

    def window(number: Column) -> Column:
        end = first + number.cast("bigint") * micros(spec.slide)
        start = F.timestamp_micros(end - micros(spec.length))
        bounds = F.struct(start.alias("start"), F.timestamp_micros(end).alias("end"))
        return F.struct(F.lit(spec.name).alias("window_length"), bounds.alias("window"))

    return F.transform(ends, window)


def aggregated(placed: DataFrame) -> DataFrame:
    """One row per window, with the columns of `ticklake.tables.WINDOW_COLUMNS` in their order.

    VWAP is sum(price x volume) / sum(volume), the mean price where no share was traded. Volatility is the sample
    standard deviation (n - 1). The volume stops at the largest 64-bit integer: an error would end the query for good.

    Args:
        placed: what `in_windows` makes of partial aggregates.
    """
    count, traded = F.sum("tick_count"), F.sum("traded")
    price_sum, deviations = _moments(count)
    first, last = F.min("first"), F.max("last")
    rows = placed.groupBy("window", "window_length", "symbol", "source").agg(
        first["price"].alias("open"),
        F.max("high").alias("high"),
        F.min("low").alias("low"),
        last["price"].alias("close"),
        F.when(traded > 0, F.sum("turnover") / traded).otherwise(price_sum / count).alias("vwap"),
        F.coalesce(F.try_sum("volume"), F.lit(LARGEST_VOLUME)).alias("volume"),
        count.alias("tick_count"),
        (price_sum / count).alias("moving_average"),
        F.when(count > 1, F.sqrt(deviations / (count - 1))).alias("volatility"),
        first["event_time"].alias("first_event_time"),
        last["event_time"].alias("last_event_time"),
    )
    bounds = rows.withColumn("window_start", F.col("window.start")).withColumn("window_end", F.col("window.end"))
    return bounds.select(*(F.col(column.name) for column in WINDOW_COLUMNS))


def _moments(count: Column) -> tuple[Column, Column]:
    """Sum of the prices, and of their squared differences from their mean, from parts with a mean and such a sum each.

    The parts' means differ by little of their size, and squares of the size would leave nothing of it. So each mean is
    split in two, rounded to 17 bits and the rest; the sums of the first kind, and what is subtracted from them, are
    exact up to half a million ticks. What remains is good to 1e-10 of the price.
    """
    number, mean = F.col("tick_count"), F.col("price_mean")
    head = _rounded(mean)
    rest = mean - head
    heads, rests = F.sum(number * head), F.sum(number * rest)
    near = _rounded(F.min("low"))
    sum_from_near = (heads - near * count) + rests
    squares_from_near = (
        (F.sum(number * (head * head)) - near * heads * 2 + near * near * count)
        + 2 * (F.sum(number * (head * rest)) - near * rests)
        + F.sum(number * (rest * rest))
    )
    between = squares_from_near - sum_from_near * sum_from_near / count
    relevant = F.when(between > count * near * near * _LEAST_VARIANCE, between).otherwise(0.0)
    return heads + rests, F.sum("deviations") + relevant


def _rounded(value: Column) -> Column:
    """`value` rounded to 17 of its 53 bits (T. J. Dekker, Numerische Mathematik 18, 1971, p. 235)."""
    large = value * _SPLIT
    return large - (large - value)
