"""Runs the queries until asked to stop, until there is enough, or until one fails."""

import queue
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from stream_analytics import queries
from stream_analytics.checkpoint_records import CheckpointRecord, Records
from stream_analytics.closed_windows import ClosedWindows
from stream_analytics.final_windows import History
from stream_analytics.late_ticks import checkpoint_watermark, late_ticks, offset_range
from stream_analytics.partial_aggregates import partial_aggregates_of_messages
from stream_analytics.query_failures import CheckpointError, ProcessError, explained
from stream_analytics.query_progress import Events, Metrics, kafka_source, watermark
from stream_analytics.settings import CLOSED, RUNNING, StreamAnalyticsSettings
from stream_analytics.sources import COMMITTED
from stream_analytics.tick_parsing import METRICS
from stream_analytics.topic_monitor import LiveTopic
from stream_analytics.windows_table import WindowLake, WrittenUntil
from ticklake import logs
from ticklake.errors import StageError
from ticklake.keys import PROCESSED_LIVE
from ticklake.objects import ObjectStore
from ticklake.spark import kafka_options, translated_errors

if TYPE_CHECKING:
    from pyspark.sql.streaming.listener import StreamingQueryProgress

STOP_SECONDS = 5.0
"""A batch under way gets this long to end; cut off, it is repeated after the next start."""
_SLOW_SECONDS = 15.0
"""A write of closed windows that takes longer makes us ask whether the store is there."""
_STUCK_SECONDS = 900.0
"""Longer than all the timeouts of one batch together."""

log = logs.get(__name__)


