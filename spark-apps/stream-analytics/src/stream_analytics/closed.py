"""Closed windows to the lake: Parquet per micro-batch, then the manifest that readers follow."""

import hashlib
import io
import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from stream_analytics.messages import with_final_message
from ticklake.errors import StageError
from ticklake.kafka import ConfirmedProducer
from ticklake.lineage import ObjectRef
from ticklake.manifests import WindowManifest, write_windows
from ticklake.names import LiveNames
from ticklake.objects import ObjectStore
from ticklake.spark import translated_errors
from ticklake.tables import WINDOW_COLUMNS, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame


class ClosedWindows:
    """The sink of the query of closed windows; `write` is its `foreachBatch`.

    A micro-batch holds each closed window once. Its object has the batch's number in its key and is replaced, like its
    manifest, when Spark repeats the batch, so a window is neither lost nor doubled. A batch without one writes nothing.

    The rows pass through the driver: they are windows, not ticks, about one per symbol and slide.

    Args:
        producer: sends the closed windows to the analytics topic too; None sends none.
        first_batch: number of Spark's batch 0 of this checkpoint, see `epochs`.
        keep: of the windows that closed, those to write, see `history`.
        confirm: raises where what was read may be of another topic; asked before anything is written.
        on_closed: is told how many windows of a length became visible to readers.
    """

    def __init__(
        self, store: ObjectStore, live: LiveNames, producer: ConfirmedProducer | None, first_batch: int,
        keep: "Callable[[pa.Table], pa.Table]", confirm: Callable[[], None], on_closed: Callable[[str, int], None],
    ) -> None:  # fmt: skip
        self._store = store
        self._live = live
        self._producer = producer
        self._first_batch = first_batch
        self._keep = keep
        self._confirm = confirm
        self._on_closed = on_closed
        self.written: Counter[str] = Counter()
        """Windows of each length written since the start."""
        self.failure: StageError | None = None
        """Why the last `write` failed; Spark itself only keeps a text."""
        self._busy = threading.Lock()
        self._stopping = False

    def stop(self, patience_seconds: float) -> None:
        """Take no further batch; wait for one under way, but no longer than that."""
        self._stopping = True
        if self._busy.acquire(timeout=patience_seconds):
            self._busy.release()

    def write(self, batch: "DataFrame", batch_id: int) -> None:
        """Write the windows that closed in one micro-batch, and only then let readers know.

        Raises:
            StageError: the store or the broker did not take them; the batch is repeated after a restart.
        """
        with self._busy:
            if self._stopping:
                raise StageError("stopped before this batch")
            try:
                with translated_errors("compute closed windows"):
                    self._write(batch, batch_id)
            except StageError as error:
                if not self._stopping:
                    self.failure = error
                # Without its causes: Spark searches the whole text, Java's stack included, by a recursive pattern.
                raise StageError(str(error)) from None

    def _write(self, batch: "DataFrame", batch_id: int) -> None:
        rows = (batch if self._producer is None else with_final_message(batch)).toArrow()
        if rows.num_rows == 0 or (rows := self._keep(rows)).num_rows == 0:
            return
        self._confirm()
        number = self._first_batch + batch_id
        windows = rows.select([column.name for column in WINDOW_COLUMNS]).cast(arrow_schema(WINDOW_COLUMNS))
        windows = windows.sort_by([(name, "ascending") for name in ("window_start", "symbol", "source")])
        for query in windows["window_length"].unique().to_pylist():
            self._write_query(query, number, windows)
        if self._producer is not None:
            for key, value in zip(rows["key"].to_pylist(), rows["value"].to_pylist(), strict=True):
                self._producer.send(self._live.analytics_topic, key=key, value=value)
            self._producer.confirm()

    def _write_query(self, query: str, number: int, windows: "pa.Table") -> None:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        part = windows.filter(pc.equal(windows["window_length"], query))
        sink = io.BytesIO()
        pq.write_table(part, sink, compression="zstd")
        body = sink.getvalue()
        key = f"{self._live.processed_prefix}/query={query}/batch={number:012d}/windows.parquet"
        self._store.put(key, body)
        digest = hashlib.sha256(body).hexdigest()
        reference = ObjectRef(key=key, rows=part.num_rows, size=len(body), sha256=digest)
        write_windows(self._store, self._live, WindowManifest(query=query, batch=number, objects=(reference,)))
        self.written[query] += part.num_rows
        self._on_closed(query, part.num_rows)
