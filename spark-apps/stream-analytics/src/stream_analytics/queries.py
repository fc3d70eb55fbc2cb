"""The application's queries, each with a checkpoint of its own.

| query | mode | to |
|---|---|---|
| `closed` | append | Parquet and manifests in the lake; the analytics topic |
| `running` | update | the analytics topic |
| `future` | stateless | the quarantine, where a tolerance is set |

Both kinds of window are in one query. A window's last value comes once, in append mode, and its values so far come in
update mode; no one query gives both, hence two with a state each. `running` can be switched off.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.readwriter import DataStreamWriter

from stream_analytics.messages import running_messages
from stream_analytics.settings import CLOSED, FUTURE, RUNNING, StreamAnalyticsSettings
from stream_analytics.sources import tick_stream, windowed_input
from stream_analytics.ticks import from_the_future
from stream_analytics.windows import aggregated, in_windows
from ticklake.spark import kafka_options

Sink = Callable[[DataFrame, int], None]
"""What `foreachBatch` calls with a micro-batch and its number."""


def start_closed(
    spark: SparkSession, settings: StreamAnalyticsSettings, sink: Sink, starts: Mapping[int, int]
) -> StreamingQuery:
    """Start the query of closed windows; with a new checkpoint it reads from `starts`, see `epochs`."""
    writer = _writer(_windows(spark, settings, starts), settings, CLOSED).outputMode("append")
    return writer.foreachBatch(sink).start()


def start_running(spark: SparkSession, settings: StreamAnalyticsSettings) -> StreamingQuery:
    """Start the query of running windows."""
    writer = _writer(running_messages(_windows(spark, settings)), settings, RUNNING).outputMode("update")
    kafka = writer.format("kafka").options(**kafka_options(settings.kafka))
    return kafka.option("topic", settings.live.names.analytics_topic).start()


def start_future(spark: SparkSession, settings: StreamAnalyticsSettings, sink: Sink) -> StreamingQuery:
    """Start the query of ticks from the future."""
    ticks = tick_stream(spark, settings)
    found = ticks.where(from_the_future(settings.future_tolerance_seconds))
    return _writer(found, settings, FUTURE).outputMode("append").foreachBatch(sink).start()


def _windows(
    spark: SparkSession, settings: StreamAnalyticsSettings, starts: Mapping[int, int] | None = None
) -> DataFrame:
    delay = timedelta(seconds=settings.stream.watermark_seconds)
    return aggregated(in_windows(windowed_input(spark, settings, starts), settings.stream.windows, delay))


def _writer(frame: DataFrame, settings: StreamAnalyticsSettings, name: str) -> DataStreamWriter:
    trigger = f"{settings.stream.trigger_seconds} seconds"
    writer = frame.writeStream.queryName(name).trigger(processingTime=trigger)
    return writer.option("checkpointLocation", settings.checkpoint(name))


def session_options(settings: StreamAnalyticsSettings) -> dict[str, str]:
    """Spark configuration of this application, in the form of `ticklake.spark.build_session`'s keywords."""
    options = {
        "spark_sql_shuffle_partitions": str(settings.stream.shuffle_partitions),
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
