"""What the live topic's log holds: where it begins and ends, and the first messages after some offsets."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from kafka import TopicPartition

from ticklake.errors import StageError
from ticklake.kafka import make_consumer, translated_errors
from ticklake.settings import KafkaSettings

_CLIENT = "stream-analytics-log"


def offset_bounds(kafka: KafkaSettings, topic: str) -> dict[int, tuple[int, int]]:
    """Per partition the offsets of its first message and of the one to come; the same where it is empty.

    Raises:
        StageError: the broker did not answer.
    """
    with closing(make_consumer(kafka, _CLIENT)) as consumer, translated_errors(kafka, f"read the offsets of {topic}"):
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        begins, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
        return {place.partition: (begins[place], ends[place]) for place in places}


def first_records(
    kafka: KafkaSettings, topic: str, offsets: Mapping[int, int], usable: Callable[[Any], bool]
) -> list[Any]:
    """Of each partition in `offsets` the first usable record at or after its offset; none of one without such.

    Raises:
        StageError: the broker did not answer, or the log was not read to its end in time.
    """
    with closing(make_consumer(kafka, _CLIENT)) as consumer, translated_errors(kafka, f"let {topic} be read"):
        places = {TopicPartition(topic, number): offset for number, offset in offsets.items()}
        begins, ends = consumer.beginning_offsets(list(places)), consumer.end_offsets(list(places))
        consumer.assign(list(places))
        for place, offset in places.items():
            consumer.seek(place, max(offset, begins[place]))
        found: dict[TopicPartition, Any] = {}
        deadline = time.monotonic() + kafka.timeout_seconds
        while pending := [p for p in places if p not in found and consumer.position(p) < ends[p]]:
            if time.monotonic() > deadline:
                raise StageError(f"the first ticks of {topic} were not read within {kafka.timeout_seconds:g} s")
            consumer.pause(*(place for place in places if place not in pending))
            for place, records in consumer.poll(timeout_ms=500).items():
                first = next((record for record in records if usable(record)), None)
                if first is not None and place not in found:
                    found[place] = first
        return list(found.values())
