"""What the queries read: ticks from Kafka and, where the clock is event time, heartbeats.

**Heartbeats.** The watermark follows the greatest event time seen, so without ticks it does not advance and the last
windows stay open. In the real flow, where event time is the clock's, each micro-batch therefore also gets rows without
a symbol from Spark's rate source, one per second, whose event time is the clock's. They move the watermark and are in
no window.

They must not make a tick late that waits in Kafka, after downtime or while the broker is away. They cannot:

- A micro-batch is planned in one step that asks each source, in the order of the plan, how far it goes. Heartbeats
  come first, then Kafka's latest offsets, without a limit on a batch's size. So whatever had been appended by the time
  of a batch's last heartbeat is in that batch or an earlier one, however large the backlog.
- A batch's rows only move the watermark of the batches after it. So the heartbeats of all the downtime, which the rate
  source makes up for after a restart, come into force after the backlog that is in the same batch was aggregated.
- If Kafka does not answer, no batch can be planned and no heartbeat gets through.

What a heartbeat does make late is a tick appended more than the watermark's delay after its event time: late by the
clock. Hence no option here may ever limit the size of a batch (`maxOffsetsPerTrigger`): besides, partitions read
unevenly would make ticks late by each other.
"""

import json
from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from stream_analytics.partial_aggregates import partial_aggregates_of_messages
from stream_analytics.settings import StreamAnalyticsSettings
from stream_analytics.tick_parsing import COUNTS, METRICS
from ticklake.spark import kafka_options

COMMITTED = {"kafka.isolation.level": "read_committed"}
"""Option of a source that leaves out the messages of aborted transactions."""
_AT_ONCE = 10_000
"""Messages that one task reads: no query holds a core for long while another one's tasks wait."""
_FETCH_WAIT_MS = 10
"""How long the broker holds a fetch for which it has nothing yet. A consumer fetches ahead, beyond the batch it reads,
and its next request, for the offsets of its partition, waits behind that: 500 ms by Kafka's default."""


def windowed_input(
    spark: SparkSession,
    settings: StreamAnalyticsSettings,
    starts: Mapping[int, int] | None = None,
    *,
    heartbeat: bool = False,
) -> DataFrame:
    """Partial aggregates of the valid ticks and heartbeats, with a watermark on `event_time`, that of the newest tick.

    A micro-batch's progress has the sums of `tick_parsing.COUNTS`, taken before anything is filtered or aggregated.

    A query with a checkpoint goes on where it stopped. An offset that the broker no longer has stops the query: data is
    lost and a person must know.

    Args:
        starts: per partition the offset that a query with a new checkpoint reads from; None: its first ones.
        heartbeat: whether the clock moves the watermark too.
    """
    topic = settings.live.names.topic
    raw = (
        spark.readStream.format("kafka")
        .options(**kafka_options(settings.kafka), **COMMITTED)
        .option("subscribe", topic)
        .option("startingOffsets", json.dumps({topic: starts}) if starts else "earliest")
        .option("failOnDataLoss", "true")
        .option("maxRecordsPerPartition", _AT_ONCE)
        .option("kafka.fetch.max.wait.ms", _FETCH_WAIT_MS)
        .load()
    )
    found = partial_aggregates_of_messages(raw, settings.stream.windows, settings.live.future_tolerance)
    counted = found.observe(METRICS, *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in COUNTS))
    parts = counted.where(F.col("symbol").isNotNull()).drop(*COUNTS).withColumn("event_time", F.col("last.event_time"))
    if heartbeat:
        clock = spark.readStream.format("rate").option("rowsPerSecond", 1).option("numPartitions", 1).load()
        # First in the union, hence asked first: see above.
        heartbeats = clock.select(F.col("timestamp").alias("event_time"))
        parts = heartbeats.unionByName(parts, allowMissingColumns=True)
    return parts.withWatermark("event_time", f"{settings.stream.watermark_seconds} seconds")
