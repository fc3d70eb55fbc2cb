"""What must outlive the process, on the state topic: each series, and for other readers the rules in force."""

import json
from collections.abc import Iterable
from typing import Any

from market_alerts.evaluation import PartitionEvaluator
from market_alerts.rules import Rule
from ticklake.alerts import RULES, RULES_KEY, STATES, read_state_topic
from ticklake.kafka import ConfirmedProducer
from ticklake.settings import KafkaSettings
from ticklake.topics import LiveNames

_SCHEMA_VERSION = 2


def publish_rules(producer: ConfirmedProducer, live: LiveNames, rules: Iterable[Rule]) -> None:
    """Publish which rules are in force; the caller confirms."""
    body = {"schema_version": _SCHEMA_VERSION, "rules": [rule.published() for rule in rules]}
    producer.send(live.alerts_state_topic, key=RULES_KEY, value=json.dumps(body).encode(), partition=RULES)


def save_state(producer: ConfirmedProducer, live: LiveNames, topic_id: str, partition: PartitionEvaluator) -> None:
    """Save the series that changed since the last time; the caller confirms."""
    for symbol, source in partition.take_changed():
        series = partition.series[symbol, source]
        body = {"schema_version": _SCHEMA_VERSION} | series.dump()
        producer.send(
            live.alerts_state_topic,
            key=_key(topic_id, partition, symbol, source),
            value=json.dumps(body, separators=(",", ":")).encode(),
            headers=[("next_offset", str(series.next_offsets[partition.number]).encode())],
            partition=STATES,
        )


def forget_moved(producer: ConfirmedProducer, live: LiveNames, topic_id: str, partition: PartitionEvaluator) -> None:
    """Delete the state of series that other partitions have by now, whose own state is sent; the caller confirms."""
    for symbol, source in sorted(partition.moved):
        producer.send(
            live.alerts_state_topic, key=_key(topic_id, partition, symbol, source), value=None, partition=STATES
        )
    partition.moved.clear()


def _key(topic_id: str, partition: PartitionEvaluator, symbol: str, source: str) -> bytes:
    return f"{topic_id}/{partition.number}/{symbol}/{source}".encode()


def restore_state(
    kafka: KafkaSettings, live: LiveNames, topic_id: str, partitions: Iterable[PartitionEvaluator]
) -> int:
    """Give `partitions` their saved series; returns how many there were.

    Raises:
        StageError: the broker does not answer.
    """
    wanted = {str(partition.number): partition for partition in partitions}
    newest: dict[tuple[str, str], tuple[PartitionEvaluator, dict[str, Any]]] = {}
    for key, value in read_state_topic(kafka, live, STATES).items():
        parts = key.decode().split("/")
        if len(parts) != 4 or parts[0] != topic_id or parts[1] not in wanted:
            continue
        body, name = json.loads(value), (parts[2], parts[3])
        if body.get("schema_version") != _SCHEMA_VERSION:
            continue
        found = wanted[parts[1]], body
        if name in newest:  # of a process that ended between the two steps of a move
            older, found = sorted((newest[name], found), key=lambda each: sum(each[1]["next_offsets"].values()))
            older[0].moved.add(name)
        newest[name] = found
    for (symbol, source), (partition, body) in newest.items():
        partition.restore(symbol, source, body)
    return len(newest)
