"""Market alerts as stored on the alerts topic, and the rules that are in force."""

import json
from enum import StrEnum
from typing import Any, Literal

from kafka import TopicPartition
from pydantic import BaseModel, ConfigDict, Field

from ticklake.kafka import make_consumer, translated_errors
from ticklake.records import SchemaVersion, Source, Symbol, UtcMs
from ticklake.settings import KafkaSettings
from ticklake.topics import LiveNames

STATES, RULES = 0, 1
"""Partitions of the state topic: what was seen of each symbol, and the rules in force."""
RULES_KEY = b"rules"


class Severity(StrEnum):
    """How much an alert matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Alert(BaseModel):
    """One change of a rule's state for one symbol. Message key: the symbol.

    The same change has the same `alert_id` however often it is evaluated or sent, so that readers take each once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: SchemaVersion = 1
    alert_id: str = Field(min_length=1)
    """Of this change: the raised and the cleared message have one each."""
    rule: str = Field(min_length=1)
    symbol: Symbol
    kind: str = Field(min_length=1)
    """Kind of the rule, e.g. `price_cross`."""
    severity: Severity
    message: str
    """One line for people."""
    value: float = Field(allow_inf_nan=False)
    """What the rule measured, in the unit of its kind; where it is cleared as its rule went, when it was raised."""
    threshold: float = Field(allow_inf_nan=False)
    event_time: UtcMs
    """Of the tick that made the change; where it is cleared as its rule went, of the newest tick."""
    raised_at: UtcMs
    """When this message was made, by the clock."""
    source: Source
    """Of the ticks."""
    state: Literal["raised", "cleared"]


def read_rules(kafka: KafkaSettings, live: LiveNames) -> list[dict[str, Any]]:
    """The rules in force in the flow; empty before the service first ran.

    Each has the fields of the rules file, `label` (what its kind is called) and `sentence` (when it raises, in words).

    Raises:
        StageError: the broker does not answer.
        ConfigurationError: there is no such topic.
    """
    body = read_state_topic(kafka, live, RULES).get(RULES_KEY)
    return [] if body is None else list(json.loads(body)["rules"])


def read_state_topic(kafka: KafkaSettings, live: LiveNames, partition: int) -> dict[bytes, bytes]:
    """Everything in a partition of the state topic: per key the value that reaches furthest.

    That is the one with the greatest `next_offset`, which is in general the newest: only a writer that stalled
    while another took over can have written an older one after it.

    Raises:
        StageError: the broker does not answer.
        ConfigurationError: there is no such topic.
    """
    found: dict[bytes, tuple[int, bytes]] = {}
    consumer = make_consumer(kafka, "ticklake-alerts-state", auto_offset_reset="earliest")
    place = TopicPartition(live.alerts_state_topic, partition)
    try:
        with translated_errors(kafka, f"let {place.topic} be read"):
            consumer.assign([place])
            end = consumer.end_offsets([place])[place]
            while consumer.position(place) < end:
                for records in consumer.poll(timeout_ms=500).values():
                    for record in records:
                        reach = int(dict(record.headers).get("next_offset", b"0"))
                        if record.value is None:
                            found.pop(record.key, None)
                        elif reach >= found.get(record.key, (0, b""))[0]:
                            found[record.key] = (reach, record.value)
    finally:
        consumer.close()
    return {key: value for key, (_, value) in found.items()}
