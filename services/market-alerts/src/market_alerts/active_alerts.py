"""What is on the alerts topic already: which alerts were published, which of them are active, and who is notified."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kafka import TopicPartition
from pydantic import ValidationError

from market_alerts.rules import TARGETS, Target
from ticklake.alerts import Alert
from ticklake.kafka import end_offsets, make_consumer, translated_errors
from ticklake.records import Source
from ticklake.settings import KafkaSettings
from ticklake.topics import LiveNames

Targets = tuple[Target, ...] | None
"""Where an alert goes; None is every target that is set up."""


class AlertKey(NamedTuple):
    """What an alert is about, as far as a reader of the topic can tell."""

    rule: str
    symbol: str
    source: Source
    threshold: float

    @classmethod
    def of(cls, alert: Alert) -> "AlertKey":
        """Of an alert on the topic."""
        return cls(alert.rule, alert.symbol, alert.source, alert.threshold)


class ActiveAlert(NamedTuple):
    """A raised alert on the topic with no other of its key after it."""

    alert: Alert
    cleared_targets: Targets


@dataclass(frozen=True)
class PublishedAlerts:
    """What is on the alerts topic and may be evaluated again after a restart."""

    ids: frozenset[str] = frozenset()
    active: Mapping[AlertKey, ActiveAlert] = field(default_factory=dict)


class Headers(NamedTuple):
    """The headers of a message on the alerts topic: who is notified, decided where its rule is known."""

    targets: Targets
    cleared_targets: Targets = None
    """Who is notified when it is cleared."""

    @classmethod
    def of(cls, headers: list[tuple[str, bytes]]) -> "Headers":
        """Of a message; one without these headers is for every target."""
        found = dict(headers)
        return cls(_targets(found.get("targets")), _targets(found.get("cleared_targets")))

    def pairs(self) -> list[tuple[str, bytes]]:
        """As Kafka has them; what is for every target has none."""
        named = self._asdict().items()
        return [(name, ",".join(targets).encode()) for name, targets in named if targets is not None]


def _targets(value: bytes | None) -> Targets:
    return None if value is None else tuple(target for target in TARGETS if target in value.decode().split(","))


def read_published(kafka: KafkaSettings, live: LiveNames, first: int) -> PublishedAlerts:
    """The alerts on the topic from offset `first` on.

    Raises:
        StageError: the broker does not answer.
    """
    ids: set[str] = set()
    active: dict[AlertKey, ActiveAlert] = {}
    consumer = make_consumer(kafka, "market-alerts-recovery", auto_offset_reset="earliest")
    place = TopicPartition(live.alerts_topic, 0)
    try:
        with translated_errors(kafka, f"let {place.topic} be read"):
            consumer.assign([place])
            end = consumer.end_offsets([place])[place]
            consumer.seek(place, min(max(first, consumer.beginning_offsets([place])[place]), end))
            while consumer.position(place) < end:
                for records in consumer.poll(timeout_ms=500).values():
                    for record in records:
                        _add(record, ids, active)
    finally:
        consumer.close()
    return PublishedAlerts(frozenset(ids), active)


def _add(record: Any, ids: set[str], active: dict[AlertKey, ActiveAlert]) -> None:
    try:
        alert = Alert.model_validate_json(record.value or b"")
    except ValidationError:
        return
    ids.add(alert.alert_id)
    key = AlertKey.of(alert)
    active.pop(key, None)
    if alert.state == "raised":
        active[key] = ActiveAlert(alert, Headers.of(record.headers).cleared_targets)


def alerts_end(kafka: KafkaSettings, live: LiveNames) -> int:
    """Offset of the alert to come.

    Raises:
        StageError: the broker does not answer.
    """
    return end_offsets(kafka, live.alerts_topic).get(0, 0)
