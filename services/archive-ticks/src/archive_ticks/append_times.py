"""The broker's time of messages that carry their producer's, because the topic was one with CreateTime for a while.

Such a message has the time of the next one in the log that the broker stamped: a function of the log, so that every
writer files it alike. While there is none, it waits.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kafka import TopicPartition

from archive_ticks.parsing import Message
from archive_ticks.range_writer import STAGE
from ticklake import logs
from ticklake.errors import StageError
from ticklake.kafka import make_consumer, translated_errors
from ticklake.settings import KafkaSettings

log = logs.get(__name__)

_LOG_APPEND_TIME = 1
_SEARCH_SECONDS = 10.0
"""Of one search, during which nothing else is read. The next one goes on where it ended."""


@dataclass(frozen=True)
class _Stamped:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class AppendTimes:
    """Finds the append time of each message of `topic`."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka, self._topic = kafka, topic
        self._next: dict[int, tuple[int, int]] = {}
        """By partition a stamped message, none before it from where the search began: its offset and time."""
        self._searched: dict[int, int] = {}
        """By partition the offset at which the next search begins."""

    def stamped(self, partition: int, records: Sequence[Any]) -> Sequence[Message]:
        """The records, each with its append time; without those at the end that have none yet."""
        if all(record.timestamp_type == _LOG_APPEND_TIME for record in records):
            return records
        found: list[Message] = []
        known = None
        if records[-1].timestamp_type != _LOG_APPEND_TIME:
            known = self._time_after(partition, records[-1].offset)
        for record in reversed(records):
            if record.timestamp_type == _LOG_APPEND_TIME:
                known = record.timestamp
                found.append(record)
            elif known is not None:
                found.append(_Stamped(record.offset, known, record.key, record.value))
        return found[::-1]

    def _time_after(self, partition: int, offset: int) -> int | None:
        at, append_time = self._next.get(partition, (-1, -1))
        if at > offset:
            return append_time
        try:
            start = max(offset + 1, self._searched.get(partition, 0))
            found = self._search(TopicPartition(self._topic, partition), start)
        except StageError as error:
            log.warning("append times are not known yet", partition=partition, error=str(error))
            return None
        if found is None:
            return None
        self._next[partition] = found.offset, found.timestamp
        return int(found.timestamp)

    def _search(self, place: TopicPartition, start: int) -> Any:
        deadline = time.monotonic() + _SEARCH_SECONDS
        with (
            closing(make_consumer(self._kafka, STAGE)) as consumer,
            translated_errors(self._kafka, f"let {self._topic} be read"),
        ):
            consumer.assign([place])
            end = consumer.end_offsets([place])[place]
            consumer.seek(place, start)
            while consumer.position(place) < end and time.monotonic() < deadline:
                for record in consumer.poll(timeout_ms=500).get(place, ()):
                    if record.timestamp_type == _LOG_APPEND_TIME:
                        return record
                self._searched[place.partition] = consumer.position(place)
        return None
