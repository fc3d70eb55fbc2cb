"""Runs the queries until told to stop, until there is enough, or until one fails."""

import queue
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from stream_analytics import queries
from stream_analytics.closed import ClosedWindows
from stream_analytics.epochs import first_batch
from stream_analytics.failures import explained
from stream_analytics.future import FutureTicks
from stream_analytics.lag import Lag
from stream_analytics.late import checkpoint_watermark, late_ticks, offset_range
from stream_analytics.progress import Events, Metrics, kafka_source, watermark
from stream_analytics.settings import StreamAnalyticsSettings
from stream_analytics.ticks import METRICS, from_the_future, parsed, usable
from ticklake import logs
from ticklake.errors import StageError
from ticklake.kafka import ConfirmedProducer
from ticklake.objects import ObjectStore
from ticklake.spark import kafka_options, translated_errors

if TYPE_CHECKING:
    from pyspark.sql.streaming.listener import StreamingQueryProgress

STOP_SECONDS = 8.0
"""A batch under way gets this long to end; cut off, it is repeated after the next start."""

log = logs.get(__name__)


class App:
    """The application of one process.

    Args:
        producer: for the sinks that write from the driver.
        topic: id of the live topic, see `epochs`.
    """

    def __init__(
        self, settings: StreamAnalyticsSettings, spark: SparkSession, store: ObjectStore, producer: ConfirmedProducer,
        topic: str, metrics: Metrics, events: Events,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._spark = spark
        self._store = store
        self._producer = producer
        self._topic_id = topic
        self._metrics = metrics
        self._events = events
        self._queries: dict[str, StreamingQuery] = {}
        self._first_batch: int | None = None
        self._closed = ClosedWindows(
            store, settings.live.names, producer if settings.stream.running else None, self._epoch, self._on_closed
        )
        self._future: FutureTicks | None = None
        self._previous: tuple[int, datetime | None] = (-1, None)
        self._lag = Lag(settings.kafka, settings.live.names.topic, metrics)

    @property
    def active(self) -> bool:
        """Whether every query that this process shall have runs."""
        wanted = 1 + self._settings.stream.running + (self._settings.future_tolerance_seconds is not None)
        return len(self._queries) == wanted and all(query.isActive for query in self._queries.values())

    def start(self) -> None:
        """Start the queries."""
        spark, settings = self._spark, self._settings
        self._queries[queries.CLOSED] = queries.start_closed(spark, settings, self._closed)
        if settings.future_tolerance_seconds is not None:
            self._future = FutureTicks(self._store, self._producer, settings.future_tolerance_seconds)
            self._queries[queries.FUTURE] = queries.start_future(spark, settings, self._future)
        if settings.stream.running:
            self._queries[queries.RUNNING] = queries.start_running(spark, settings)
        self._lag.start()

    def wait(self, stop: threading.Event) -> None:
        """Serve the queries' events until `stop` is set or the wanted windows are written.

        Raises:
            StageError: a query failed, or the time given for the wanted windows passed.
        """
        stream = self._settings.stream
        deadline = None if stream.until_seconds is None else time.monotonic() + stream.until_seconds
        while not stop.is_set():
            try:
                progress = self._events.received.get(timeout=0.2)
            except queue.Empty:
                progress = None
            if progress is not None:
                self._finished(progress)
            self._raise_failure()
            if self._enough():
                return
            if deadline is not None and time.monotonic() > deadline:
                if stream.until_closed_windows:
                    counts = ", ".join(f"{spec.name}: {self._closed.written[spec.name]}" for spec in stream.windows)
                    raise StageError(
                        f"{stream.until_closed_windows} closed windows of each length were not written within "
                        f"{stream.until_seconds:g} s ({counts}): do ticks arrive in {self._settings.live.names.topic}?"
                    )
                return

    def stop(self) -> None:
        """Stop the queries. A batch that cannot end in time is cut off and repeated after the next start."""
        self._lag.stop()
        # Not in the middle of a write: what is half done would have to be done again.
        self._closed.stop(STOP_SECONDS / 2)
        stoppers = [threading.Thread(target=_stop, args=(query,), daemon=True) for query in self._queries.values()]
        for thread in stoppers:
            thread.start()
        until = time.monotonic() + STOP_SECONDS / 2
        for thread in stoppers:
            thread.join(max(0.0, until - time.monotonic()))

    def _epoch(self) -> int:
        if self._first_batch is None:
            # Known only once the query has started, which is before its first batch asks.
            query_id = self._spark.sparkContext.getLocalProperty("sql.streaming.queryId") or ""
            self._first_batch = first_batch(self._store, self._settings.live.names, query_id, self._topic_id)
        return self._first_batch

    def _enough(self) -> bool:
        stream = self._settings.stream
        wanted = stream.until_closed_windows
        return bool(wanted) and all(self._closed.written[spec.name] >= wanted for spec in stream.windows)

    def _raise_failure(self) -> None:
        for failure in (self._closed.failure, self._future.failure if self._future else None):
            if failure is not None:
                raise failure
        for name, query in self._queries.items():
            if not query.isActive:
                raise explained(name, query.exception(), self._settings)

    def _finished(self, progress: "StreamingQueryProgress") -> None:
        self._metrics.batch(progress)
        self._lag.finished(progress)
        log.debug(
            "batch", query=progress.name, batch=progress.batchId, rows=progress.numInputRows, ms=progress.durationMs
        )
        if progress.name != queries.CLOSED:
            return
        try:
            with translated_errors("count late ticks"):
                self._count_late(progress)
        except StageError as error:  # the windows are right all the same
            log.warning("late ticks, not counted", batch=progress.batchId, reason=str(error))
        self._previous = (progress.batchId, watermark(progress))
        counts = progress.observedMetrics.get(METRICS)
        if counts and (counts["invalid"] or counts["future"]):
            log.warning("ticks left out", batch=progress.batchId, invalid=counts["invalid"], future=counts["future"])

    def _on_closed(self, window: str, count: int) -> None:
        self._metrics.closed.labels(window).inc(count)
        log.info("windows closed", window=window, count=count)

    def _count_late(self, progress: "StreamingQueryProgress") -> None:
        if not any(operator.numRowsDroppedByWatermark for operator in progress.stateOperators):
            return
        batch, limit = self._previous
        if batch != progress.batchId - 1:
            limit = checkpoint_watermark(self._spark, self._settings.checkpoint(queries.CLOSED), progress.batchId - 1)
        source = kafka_source(progress)
        if limit is None or source is None:
            log.warning("late ticks, not counted: the watermark of the batch before is not known")
            return
        options = kafka_options(self._settings.kafka)
        ticks = parsed(offset_range(self._spark, options, source.startOffset, source.endOffset))
        good = usable(ticks, from_the_future(self._settings.future_tolerance_seconds))
        for found in late_ticks(good, self._settings.stream.windows, limit):
            self._metrics.late_ticks(found)
            log.warning(
                "late ticks", window=found.window, missed_some=found.partly, missed_all=found.entirely,
                watermark=limit.isoformat(), batch=progress.batchId,
            )  # fmt: skip


def _stop(query: StreamingQuery) -> None:
    with suppress(Exception):  # of a query that failed, or whose JVM has ended: it does not run either
        query.stop()
