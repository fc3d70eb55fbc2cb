"""What Spark reports of the queries as they run, and the Prometheus metrics made of it."""

import contextlib
import queue
import socket
import time
import weakref
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry
from pyspark import SparkContext
from pyspark.sql.streaming.listener import StreamingQueryListener

from stream_analytics.late_ticks import LateTicks
from stream_analytics.tick_parsing import METRICS
from ticklake.metrics import Instruments
from ticklake.records import WINDOW_LENGTHS

if TYPE_CHECKING:
    from pyspark.sql.streaming.listener import (
        QueryIdleEvent,
        QueryProgressEvent,
        QueryStartedEvent,
        QueryTerminatedEvent,
        SourceProgress,
        StreamingQueryProgress,
    )


_BATCH_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300)


class Events(StreamingQueryListener):
    """Hands Spark's events on to the main thread; Spark calls it from threads of its own, which must not wait.

    py4j gives each thread of the JVM that calls Python, as that of a query does, a connection and a thread here, and
    ends neither when that thread of the JVM ends: `close_connections` does.
    """

    def __init__(self) -> None:
        self.received: queue.SimpleQueue[StreamingQueryProgress | None] = queue.SimpleQueue()
        """Progress of finished micro-batches; None where a query ended."""
        self.last_sign = time.monotonic()
        """When Spark last reported anything, a finished batch or that there was nothing to do."""
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()

    def onQueryStarted(self, event: "QueryStartedEvent") -> None:  # noqa: N802, ARG002 - Spark's name
        """Note the connection of the query's own thread, which Spark calls this in."""
        client = getattr(SparkContext._gateway, "_gateway_client", None)
        # A gateway without threads of its own shares its connections.
        if (connection := getattr(client, "get_thread_connection", lambda: None)()) is not None:
            self._connections.add(connection)

    def close_connections(self) -> None:
        """End what the queries so far called on; to be called once they have stopped."""
        for connection in list(self._connections):
            self._connections.discard(connection)
            # Its thread waits there for a command, finds none, and closes it.
            if connection.socket is not None:
                with contextlib.suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_RDWR)

    def onQueryProgress(self, event: "QueryProgressEvent") -> None:  # noqa: N802
        """Hand over a finished micro-batch."""
        self.last_sign = time.monotonic()
        self.received.put(event.progress)

    def onQueryIdle(self, event: "QueryIdleEvent") -> None:  # noqa: N802, ARG002
        """Note that the query lives though there is nothing to read."""
        self.last_sign = time.monotonic()

    def onQueryTerminated(self, event: "QueryTerminatedEvent") -> None:  # noqa: N802, ARG002
        """Wake the main thread."""
        self.received.put(None)


class Metrics:
    """The application's Prometheus metrics."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        make = Instruments("stream-analytics", registry)
        counter, gauge = make.counter, make.gauge
        self.rows = counter("rows", "Messages read by the query of closed windows")
        self.invalid = counter("invalid_rows", "Messages left out: no valid tick")
        self.future = counter("future_ticks", "Ticks left out: from the future")
        self.late = counter("late_ticks", "Ticks that missed some or all of their windows", "window", "missed")
        self.closed = counter("closed_windows", "Closed windows written to the table", "window")
        self.skipped = counter(
            "skipped_windows", "Closed windows left out: partial, or written before the checkpoint", "window", "reason"
        )
        self.restarts = counter("restarts", "Times that all queries were stopped after a failure, to start again")
        self.batches = counter("batches", "Finished micro-batches", "query")
        self.batch_seconds = make.histogram(
            "batch_duration_seconds", "Duration of a micro-batch", _BATCH_SECONDS, "query"
        )
        self.batch_time = gauge("last_batch_timestamp_seconds", "When the last micro-batch started, Unix time", "query")
        self.watermark = gauge("watermark_timestamp_seconds", "The watermark, in event time", "query")
        self.lag = gauge("lag", "Messages in the log that are in no finished micro-batch", "query")
        self.state_rows = gauge("state_rows", "Open windows that the query holds", "query")
        self.state_bytes = gauge("state_bytes", "Memory of the open windows", "query")
        # A counter that appears with its first late tick has no earlier value to have grown from.
        for window in WINDOW_LENGTHS:
            self.closed.labels(window)
            for missed in ("some", "all"):
                self.late.labels(window, missed)
            for reason in ("partial", "written"):
                self.skipped.labels(window, reason)

    def batch(self, progress: "StreamingQueryProgress") -> None:
        """Take in a finished micro-batch."""
        name = progress.name or ""
        self.batches.labels(name).inc()
        self.batch_seconds.labels(name).observe(progress.durationMs.get("triggerExecution", 0) / 1000)
        self.batch_time.labels(name).set(utc(progress.timestamp).timestamp())
        if (seen := watermark(progress)) is not None and seen.timestamp() > 0:
            self.watermark.labels(name).set(seen.timestamp())
        if progress.stateOperators:
            self.state_rows.labels(name).set(sum(operator.numRowsTotal for operator in progress.stateOperators))
            self.state_bytes.labels(name).set(sum(operator.memoryUsedBytes for operator in progress.stateOperators))
        if counts := progress.observedMetrics.get(METRICS):
            self.rows.inc(counts["rows"])
            self.invalid.inc(counts["invalid"])
            self.future.inc(counts["future"])

    def late_ticks(self, found: LateTicks) -> None:
        """Take in the late ticks of a micro-batch."""
        self.late.labels(found.window, "some").inc(found.partly)
        self.late.labels(found.window, "all").inc(found.entirely)


def kafka_source(progress: "StreamingQueryProgress") -> "SourceProgress | None":
    """What the batch read from Kafka; None for a query that reads none."""
    return next((source for source in progress.sources if source.description.startswith("Kafka")), None)


def watermark(progress: "StreamingQueryProgress") -> datetime | None:
    """The watermark by which the batch closed windows; None for a query without one."""
    text = progress.eventTime.get("watermark")
    return None if text is None else utc(text)


def utc(text: str) -> datetime:
    """A time as Spark's progress has it, e.g. `2026-01-31T14:30:00.000Z`."""
    return datetime.fromisoformat(text).astimezone(UTC)
