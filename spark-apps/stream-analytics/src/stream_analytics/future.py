"""Ticks from the future to quarantine: their original bytes, where they stood and why they were refused.

The queries of windows leave such ticks out by themselves, by a rule that is a function of the record alone, so none
ever moves the watermark. This query of its own keeps them, at least once: a repeated one has the same key in the lake
and the same origin in the topic. Messages that are no valid tick at all are the archive's to quarantine.
"""

import itertools
from datetime import UTC, datetime

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from stream_analytics.settings import APP
from ticklake.errors import StageError
from ticklake.kafka import ConfirmedProducer
from ticklake.objects import ObjectStore
from ticklake.quarantine import QuarantinedMessage, keep, quarantined
from ticklake.spark import translated_errors

_AT_ONCE = 500


class FutureTicks:
    """The sink of the query of future ticks; `write` is its `foreachBatch`."""

    def __init__(self, store: ObjectStore, producer: ConfirmedProducer, tolerance_seconds: float) -> None:
        self._store = store
        self._producer = producer
        self._reason = f"event_time lies more than {tolerance_seconds:g} s after the time of its arrival"
        self.failure: StageError | None = None
        """Why the last `write` failed; Spark itself only keeps a text."""

    def write(self, batch: DataFrame, _batch_id: int) -> None:
        """Quarantine the ticks of one micro-batch.

        Raises:
            StageError: the store or the broker did not take one; the batch is repeated after a restart.
        """
        try:
            with translated_errors("read ticks from the future"):
                self._write(batch)
        except StageError as error:
            self.failure = error
            # Without its causes: Spark searches the whole text, Java's stack included, by a recursive pattern.
            raise StageError(str(error)) from None

    def _write(self, batch: DataFrame) -> None:
        columns = ("symbol", "key", "value", "topic", "partition", "offset")
        # As a number: Python would turn a timestamp into the machine's own zone.
        rows = batch.select(*columns, F.unix_millis("timestamp").alias("appended_ms")).toLocalIterator()
        for first in rows:
            some = [first, *itertools.islice(rows, _AT_ONCE - 1)]
            keep(self._store, self._producer, [self._message(row) for row in some])
        self._producer.confirm()

    def _message(self, row: Row) -> QuarantinedMessage:
        return quarantined(
            APP, self._reason, bytes(row.value), key=None if row.key is None else bytes(row.key),
            topic=row.topic, partition=row.partition, offset=row.offset, symbol=row.symbol,
            record_time=datetime.fromtimestamp(row.appended_ms / 1000, UTC),
        )  # fmt: skip
