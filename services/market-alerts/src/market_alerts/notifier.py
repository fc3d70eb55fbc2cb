"""Notifiers: one thread per target reads the alerts topic and delivers, at its own pace and at least once.

The topic is the queue. A receiver that is down delays its own thread alone, an alert that was not delivered when the
process ended is delivered by the next one, and offsets are committed after the delivery.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata
from pydantic import ValidationError

from market_alerts.active_alerts import Headers
from market_alerts.metrics import Metrics
from market_alerts.rules import Target
from market_alerts.settings import AlertSettings
from market_alerts.targets import PermanentFailure, Send, TemporaryFailure, make_sender
from ticklake import logs
from ticklake.alerts import Alert
from ticklake.backoff import full_jitter
from ticklake.errors import StageError
from ticklake.kafka import make_consumer, translated_errors

log = logs.get(__name__)

_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_BATCH = 100
"""Alerts read from the topic at a time."""
_LEAVE_SECONDS = 1.0


@dataclass
class _Pending:
    place: TopicPartition
    offset: int
    alert: Alert
    attempts: int = 0
    next_try: float = 0.0
    """By the monotonic clock."""


class Notifier:
    """Delivers alerts to one target.

    Of several processes the one that evaluates partition 0 of the live topic delivers: the alerts topic has a single
    partition, and a second group to keep in order would bring nothing but rebalances.
    """

    def __init__(self, settings: AlertSettings, target: Target, metrics: Metrics) -> None:
        self.target: Target = target
        self.active = False
        """Whether this process is the one that delivers."""
        self.failure: StageError | None = None
        """What ended the thread without a request to stop."""
        self._settings, self._options, self._metrics = settings, settings.delivery, metrics
        self._send: Send = make_sender(target, settings.delivery)
        self._queue: deque[_Pending] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"notifier-{target}", daemon=True)

    def start(self) -> None:
        """Start delivering."""
        self._thread.start()

    def request_stop(self) -> None:
        """End after the attempt that is under way."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, but no longer than `seconds`."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self.active:
                self._stop.wait(_POLL_SECONDS)
                continue
            try:
                self._read_and_deliver()
            except StageError as error:
                if error.final:
                    self.failure = error
                    return
                self._metrics.kafka_errors.inc()
                log.warning("retrying", target=self.target, error=str(error), seconds=_RETRY_SECONDS)
                self._stop.wait(_RETRY_SECONDS)
            except Exception as error:  # a thread's traceback would end up nowhere
                log.exception("notifier failed", target=self.target)
                self.failure = StageError(f"delivery to {self.target} failed: {type(error).__name__}")
                return

    def _read_and_deliver(self) -> None:
        kafka, live = self._settings.kafka, self._settings.live.names
        consumer = make_consumer(
            kafka,
            f"market-alerts-{self.target}",
            group_id=live.delivery_group(self.target),
            auto_offset_reset="earliest",
            max_poll_records=_BATCH,
        )
        # Starts where it was committed; at the very first start with the oldest alert, most being too old then.
        consumer.assign([TopicPartition(live.alerts_topic, 0)])
        self._queue.clear()
        try:
            while self.active and not self._stop.is_set():
                if not self._queue:
                    self._read(consumer)
                elif (wait := self._queue[0].next_try - time.monotonic()) > 0:
                    self._stop.wait(min(wait, _POLL_SECONDS))
                else:
                    self._attempt(consumer)
        finally:
            try:
                consumer.close(autocommit=False, timeout_ms=int(_LEAVE_SECONDS * 1000))
            except kafka_errors.KafkaError as error:
                log.debug("closing failed", error=str(error))

    def _read(self, consumer: Any) -> None:
        with translated_errors(self._settings.kafka, "let alerts be read"):
            found = consumer.poll(timeout_ms=int(_POLL_SECONDS * 1000))
        for place, records in found.items():
            for record in records:
                self._enqueue(place, record)
            if not self._queue:
                self._commit(consumer, place, records[-1].offset + 1)
        self._update_oldest()

    def _update_oldest(self) -> None:
        self._metrics.oldest_waiting.labels(self.target).set(
            self._queue[0].alert.raised_at.timestamp() if self._queue else 0
        )

    def _enqueue(self, place: TopicPartition, record: Any) -> None:
        try:
            alert = Alert.model_validate_json(record.value or b"")
        except ValidationError:
            log.warning("invalid alert", topic=place.topic, offset=record.offset)
            return
        # Its rule may have been changed or removed by now: who is notified was decided when it was raised.
        targets = Headers.of(record.headers).targets
        if targets is not None and self.target not in targets:
            return
        self._queue.append(_Pending(place, record.offset, alert))

    def _attempt(self, consumer: Any) -> None:
        item, reason = self._queue[0], ""
        age = _age(item.alert)
        if age > self._options.give_up_seconds:
            reason = "too old"
        else:
            item.attempts += 1
            try:
                self._send(item.alert)
            except TemporaryFailure as error:
                self._schedule_retry(item, error)
                return
            except PermanentFailure as error:
                reason = str(error)
        self._queue.popleft()
        self._record(item, reason)
        self._update_oldest()
        self._commit(consumer, item.place, item.offset + 1)

    def _schedule_retry(self, item: _Pending, error: TemporaryFailure) -> None:
        seconds = full_jitter(item.attempts - 1, self._options.retry_seconds, self._options.retry_cap_seconds)
        # However long the target asks to wait: once the alert is too old, the next one has its turn.
        seconds = max(seconds, min(error.after_seconds or 0, self._options.give_up_seconds - _age(item.alert)))
        item.next_try = time.monotonic() + seconds
        self._metrics.failed_attempts.labels(self.target).inc()
        log.warning(
            "delivery failed, retrying",
            target=self.target,
            alert_id=item.alert.alert_id,
            reason=str(error),
            attempts=item.attempts,
            seconds=round(seconds, 2),
        )

    def _record(self, item: _Pending, reason: str) -> None:
        alert, age = item.alert, _age(item.alert)
        fields = {
            "target": self.target,
            "alert_id": alert.alert_id,
            "rule": alert.rule,
            "symbol": alert.symbol,
            "state": alert.state,
            "attempts": item.attempts,
            "seconds": round(age, 3),
        }
        if reason:
            kind = "too_old" if reason == "too old" else "rejected"
            self._metrics.not_delivered.labels(self.target, kind).inc()
            log.error("alert not delivered", reason=reason, **fields)
        else:
            self._metrics.delivered.labels(self.target).inc()
            self._metrics.delivery_delay.labels(self.target).observe(age)
            log.info("alert delivered", **fields)

    def _commit(self, consumer: Any, place: TopicPartition, next_offset: int) -> None:
        # If it fails, an alert may be sent once more, and nothing else.
        try:
            consumer.commit(
                {place: OffsetAndMetadata(next_offset, "", -1)},
                timeout_ms=int(self._settings.kafka.timeout_seconds * 1000),
            )
        except (kafka_errors.KafkaError, AssertionError) as error:
            log.warning("commit failed", target=self.target, error=type(error).__name__)


def _age(alert: Alert) -> float:
    return max(0.0, (datetime.now(UTC) - alert.raised_at).total_seconds())
