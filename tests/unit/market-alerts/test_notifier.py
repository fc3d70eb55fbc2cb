"""In which order alerts are delivered and committed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from prometheus_client import CollectorRegistry
from sample_alert import ALERT
from waiting import wait_until

from market_alerts import notifier
from market_alerts.metrics import Metrics
from market_alerts.notifier import Notifier
from market_alerts.settings import AlertSettings, DeliverySettings
from market_alerts.targets import PermanentFailure, TemporaryFailure
from ticklake.alerts import Alert


class Receiver:
    """The receiver and the alerts topic: what is sent and committed, in order."""

    def __init__(self, answers: Sequence[Exception | None]) -> None:
        self.answers, self.events = list(answers), list[str]()
        at = datetime.now(UTC)
        self._records = [
            SimpleNamespace(
                offset=number,
                value=ALERT.model_copy(update={"alert_id": str(number), "raised_at": at}).model_dump_json().encode(),
                headers=[],
            )
            for number in range(3)
        ]

    def send(self, alert: Alert) -> None:
        self.events.append(f"send {alert.alert_id}")
        if answer := self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]:
            raise answer

    def poll(self, **_: Any) -> dict[TopicPartition, list[Any]]:
        found, self._records = self._records, []
        return {TopicPartition("alerts", 0): found} if found else {}

    def commit(self, offsets: dict[TopicPartition, Any], **_: Any) -> None:
        self.events.append(f"commit {next(iter(offsets.values())).offset}")

    def assign(self, _: Any) -> None:
        """There is one partition."""

    def close(self, **_: Any) -> None:
        """Nothing is open."""


def started(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Notifier:
    monkeypatch.setattr(notifier, "make_consumer", lambda *_, **__: receiver)
    monkeypatch.setattr(notifier, "make_sender", lambda *_: receiver.send)
    settings = AlertSettings(delivery=DeliverySettings(retry_seconds=0.001))
    made = Notifier(settings, "webhook", Metrics(CollectorRegistry()))
    made.active = True
    made.start()
    return made


def test_an_alert_is_committed_once_it_is_delivered_or_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver([TemporaryFailure("503"), None, PermanentFailure("400"), None])
    running = started(receiver, monkeypatch)
    wait_until(lambda: "commit 3" in receiver.events)
    running.request_stop()
    running.join(10)
    expected = ["send 0", "send 0", "commit 1", "send 1", "commit 2", "send 2", "commit 3"]
    assert receiver.events == expected


def test_what_is_not_delivered_at_the_stop_is_left_for_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver([TemporaryFailure("503")])
    running = started(receiver, monkeypatch)
    wait_until(lambda: len(receiver.events) > 2)
    running.request_stop()
    running.join(10)
    assert set(receiver.events) == {"send 0"}
