"""How far consumer groups are behind."""

from collections.abc import Mapping
from typing import Any

from kafka import TopicPartition

from dashboard.held import Held
from ticklake import names
from ticklake.kafka import admin, make_consumer, translated_errors
from ticklake.settings import KafkaSettings

_HELD_SECONDS = 3.0
_TIMEOUT_SECONDS = 10.0


class LagReader:
    """Asks the broker at most every few seconds, however many pages look.

    Args:
        live: names of the live flow.
    """

    def __init__(self, kafka: KafkaSettings, live: names.LiveNames) -> None:
        self._kafka = kafka.model_copy(update={"timeout_seconds": min(kafka.timeout_seconds, _TIMEOUT_SECONDS)})
        self._groups = {
            live.archive_group: live.topic, live.alerts_group: live.topic, names.BATCH_GROUP: names.BATCH_TOPIC,
        }  # fmt: skip
        self._held = Held(_HELD_SECONDS, self._ask)

    def read(self) -> list[dict[str, Any]]:
        """One item per group and partition, as `models_platform.LagItem` has it.

        Raises:
            StageError: the broker does not answer.
        """
        return self._held.read()

    def _ask(self) -> list[dict[str, Any]]:
        consumer = make_consumer(self._kafka, "dashboard-lag")
        try:
            with translated_errors(self._kafka, "tell where its topics end"):
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
        with admin(self._kafka, "dashboard-lag") as client, translated_errors(self._kafka, "tell the groups' offsets"):
            committed = {group: client.list_group_offsets(group).get(group, {}) for group in self._groups}
        return [
            _item(group, place, committed[group].get(place), ends[place])
            for group, topic in self._groups.items()
            for place in places
            if place.topic == topic
        ]


def _item(group: str, place: TopicPartition, committed: Any, end: int) -> dict[str, Any]:
    position = committed.offset if committed is not None and committed.offset >= 0 else None
    lag = None if position is None else max(0, end - position)
    return {
        "group": group, "topic": place.topic, "partition": place.partition, "position": position, "end": end,
        "lag": lag,
    }  # fmt: skip
