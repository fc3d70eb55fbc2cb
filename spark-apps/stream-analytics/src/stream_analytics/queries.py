"""The application's queries, each with a checkpoint of its own.

| query | mode | to |
|---|---|---|
| `closed` | append | the table `windows`; the analytics topic |
| `running` | update | the analytics topic |

Both kinds of window are in one query. A window's last value comes once, in append mode, and its values so far come in
update mode; no one query gives both, hence two with a state each. `running` can be switched off.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.readwriter import DataStreamWriter

from stream_analytics.settings import CLOSED, RUNNING, StreamAnalyticsSettings
from stream_analytics.sliding_windows import windows_of
from stream_analytics.sources import windowed_input
from stream_analytics.window_messages import running_messages
from ticklake.spark import kafka_options

_NO_DATA_BATCHES = "spark.sql.streaming.noDataMicroBatches.enabled"

Sink = Callable[[DataFrame, int], None]
"""What `foreachBatch` calls with a micro-batch and its number."""


def start_closed(
    spark: SparkSession, settings: StreamAnalyticsSettings, sink: Sink, starts: Mapping[int, int]
) -> StreamingQuery:
    """Start the query of closed windows; with a new checkpoint it reads from `starts`, see `records`."""
    windows = _windows(settings, windowed_input(spark, settings, starts, heartbeat=settings.heartbeat))
    writer = _writer(windows, settings, CLOSED, settings.stream.trigger_seconds).outputMode("append")
    return writer.foreachBatch(sink).start()


def start_running(spark: SparkSession, settings: StreamAnalyticsSettings) -> StreamingQuery:
    """Start the query of running windows."""
    # Without heartbeats, and without a batch of its own for each move of the watermark: where nothing comes, nothing is
    # new, and what does come would wait for that batch.
    messages = running_messages(_windows(settings, windowed_input(spark, settings)))
    writer = _writer(messages, settings, RUNNING, settings.stream.running_trigger_seconds).outputMode("update")
    spark.conf.set(_NO_DATA_BATCHES, "false")
    try:
        return writer.format("kafka").options(**analytics_topic(settings)).start()
    finally:
        # A query keeps the configuration that its session had as it started; the other one closes windows by them.
        spark.conf.unset(_NO_DATA_BATCHES)


def analytics_topic(settings: StreamAnalyticsSettings) -> dict[str, str]:
    """Options of Spark's Kafka sink for the topic of windows."""
    return {**kafka_options(settings.kafka), "topic": settings.live.names.analytics_topic}


def _windows(settings: StreamAnalyticsSettings, parts: DataFrame) -> DataFrame:
    return windows_of(parts, settings.stream.windows, timedelta(seconds=settings.stream.watermark_seconds))


def _writer(frame: DataFrame, settings: StreamAnalyticsSettings, name: str, seconds: float) -> DataStreamWriter:
    # Inherited by the query's own thread: where both have tasks to run, each gets its share of the cores.
    frame.sparkSession.sparkContext.setLocalProperty("spark.scheduler.pool", name)
    writer = frame.writeStream.queryName(name).trigger(processingTime=f"{seconds} seconds")
    return writer.option("checkpointLocation", settings.checkpoint(name))


def session_options(settings: StreamAnalyticsSettings) -> dict[str, str]:
    """Spark configuration of this application, in the form of `ticklake.spark.build_session`'s keywords."""
    options = {
        "spark_sql_shuffle_partitions": str(settings.stream.shuffle_partitions),
        "spark_scheduler_mode": "FAIR",
        "spark_sql_adaptive_enabled": "false",  # not for streams, which would say so at each start
        "spark_sql_streaming_numRecentProgressUpdates": "5",
        "spark_ui_showConsoleProgress": "false",
    }
    if settings.stream.state_store == "rocksdb":
        provider = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        options["spark_sql_streaming_stateStore_providerClass"] = provider
        options["spark_sql_streaming_stateStore_rocksdb_changelogCheckpointing_enabled"] = "true"
    if settings.checkpoint(CLOSED).startswith("s3a://"):
        # A store has no rename: this manager writes each file of the checkpoint whole or not at all without one.
        manager = "org.apache.spark.internal.io.cloud.AbortableStreamBasedCheckpointFileManager"
        options["spark_sql_streaming_checkpointFileManagerClass"] = manager
    return options
