"""How many ticks came after the watermark, counted as ticks, before aggregation.

Spark drops a late tick from each window that is closed already (the watermark has reached its end) and keeps it in the
others. Its own count, `numRowsDroppedByWatermark`, is taken after partial aggregation: it says that there were late
ticks and in how many groups, not how many ticks. So where it is not 0, the batch's offset range is read once more and
the ticks in it are held against the watermark that the batch was filtered with, which is the one of the batch before.

Exact per finished micro-batch, and free of cost where nothing was late. What it counts is reported at most once: a
process killed between a batch's commit and its count reports nothing for that batch. The ticks themselves are in the
archive.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from stream_analytics.sliding_windows import next_slide
from stream_analytics.window_specs import WindowSpec, micros

_EARLIEST = -2


@dataclass(frozen=True)
class LateTicks:
    """Late ticks of one micro-batch and one kind of window."""

    window: str
    partly: int
    """Missed at least one of their windows, but not all."""
    entirely: int
    """Missed every window."""


def late_ticks(parts: DataFrame, specs: Sequence[WindowSpec], watermark: datetime) -> tuple[LateTicks, ...]:
    """Count, for each kind of window, the ticks that have windows which end at or before `watermark`.

    Args:
        parts: what `partial_aggregates` makes of ticks: those of one pane have all their windows in common.
    """
    closed = F.lit(int(watermark.timestamp() * 1000) * 1000)
    counts = []
    for spec in specs:
        first_end = next_slide(F.col("pane_start"), spec)
        last_end = first_end + micros(spec.length - spec.slide)
        counts += [
            _ticks_where((first_end <= closed) & (last_end > closed)).alias(f"partly_{spec.name}"),
            _ticks_where(last_end <= closed).alias(f"entirely_{spec.name}"),
        ]
    row = parts.agg(*counts).first()
    assert row is not None  # noqa: S101 - an aggregate without keys always has one row
    return tuple(LateTicks(spec.name, row[f"partly_{spec.name}"], row[f"entirely_{spec.name}"]) for spec in specs)


def _ticks_where(condition: Column) -> Column:
    return F.coalesce(F.sum(F.when(condition, F.col("tick_count"))), F.lit(0))


def offset_range(spark: SparkSession, options: dict[str, str], start: str, end: str) -> DataFrame:
    """The messages of a finished micro-batch.

    Args:
        options: of Spark's Kafka source.
        start: Kafka's offsets in JSON as a query's progress has them; the first offset of each partition.
        end: the same for the offset after each partition's last.
    """
    first, after = json.loads(start), json.loads(end)
    for topic, partitions in after.items():
        for partition in partitions:  # a partition added meanwhile is read from its beginning, as the query did
            first[topic].setdefault(partition, _EARLIEST)
    reader = spark.read.format("kafka").options(**options).option("subscribe", ",".join(after))
    return reader.option("startingOffsets", json.dumps(first)).option("endingOffsets", json.dumps(after)).load()


def checkpoint_watermark(spark: SparkSession, checkpoint: str, batch_id: int) -> datetime | None:
    """The watermark of a batch of an earlier process, from Spark's offset log; None where that is gone."""
    lines = spark.read.text(f"{checkpoint}/offsets/{batch_id}").collect()
    for line in lines:
        if "batchWatermarkMs" in line.value:
            return datetime.fromtimestamp(json.loads(line.value)["batchWatermarkMs"] / 1000, UTC)
    return None
