"""Alerts, state and commit: in which order they leave, and that an alert on the topic is not published again."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from prometheus_client import CollectorRegistry

from market_alerts import service
from market_alerts.active_alerts import PublishedAlerts
from market_alerts.evaluation import Counts, PartitionEvaluator
from market_alerts.metrics import Metrics
from market_alerts.publisher import AlertPublisher
from market_alerts.rules_file import parse_rules
from market_alerts.settings import AlertSettings
from ticklake.errors import StageError
from ticklake.lineage import OffsetRange
from ticklake.records import iso_ms
from ticklake.topics import live_names

LIVE = live_names()
RULES = parse_rules({"rules": [{"name": "level", "kind": "price_cross", "level": 100, "cooldown": "0s"}]})
AT = 1_770_000_000_000


def record(offset: int, price: float) -> Any:
    values = {
        "symbol": "AAPL",
        "price": price,
        "volume": 1,
        "event_time": iso_ms(datetime.fromtimestamp(AT / 1000 + offset, UTC)),
        "sequence": offset,
        "producer_run": "run",
        "source": "simulated",
    }
    return SimpleNamespace(
        offset=offset, key=b"AAPL", value=json.dumps(values).encode(), timestamp=AT + offset * 1000, headers=[]
    )


RECORDS = [record(0, 99.5), record(1, 100.25), record(2, 99.75)]


def partition(**more: Any) -> PartitionEvaluator:
    return PartitionEvaluator(0, "topic-id", RULES, 10_000, 60, **more)


class Broker:
    """The place of the producer and of the group: what was sent, confirmed and committed, in order."""

    joined = True

    def __init__(self) -> None:
        self.events: list[str] = []
        self.alert_ids: list[str] = []
        self.away = False

    def send(self, topic: str, *, key: bytes, value: bytes, **_: Any) -> None:
        if topic == LIVE.alerts_topic:
            self.alert_ids.append(json.loads(value)["alert_id"])
        self.events.append("alert" if topic == LIVE.alerts_topic else "state")

    def confirm(self) -> tuple[OffsetRange, ...]:
        if self.away:
            raise StageError("the broker is away")
        self.events.append("confirmed")
        return (OffsetRange(topic=LIVE.alerts_topic, partition=0, first=7, last=6 + len(self.alert_ids)),)

    def commit(self, positions: dict[int, Any], _: float) -> None:
        self.events.append(f"commit {positions[0].offset}")


def test_an_alert_on_the_topic_is_not_published_again() -> None:
    raised, *others = partition().evaluate(RECORDS, Counts())
    broker = Broker()
    publisher = AlertPublisher(broker, LIVE, Metrics(CollectorRegistry()))  # type: ignore[arg-type]
    again = partition(catch_up_until=3, published=PublishedAlerts(frozenset({raised.alert_id})))
    publisher.evaluate({0: again}, {0: RECORDS})
    assert broker.alert_ids == [each.alert_id for each in others]
    assert publisher.alerts_end == 9


def test_the_commit_comes_after_the_state_and_that_after_the_alerts() -> None:
    broker: Any = Broker()
    metrics = Metrics(CollectorRegistry())
    doors = dict.fromkeys(("RulesReloader", "NotifierPool", "TopicIdentity", "kafka"), mock.DEFAULT)
    with mock.patch.multiple(service, TickReader=lambda *_: broker, **doors) as found:
        found["TopicIdentity"].return_value.id = "topic-id"
        running = service.MarketAlerts(AlertSettings(), metrics)
    running._partitions[0] = partition()
    publisher = AlertPublisher(broker, LIVE, metrics)
    publisher.evaluate(running._partitions, {0: RECORDS})
    assert running._save(broker, publisher, 1)
    assert broker.events == [*["alert"] * 3, "confirmed", "state", "confirmed", "commit 3"]
    broker.events.clear()
    publisher.evaluate(running._partitions, {0: [record(3, 99.5)]})
    broker.away = True
    with pytest.raises(StageError):
        running._save(broker, publisher, 1)
    assert broker.events == ["state"]
