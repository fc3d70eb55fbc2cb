"""What must outlive the process: each series on the state topic, and which alerts stand on the alerts topic already."""

import json
from collections.abc import Iterable
from typing import Any

from kafka import TopicPartition
from pydantic import ValidationError

from market_alerts.made import Headers, Key, Known, Standing
from market_alerts.partition import Partition
from market_alerts.rules import Rule
from ticklake.alerts import RULES, RULES_KEY, STATES, Alert, read_state_topic
from ticklake.kafka import ConfirmedProducer, end_offsets, make_consumer, translated_errors
from ticklake.settings import KafkaSettings
from ticklake.topics import LiveNames

_SCHEMA_VERSION = 1


def send_rules(producer: ConfirmedProducer, live: LiveNames, rules: Iterable[Rule]) -> None:
    """Tell readers of the state topic which rules are in force; the caller confirms."""
    body = {"schema_version": _SCHEMA_VERSION, "rules": [rule.model_dump(mode="json") for rule in rules]}
    producer.send(live.alerts_state_topic, key=RULES_KEY, value=json.dumps(body).encode(), partition=RULES)


def send_state(producer: ConfirmedProducer, live: LiveNames, topic_id: str, partition: Partition) -> None:
    """Save the series that changed since the last time; the caller confirms."""
    for symbol, source in partition.take_changed():
        series = partition.series[symbol, source]
        body = {"schema_version": _SCHEMA_VERSION} | series.dump()
        producer.send(
            live.alerts_state_topic,
            key=f"{topic_id}/{partition.number}/{symbol}/{source}".encode(),
            value=json.dumps(body, separators=(",", ":")).encode(),
            headers=[("next_offset", str(series.next_offset).encode())],
            partition=STATES,
        )


def restore(kafka: KafkaSettings, live: LiveNames, topic_id: str, partitions: Iterable[Partition]) -> int:
    """Give `partitions` the saved series of theirs; returns how many there were.

    Raises:
        StageError: the broker does not answer.
    """
    wanted, count = {str(partition.number): partition for partition in partitions}, 0
    for key, value in read_state_topic(kafka, live, STATES).items():
        parts = key.decode().split("/")
        if len(parts) != 4 or parts[0] != topic_id or parts[1] not in wanted:
            continue
        body = json.loads(value)
        if body.get("schema_version") == _SCHEMA_VERSION:
            wanted[parts[1]].restore(parts[2], parts[3], body)
            count += 1
    return count


def known_alerts(kafka: KafkaSettings, live: LiveNames, first: int) -> Known:
    """The alerts on the topic from offset `first` on.

    Raises:
        StageError: the broker does not answer.
    """
    ids: set[str] = set()
    raised: dict[Key, Standing] = {}
    consumer = make_consumer(kafka, "market-alerts-again", auto_offset_reset="earliest")
    place = TopicPartition(live.alerts_topic, 0)
    try:
        with translated_errors(kafka, f"let {place.topic} be read"):
            consumer.assign([place])
            end = consumer.end_offsets([place])[place]
            consumer.seek(place, min(max(first, consumer.beginning_offsets([place])[place]), end))
            while consumer.position(place) < end:
                for records in consumer.poll(timeout_ms=500).values():
                    for record in records:
                        _note(record, ids, raised)
    finally:
        consumer.close()
    return Known(frozenset(ids), raised)


def _note(record: Any, ids: set[str], raised: dict[Key, Standing]) -> None:
    try:
        alert = Alert.model_validate_json(record.value or b"")
    except ValidationError:
        return
    ids.add(alert.alert_id)
    key = Key(alert.rule, alert.symbol, alert.source, alert.threshold)
    raised.pop(key, None)
    if alert.state == "raised":
        raised[key] = Standing(alert, Headers.of(record.headers).cleared_targets)


def alerts_end(kafka: KafkaSettings, live: LiveNames) -> int:
    """Offset of the alert to come.

    Raises:
        StageError: the broker does not answer.
    """
    return end_offsets(kafka, live.alerts_topic).get(0, 0)
