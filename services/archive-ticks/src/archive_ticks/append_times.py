"""The broker's time of messages that carry their producer's, because the topic was one with CreateTime for a while.

Such a message has the time of the next one in the log that the broker stamped: a function of the log, so that every
writer files it alike. While there is none, it waits.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kafka import TopicPartition

from archive_ticks.parsing import Message
from archive_ticks.range_writer import STAGE
from ticklake import logs
from ticklake.errors import StageError
from ticklake.kafka import Headers, make_consumer, translated_errors
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
    headers: Headers


@dataclass(frozen=True)
class Searched:
    """A stretch of a partition in which the broker stamped no message, as far as it was searched."""

    begin: int
    end: int
    """The offset after it."""
    append_time: int | None = None
    """Of the message at `end`, if that is the first that the broker stamped, in milliseconds since 1970."""


Search = Callable[[int, int], Searched]
"""Searches a partition from an offset on.

Raises:
    StageError: the broker does not answer.
"""


class AppendTimes:
    """Finds the append time of each message of a topic."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._searched: dict[int, Searched] = {}

    def stamped(self, partition: int, records: Sequence[Any]) -> Sequence[Message]:
        """The records, each with its append time; without those at the end that have none yet."""
        if all(record.timestamp_type == _LOG_APPEND_TIME for record in records):
            return records
        found: list[Message] = []
        known = None
        if records[-1].timestamp_type != _LOG_APPEND_TIME:
            known = self._time_from(partition, records[-1].offset + 1)
        for record in reversed(records):
            if record.timestamp_type == _LOG_APPEND_TIME:
                known = record.timestamp
                found.append(record)
            elif known is not None:
                found.append(_Stamped(record.offset, known, record.key, record.value, record.headers))
        return found[::-1]

    def _time_from(self, partition: int, offset: int) -> int | None:
        known = self._searched.get(partition)
        if known is None or not known.begin <= offset <= known.end:
            known = Searched(offset, offset)
        if known.append_time is None:
            try:
                more = self._search(partition, known.end)
            except StageError as error:
                log.warning("append times are not known yet", partition=partition, error=str(error))
                return None
            known = self._searched[partition] = Searched(known.begin, more.end, more.append_time)
        return known.append_time


def search_in(kafka: KafkaSettings, topic: str) -> Search:
    """A function that reads `topic` by a client of its own, some seconds at most."""

    def search(partition: int, begin: int) -> Searched:
        place, deadline, reached = TopicPartition(topic, partition), time.monotonic() + _SEARCH_SECONDS, begin
        with closing(make_consumer(kafka, STAGE)) as consumer, translated_errors(kafka, f"let {topic} be read"):
            consumer.assign([place])
            end = consumer.end_offsets([place])[place]
            consumer.seek(place, begin)
            while reached < end and time.monotonic() < deadline:
                for record in consumer.poll(timeout_ms=500).get(place, ()):
                    if record.timestamp_type == _LOG_APPEND_TIME:
                        return Searched(begin, record.offset, record.timestamp)
                reached = consumer.position(place)
        return Searched(begin, reached)

    return search
