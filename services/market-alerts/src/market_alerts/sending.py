"""From messages to alerts on their topic, each confirmed and counted."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from market_alerts.made import Made, Withdrawn
from market_alerts.metrics import Metrics
from market_alerts.partition import Counts, Partition
from ticklake import logs
from ticklake.alerts import Alert
from ticklake.kafka import ConfirmedProducer
from ticklake.topics import LiveNames

log = logs.get(__name__)


class Sending:
    """Evaluates what was read and sends what comes of it."""

    def __init__(self, producer: ConfirmedProducer, live: LiveNames, metrics: Metrics) -> None:
        self.alerts_end = 0
        """On the alerts topic, the offset after the last alert sent."""
        self._producer, self._topic, self._metrics = producer, live.alerts_topic, metrics

    def evaluate(self, partitions: Mapping[int, Partition], found: Mapping[int, Sequence[Any]]) -> None:
        """Evaluate messages by partition; returns once the broker has every alert that they make.

        Raises:
            StageError: the broker did not take an alert.
        """
        self.withdraw(partitions.values())
        counts, new = Counts(), list[Made]()
        for number, records in found.items():
            partition = partitions.get(number)
            if partition is None:
                continue
            made = partition.evaluate(records, counts)
            new += [each for each in made if not self._is_suppressed(each) and self._is_new(partition, each)]
            self._metrics.evaluation_delay.observe(max(0.0, time.time() - records[-1].timestamp / 1000))
        if new:
            self._send(new)
        if found:
            self._count(counts)
            self._metrics.series.set(sum(len(partition.series) for partition in partitions.values()))

    def withdraw(self, partitions: Iterable[Partition]) -> None:
        """Tell of what was withdrawn; returns once the broker has it.

        Raises:
            StageError: the broker did not take an alert.
        """
        pending = [(each, partition) for partition in partitions for each in partition.take_withdrawn()]
        if new := [each for each, partition in pending if self._is_new(partition, each)]:
            self._send(new)

    def _is_suppressed(self, made: Made) -> bool:
        change = made.change
        if change.state != "suppressed":
            return False
        self._metrics.suppressed.labels(change.rule.name).inc()
        log.info("alert suppressed by quiet time", rule=change.rule.name, symbol=made.symbol, value=change.value)
        return True

    def _is_new(self, partition: Partition, made: Made | Withdrawn) -> bool:
        if made.alert_id not in partition.known.ids:
            return True
        self._metrics.repeated.inc()
        log.info("alert is on the topic already", alert_id=made.alert_id, rule=made.key.rule, symbol=made.symbol)
        return False

    def _send(self, new: Sequence[Made | Withdrawn]) -> None:
        alerts = [made.alert() for made in new]
        for made, alert in zip(new, alerts, strict=True):
            self._producer.send(
                self._topic, key=alert.symbol.encode(), value=alert.model_dump_json().encode(),
                headers=made.headers.pairs(),
            )  # fmt: skip
        for placed in self._producer.confirm():
            if placed.topic == self._topic:
                self.alerts_end = placed.last + 1
        now = time.time()
        for made, alert in zip(new, alerts, strict=True):
            if isinstance(made, Made):
                self._metrics.alert_delay.observe(max(0.0, now - made.append_ms / 1000))
            self._note(alert)

    def _note(self, alert: Alert) -> None:
        if alert.state == "raised":
            self._metrics.raised.labels(alert.rule, alert.severity.value).inc()
        else:
            self._metrics.cleared.labels(alert.rule).inc()
        log.info(
            f"alert {alert.state}", alert_id=alert.alert_id, rule=alert.rule, symbol=alert.symbol,
            severity=alert.severity.value, value=alert.value, text=alert.message,
        )  # fmt: skip

    def _count(self, counts: Counts) -> None:
        self._metrics.ticks.inc(counts.ticks)
        for reason, number in (("invalid", counts.invalid), ("late", counts.late), ("future", counts.future)):
            if number:
                self._metrics.ignored.labels(reason).inc(number)
        if counts.newest_ms:
            self._metrics.last_event.set(counts.newest_ms / 1000)
