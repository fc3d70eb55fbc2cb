"""Closed windows to the analytics topic and the table `windows`."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from stream_analytics.final_windows import History, LeftOut
from stream_analytics.window_messages import final_messages
from stream_analytics.windows_table import WindowLake, WrittenUntil
from ticklake.errors import StageError
from ticklake.records import Source
from ticklake.spark import translated_errors
from ticklake.tables import namespace_of


class ClosedWindows:
    """The sink of the query of closed windows; `write` is its `foreachBatch`.

    Not the table format's own streaming sink, as that writes all rows of a query to one table: by their source, windows
    go to the real namespace or to that of tests, and to the topic too. The executors write; what comes back here are
    counts. A micro-batch that Spark repeats writes nothing twice, see `history`. The topic comes first: what a crash
    keeps from the table is sent again, as readers of the topic allow.

    Args:
        topic: options of Spark's Kafka sink; None sends nothing.
        written_until: how far the table is written; updated here.
        query_id: goes into the snapshots' properties, with the number of the micro-batch.
        confirm: raises where what was read may be of another topic, or the lake is away; asked before anything is
            written.
        on_closed: called with how many windows of a length became visible to readers.
    """

    def __init__(
        self,
        lake: WindowLake,
        topic: dict[str, str] | None,
        history: History,
        written_until: WrittenUntil,
        query_id: str,
        confirm: Callable[[], None],
        on_closed: Callable[[str, int], None],
    ) -> None:
        self._lake = lake
        self._topic = topic
        self._history = history
        self._written_until = written_until
        self._query_id = query_id
        self._confirm = confirm
        self._on_closed = on_closed
        self.written: Counter[str] = Counter()
        """Windows of each length written since the start."""
        self.failure: StageError | None = None
        """Why the last `write` failed; Spark itself only keeps a text."""
        self._busy = threading.Lock()
        self._began: float | None = None
        self._stopping = False

    @property
    def busy_seconds(self) -> float:
        """For how long a write has been under way; 0 without one."""
        began = self._began
        return 0 if began is None else time.monotonic() - began

    def stop(self, patience_seconds: float) -> None:
        """Take no further batch; wait for one under way, but no longer than that."""
        self._stopping = True
        if self._busy.acquire(timeout=patience_seconds):
            self._busy.release()

    def write(self, batch: DataFrame, batch_id: int) -> None:
        """Write the windows that closed in one micro-batch.

        Raises:
            StageError: the store, the catalog or the broker did not take them; the batch is repeated after a restart.
        """
        with self._busy:
            if self._stopping:
                raise StageError("stopped before this batch")
            self._began = time.monotonic()
            try:
                with translated_errors("write closed windows"):
                    self._write(batch, batch_id)
            except StageError as error:
                if not self._stopping:
                    self.failure = error
                # Without its causes: Spark searches the whole text, Java's stack included, by a recursive pattern.
                raise StageError(str(error)) from None
            finally:
                self._began = None

    def _write(self, batch: DataFrame, batch_id: int) -> None:
        # The state is computed once, whatever reads its result.
        rows = batch.withColumn("reason", self._history.reason()).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            counts = (
                rows.groupBy("source", "window_length", "reason")
                .agg(
                    F.count(F.lit(1)).alias("count"),
                    F.unix_micros(F.min("window_start")).alias("first_start"),
                    F.unix_micros(F.max("window_start")).alias("last_start"),
                    F.unix_micros(F.max("window_end")).alias("last_end"),
                )
                .collect()
            )
            for row in counts:
                if row.reason is not None:
                    found = LeftOut(row["count"], _time(row.first_start), _time(row.last_start))
                    self._history.left_out(row.window_length, row.reason, found)
            kept = [row for row in counts if row.reason is None]
            if not kept:
                return
            self._confirm()
            self._history.report({row.window_length for row in kept})
            whole = rows.where(F.col("reason").isNull()).drop("reason")
            if self._topic is not None:
                final_messages(whole).write.format("kafka").options(**self._topic).save()
            for namespace in sorted({namespace_of(Source(row.source)) for row in kept}):
                own = [row for row in kept if namespace_of(Source(row.source)) == namespace]
                of_these = whole.where(F.col("source").isin(sorted({row.source for row in own})))
                self._lake.append(of_these, namespace, f"{self._query_id}/{batch_id}")
                for row in own:
                    place = namespace, row.window_length
                    until = _time(row.last_end)
                    self._written_until[place] = max(until, self._written_until.get(place, until))
                    self.written[row.window_length] += row["count"]
                    self._on_closed(row.window_length, row["count"])
        finally:
            rows.unpersist()


def _time(micros: int) -> datetime:
    # As a number: Python would turn a timestamp into the machine's own zone.
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
