"""How far the ticks of a flow have come: into the log, the archive, the alerts and the windows."""

import json
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from ticklake.topics import LiveNames

_SECONDS = 5.0


@dataclass(frozen=True)
class Place:
    """Where the log ended at a moment."""

    ends: dict[int, int]
    """By partition, the offset of the message to come."""
    event_time: str
    """The greatest of a tick by then."""


class Progress:
    """Watches a flow's topics and groups as any other client would."""

    def __init__(self, bootstrap_servers: str, live: LiveNames) -> None:
        self._live, self._bootstrap = live, bootstrap_servers
        self._groups = {group: self._consumer(group) for group in (live.archive_group, live.alerts_group)}
        self._newest = {live.topic: "", live.analytics_topic: ""}
        """By topic the greatest event time seen."""
        self._seen = 0
        """Ticks seen."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for consumer in self._groups.values():
            consumer.close()

    def place(self) -> Place:
        """Where the log ends now; waits for the broker."""
        while True:
            try:
                return Place(self._ends(), self._newest[self._live.topic])
            except KafkaException:
                time.sleep(0.1)

    def first_place(self) -> Place:
        """The first place at which there is a tick."""
        while not self._newest[self._live.topic]:
            time.sleep(0.1)
        return self.place()

    def last_event_time(self) -> str:
        """The greatest event time, once the whole log was seen; nothing is sent any more."""
        end = sum(self._ends().values())
        while self._seen < end:
            time.sleep(0.1)
        return self._newest[self._live.topic]

    def behind(self, place: Place) -> list[str]:
        """Which parts have not come to `place` yet; the log itself is where nothing was sent after it."""
        found = [] if self._newest[self._live.analytics_topic] >= place.event_time else ["windows"]
        try:
            if sum(self._ends().values()) <= sum(place.ends.values()):
                found.append("log")
            for group, consumer in self._groups.items():
                partitions = [TopicPartition(self._live.topic, number) for number in place.ends]
                committed = {each.partition: each.offset for each in consumer.committed(partitions, timeout=_SECONDS)}
                if any(committed[number] < end for number, end in place.ends.items()):
                    found.append(group.split(".")[0])
        except KafkaException:
            found.append("broker")
        return found

    def _ends(self) -> dict[int, int]:
        consumer = self._groups[self._live.archive_group]
        partitions = consumer.list_topics(self._live.topic, timeout=_SECONDS).topics[self._live.topic].partitions
        return {
            number: consumer.get_watermark_offsets(TopicPartition(self._live.topic, number), timeout=_SECONDS)[1]
            for number in partitions
        }

    def _consumer(self, group: str) -> Any:
        return confluent_kafka.Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def _watch(self) -> None:
        consumer = self._consumer(uuid.uuid4().hex)
        consumer.subscribe([self._live.topic, self._live.analytics_topic])
        while not self._stop.is_set():
            for message in consumer.consume(2000, timeout=0.2):
                if message.error() or message.value() is None:
                    continue
                topic, value = message.topic(), json.loads(message.value())
                self._seen += topic == self._live.topic
                moment = value.get("last_event_time" if topic == self._live.analytics_topic else "event_time")
                if moment and moment > self._newest[topic]:
                    self._newest[topic] = moment
        consumer.close()
