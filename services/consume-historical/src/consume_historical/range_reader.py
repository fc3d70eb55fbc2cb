"""Reads exactly the offset ranges that the stage before named.

Partitions are assigned by hand: no second consumer of the group and no rebalance can take one away in the middle, and
the group's position does not matter. Its committed offset is for the monitoring of its lag.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from ticklake.errors import IntegrityError, StageError
from ticklake.kafka import make_consumer, translated_errors
from ticklake.lineage import OffsetRange
from ticklake.pipeline import CONSUME
from ticklake.settings import KafkaSettings
from ticklake.topics import BATCH_GROUP

_POLL_MS = 500

_GROUP_IN_USE = (
    kafka_errors.CommitFailedError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.RebalanceInProgressError,
)


class RangeReader:
    """Reads `ranges`, one per partition at most, and commits on request."""

    def __init__(self, settings: KafkaSettings, consumer: Any, ranges: Sequence[OffsetRange]) -> None:
        """Keep the parts; `opened` makes one."""
        self._settings = settings
        self._consumer = consumer
        self._last = {TopicPartition(part.topic, part.partition): part.last for part in ranges}
        self._first = {TopicPartition(part.topic, part.partition): part.first for part in ranges}

    def records(self, deadline_seconds: float) -> Iterator[Any]:
        """Every message of the ranges, kafka-python's `ConsumerRecord`, each partition in order.

        Raises:
            IntegrityError: the log has lost a part of the ranges.
            StageError: the deadline passed.
        """
        give_up = time.monotonic() + deadline_seconds
        self._check_log()
        pending = set(self._last)
        while pending:
            left = give_up - time.monotonic()
            if left <= 0:
                raise StageError(
                    f"the batch could not be read within {deadline_seconds:g} s (TICKLAKE_CONSUME_DEADLINE_SECONDS): "
                    f"{self._missing(pending)} is left; is the broker slow or down?"
                )
            with translated_errors(self._settings, "deliver the batch"):
                polled = self._poll(min(_POLL_MS, int(left * 1000) + 1))
            for place, records in polled.items():
                for record in records:
                    if record.offset <= self._last[place]:
                        yield record
            for place in list(pending):
                # Not the last record's offset: the log can have gaps, at whose end no message lies.
                if self._consumer.position(place) > self._last[place]:
                    pending.discard(place)
                    self._consumer.pause(place)

    def _poll(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        try:
            found: dict[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms=timeout_ms)
        except (kafka_errors.OffsetOutOfRangeError, kafka_errors.NoOffsetForPartitionError):
            self._check_log()
            raise
        return found

    def _check_log(self) -> None:
        with translated_errors(self._settings, "read the log's offsets"):
            begins = self._consumer.beginning_offsets(list(self._last))
            ends = self._consumer.end_offsets(list(self._last))
        for place, first in self._first.items():
            lost = None
            if begins[place] > first:
                lost = (first, min(begins[place] - 1, self._last[place]))
            elif ends[place] <= self._last[place]:
                lost = (max(ends[place], first), self._last[place])
            if lost is not None:
                raise IntegrityError(
                    f"{place.topic} partition {place.partition} no longer holds offsets {lost[0]} to {lost[1]} of this "
                    f"batch (the log reaches from {begins[place]} to {ends[place]}): its retention was shorter than "
                    "the wait, or the topic was recreated; run fetch-historical again for this run"
                )

    def _missing(self, pending: set[TopicPartition]) -> str:
        return ", ".join(
            f"partition {place.partition} from {self._consumer.position(place)} to {self._last[place]}"
            for place in sorted(pending)
        )

    def commit(self) -> str | None:
        """Commit the ends of the ranges for the group, never behind its position.

        Returns:
            a note where the group has members of its own, which the broker lets nobody commit beside; the batch is
            safe all the same.
        """
        with translated_errors(self._settings, "commit offsets"):
            ends = self._consumer.end_offsets(list(self._last))
            offsets = {}
            for place, last in self._last.items():
                committed = self._consumer.committed(place)
                if committed is None or committed <= last or committed > ends[place]:
                    offsets[place] = OffsetAndMetadata(last + 1, "", -1)
            try:
                if offsets:
                    self._consumer.commit(offsets)
            except _GROUP_IN_USE as error:
                return f"offsets not committed: group {BATCH_GROUP} has other members ({type(error).__name__})"
        return None


@contextmanager
def opened(settings: KafkaSettings, ranges: Sequence[OffsetRange]) -> Iterator[RangeReader]:
    """A reader at the start of `ranges`, closed at the end of the block."""
    consumer = make_consumer(settings, CONSUME.program, group_id=BATCH_GROUP)
    try:
        with translated_errors(settings, "find the batch's partitions"):
            consumer.assign([TopicPartition(part.topic, part.partition) for part in ranges])
            for part in ranges:
                consumer.seek(TopicPartition(part.topic, part.partition), part.first)
        yield RangeReader(settings, consumer, ranges)
    finally:
        consumer.close(autocommit=False, timeout_ms=1000)
