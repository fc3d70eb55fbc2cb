"""From ticks to alerts on their topic, each confirmed and counted."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from market_alerts.alert_events import AlertEvent, Withdrawal
from market_alerts.evaluation import Counts, PartitionEvaluator
from market_alerts.metrics import Metrics
from ticklake import logs
from ticklake.alerts import Alert
from ticklake.kafka import ConfirmedProducer
from ticklake.topics import LiveNames

log = logs.get(__name__)


class AlertPublisher:
    """Has ticks evaluated and publishes the alerts that result."""

    def __init__(self, producer: ConfirmedProducer, live: LiveNames, metrics: Metrics) -> None:
        self.alerts_end = 0
        """On the alerts topic, the offset after the last alert published."""
        self._producer, self._topic, self._metrics = producer, live.alerts_topic, metrics

    def evaluate(self, partitions: Mapping[int, PartitionEvaluator], found: Mapping[int, Sequence[Any]]) -> None:
        """Evaluate messages by partition; returns once the broker has every alert that results.

        Raises:
            StageError: the broker did not accept an alert.
        """
        self.publish_withdrawals(partitions.values())
        counts, new = Counts(), list[AlertEvent]()
        for number, records in found.items():
            partition = partitions.get(number)
            if partition is None:
                continue
            events = partition.evaluate(records, counts)
            new += [each for each in events if not self._is_suppressed(each) and self._is_new(partition, each)]
            self._metrics.evaluation_delay.observe(max(0.0, time.time() - records[-1].timestamp / 1000))
        if new:
            self._publish(new)
        if found:
            self._count(counts)
            self._metrics.series.set(sum(len(partition.series) for partition in partitions.values()))

    def publish_withdrawals(self, partitions: Iterable[PartitionEvaluator]) -> None:
        """Publish what was withdrawn; returns once the broker has it.

        Raises:
            StageError: the broker did not accept an alert.
        """
        pending = [(each, partition) for partition in partitions for each in partition.take_withdrawals()]
        if new := [each for each, partition in pending if self._is_new(partition, each)]:
            self._publish(new)

    def _is_suppressed(self, event: AlertEvent) -> bool:
        rule, _, value, _, state = event.transition
        if state != "suppressed":
            return False
        self._metrics.suppressed.labels(rule.name).inc()
        log.info("alert suppressed by cooldown", rule=rule.name, symbol=event.symbol, value=value)
        return True

    def _is_new(self, partition: PartitionEvaluator, event: AlertEvent | Withdrawal) -> bool:
        if event.alert_id not in partition.published.ids:
            return True
        self._metrics.repeated.inc()
        log.info("alert already published", alert_id=event.alert_id, rule=event.key.rule, symbol=event.symbol)
        return False

    def _publish(self, new: Sequence[AlertEvent | Withdrawal]) -> None:
        alerts = [event.alert() for event in new]
        for event, alert in zip(new, alerts, strict=True):
            self._producer.send(
                self._topic,
                key=alert.symbol.encode(),
                value=alert.model_dump_json().encode(),
                headers=event.headers.pairs(),
            )
        for placed in self._producer.confirm():
            if placed.topic == self._topic:
                self.alerts_end = placed.last + 1
        now = time.time()
        for event, alert in zip(new, alerts, strict=True):
            if isinstance(event, AlertEvent):
                self._metrics.alert_delay.observe(max(0.0, now - event.append_ms / 1000))
            self._record(alert)

    def _record(self, alert: Alert) -> None:
        if alert.state == "raised":
            self._metrics.raised.labels(alert.rule, alert.severity.value).inc()
        else:
            self._metrics.cleared.labels(alert.rule).inc()
        log.info(
            f"alert {alert.state}",
            alert_id=alert.alert_id,
            rule=alert.rule,
            symbol=alert.symbol,
            severity=alert.severity.value,
            value=alert.value,
            text=alert.message,
        )

    def _count(self, counts: Counts) -> None:
        self._metrics.ticks.inc(counts.ticks)
        for reason, number in (("invalid", counts.invalid), ("late", counts.late), ("future", counts.future)):
            if number:
                self._metrics.ignored.labels(reason).inc(number)
        if counts.newest_ms:
            self._metrics.last_event.set(counts.newest_ms / 1000)