class App:
    """One start of all queries, from their checkpoints to their end.

    Args:
        lake: what is written to.
        written_until: how far that is.
        query_id: of the query of closed windows.
        record: of its checkpoint.
    """

    def __init__(
        self,
        settings: StreamAnalyticsSettings,
        spark: SparkSession,
        store: ObjectStore,
        lake: WindowLake,
        written_until: WrittenUntil,
        topic: LiveTopic,
        query_id: str,
        record: CheckpointRecord,
        metrics: Metrics,
        events: Events,
    ) -> None:
        self._settings = settings
        self._spark = spark
        self._topic = topic
        self._starts = record.starts
        self._metrics = metrics
        self._events = events
        self._queries: dict[str, StreamingQuery] = {}
        self._store, self._next_look = store, 0.0
        self._store_failure: StageError | None = None
        records = Records(store, settings.live.names)
        self._history = History(
            settings, record, written_until, lambda changed: records.write(query_id, changed), self._on_skipped
        )
        self._closed = ClosedWindows(
            lake,
            queries.analytics_topic(settings) if settings.stream.running else None,
            self._history,
            written_until,
            query_id,
            self._confirm,
            self._on_closed,
        )
        self._run_id = ""
        self._previous: tuple[int, datetime | None] = (-1, None)
        self._to_count: queue.SimpleQueue[tuple[StreamingQueryProgress, datetime | None] | None] = queue.SimpleQueue()
        # A daemon, and not the main thread: a large batch takes long to read again, and must not put off a stop.
        self._counter = threading.Thread(target=self._count, name="late-ticks", daemon=True)
        self.progressed = False
        """Whether a micro-batch of closed windows has finished since the start."""

    @property
    def active(self) -> bool:
        """Whether every query that this process shall have runs."""
        wanted = self._settings.queries
        return len(self._queries) == len(wanted) and all(query.isActive for query in self._queries.values())

    def start(self) -> None:
        """Start the queries.

        Raises:
            StageError: Spark does not start one.
        """
        spark, settings = self._spark, self._settings
        self._counter.start()
        with translated_errors("start the queries"):
            self._queries[CLOSED] = queries.start_closed(spark, settings, self._closed.write, self._starts)
            self._run_id = self._queries[CLOSED].runId
            if settings.stream.running:
                self._queries[RUNNING] = queries.start_running(spark, settings)

    def wait(self, stop: threading.Event) -> None:
        """Serve the queries' events until `stop` is set or the wanted windows are written.

        Raises:
            StageError: a query failed, the topic is another, or the time given for the wanted windows passed.
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
            self._check_store()
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

    def stop(self, stop: threading.Event, *, restart: bool) -> None:
        """Stop the queries. A batch that is cut off is repeated after the next start.

        Args:
            restart: wait until nothing of them runs any more, unless `stop` is set meanwhile; else, and then, no longer
                than `STOP_SECONDS`.

        Raises:
            ProcessError: to restart, a query would have to stop that does not.
        """
        self._to_count.put(None)
        # Not in the middle of a write: what is half done would have to be done again.
        self._closed.stop(STOP_SECONDS / 2)
        threads = [threading.Thread(target=_stop, args=(query,), daemon=True) for query in self._queries.values()]
        for thread in threads:
            thread.start()
        until = time.monotonic() + (_STUCK_SECONDS if restart else STOP_SECONDS / 2)
        while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
            if stop.is_set():
                until = min(until, time.monotonic() + STOP_SECONDS / 2)
            time.sleep(0.05)
        self._history.report()
        if any(thread.is_alive() for thread in threads):
            if restart and not stop.is_set():
                raise ProcessError(f"the queries did not stop within {_STUCK_SECONDS:g} s")
            return
        self._events.close_connections()
        # Java holds what a query calls here, and that holds this object: with the queries it would never go away.
        self._queries.clear()

    def _enough(self) -> bool:
        stream = self._settings.stream
        wanted = stream.until_closed_windows
        return bool(wanted) and all(self._closed.written[spec.name] >= wanted for spec in stream.windows)

    def _raise_failure(self) -> None:
        for failure in (self._closed.failure, self._topic.failure, self._store_failure):
            if failure is not None:
                raise failure
        with translated_errors("run the queries"):
            ended = [(name, query.exception()) for name, query in self._queries.items() if not query.isActive]
        for name, error in ended:
            failure = explained(name, error, self._settings)
            if isinstance(failure, CheckpointError):
                self._topic.confirm()  # where the topic was recreated, that is the reason to give
            raise failure

    def _confirm(self) -> None:
        self._topic.confirm()
        self._store.check_sign_in(f"{PROCESSED_LIVE}/")

    def _check_store(self) -> None:
        # The table's library asks a store that is away for ten minutes before it says so. In a thread of its own, as
        # this question may take long too.
        if self._closed.busy_seconds > _SLOW_SECONDS and time.monotonic() > self._next_look:
            self._next_look = time.monotonic() + _SLOW_SECONDS
            threading.Thread(target=self._ask_store, name="store", daemon=True).start()

    def _ask_store(self) -> None:
        try:
            self._store.check_sign_in(f"{PROCESSED_LIVE}/")
        except StageError as error:
            self._store_failure = error

    def _finished(self, progress: "StreamingQueryProgress") -> None:
        self._metrics.batch(progress)
        self._topic.finished(progress)
        log.debug(
            "batch", query=progress.name, batch=progress.batchId, rows=progress.numInputRows, ms=progress.durationMs
        )
        if str(progress.runId) != self._run_id:
            return  # of another query, or of this one before a failure
        self.progressed = True
        if any(operator.numRowsDroppedByWatermark for operator in progress.stateOperators):
            batch, limit = self._previous
            self._to_count.put((progress, limit if batch == progress.batchId - 1 else None))
        self._previous = (progress.batchId, watermark(progress))
        counts = progress.observedMetrics.get(METRICS)
        if counts and (counts["invalid"] or counts["future"]):
            log.warning("ticks left out", batch=progress.batchId, invalid=counts["invalid"], future=counts["future"])

    def _on_closed(self, window: str, count: int) -> None:
        self._metrics.closed.labels(window).inc(count)
        log.info("windows closed", window=window, count=count)

    def _on_skipped(self, window: str, reason: str, count: int) -> None:
        self._metrics.skipped.labels(window, reason).inc(count)

    def _count(self) -> None:
        while (waiting := self._to_count.get()) is not None:
            try:
                with translated_errors("count late ticks"):
                    self._count_late(*waiting)
            except StageError as error:  # the windows are right all the same
                log.warning("late ticks, not counted", batch=waiting[0].batchId, reason=str(error))

    def _count_late(self, progress: "StreamingQueryProgress", limit: datetime | None) -> None:
        if limit is None:
            limit = checkpoint_watermark(self._spark, self._settings.checkpoint(CLOSED), progress.batchId - 1)
        source = kafka_source(progress)
        if limit is None or source is None:
            log.warning("late ticks, not counted: the watermark of the batch before is not known")
            return
        options = kafka_options(self._settings.kafka) | COMMITTED
        messages = offset_range(self._spark, options, source.startOffset, source.endOffset)
        specs = self._settings.stream.windows
        parts = partial_aggregates_of_messages(messages, specs, self._settings.live.future_tolerance)
        for found in late_ticks(parts, specs, limit):
            self._metrics.late_ticks(found)
            log.warning(
                "late ticks",
                window=found.window,
                missed_some=found.partly,
                missed_all=found.entirely,
                watermark=limit.isoformat(),
                batch=progress.batchId,
            )


def _stop(query: StreamingQuery) -> None:
    with suppress(Exception):  # of a query that failed, or whose JVM has ended: it does not run either
        query.stop()
