"""How far consumer groups are behind."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors

from dashboard.cached_answer import CachedAnswer
from ticklake import topics
from ticklake.kafka import admin, make_consumer, translated_errors
from ticklake.settings import KafkaSettings

_HELD_SECONDS = 3.0
_TIMEOUT_SECONDS = 10.0
_SETTLE_SECONDS = 3.0
"""How long to wait for the groups' coordinators. Where no group ever committed, the first question about one makes the
broker create the topic of their offsets, which takes a fraction of a second; until then it names no coordinator."""
_AGAIN_SECONDS = 0.1
_SETTLING = (
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.CoordinatorLoadInProgressError,
    kafka_errors.NotCoordinatorError,
)

Offsets = Mapping[TopicPartition, Any]


class LagReader:
    """Asks the broker at most every few seconds, however many pages look.

    Args:
        live: names of the live flow.
    """

    def __init__(self, kafka: KafkaSettings, live: topics.LiveNames) -> None:
        self._kafka = kafka.model_copy(update={"timeout_seconds": min(kafka.timeout_seconds, _TIMEOUT_SECONDS)})
        self._groups = {
            live.archive_group: live.topic,
            live.alerts_group: live.topic,
            topics.BATCH_GROUP: topics.BATCH_TOPIC,
        }
        self._held = CachedAnswer(_HELD_SECONDS, self._ask)

    def read(self) -> list[dict[str, Any]]:
        """One item per group and partition, as `models_platform.LagItem` has it.

        A group whose coordinator is not there yet, or just moves, is waited for a moment and then reported as unknown.

        Raises:
            StageError: the broker does not answer.
        """
        return self._held.read()

    def _ask(self) -> list[dict[str, Any]]:
        consumer = make_consumer(self._kafka, "dashboard-lag")
        try:
            with translated_errors(self._kafka, "read its topics' end offsets"):
                topics = consumer.topics()
                places = [
                    TopicPartition(topic, number)
                    for topic in sorted(set(self._groups.values()) & set(topics))
                    for number in sorted(consumer.partitions_for_topic(topic) or ())
                ]
                ends: Mapping[TopicPartition, int] = (
                    consumer.end_offsets(places, timeout_ms=int(_TIMEOUT_SECONDS * 1000)) if places else {}
                )
        finally:
            consumer.close(autocommit=False, timeout_ms=500)
        with admin(self._kafka, "dashboard-lag") as client, translated_errors(self._kafka, "read the groups' offsets"):
            committed = _committed(client, self._groups)
        return [
            _item(group, place, committed[group], ends[place])
            for group, topic in self._groups.items()
            for place in places
            if place.topic == topic
        ]


def _committed(client: Any, groups: Iterable[str]) -> dict[str, Offsets | None]:
    """The groups' committed offsets; None of a group whose coordinator stays away."""
    found: dict[str, Offsets | None] = {}
    until = time.monotonic() + _SETTLE_SECONDS
    for group in groups:
        while group not in found:
            try:
                found[group] = client.list_group_offsets(group).get(group, {})
            except _SETTLING:
                if time.monotonic() >= until:
                    found[group] = None
                else:
                    time.sleep(_AGAIN_SECONDS)
    return found


def _item(group: str, place: TopicPartition, committed: Offsets | None, end: int) -> dict[str, Any]:
    offset = None if committed is None else committed.get(place)
    position = offset.offset if offset is not None and offset.offset >= 0 else None
    state = "unknown" if committed is None else "never" if position is None else "committed"
    return {
        "group": group,
        "topic": place.topic,
        "partition": place.partition,
        "state": state,
        "position": position,
        "end": end,
        "lag": None if position is None else max(0, end - position),
    }
