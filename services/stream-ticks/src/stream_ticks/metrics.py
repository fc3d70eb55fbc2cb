"""Prometheus metrics of stream-ticks, and whether its messages get through."""

import time

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from ticklake.errors import StageError
from ticklake.kafka import ConfirmedProducer

_PREFIX = "ticklake_stream_ticks"
_STALE_SECONDS = 10.0
_STUCK_SECONDS = 180.0


class Metrics:
    """The metrics, registered with `registry`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.ticks = Counter(f"{_PREFIX}_ticks", "Ticks handed to Kafka", ("symbol", "source"), registry=registry)
        self.unconfirmed = Gauge(f"{_PREFIX}_unconfirmed", "Ticks that Kafka has not confirmed", registry=registry)
        self.send_errors = Counter(f"{_PREFIX}_send_errors", "Ticks that could not be sent", registry=registry)
        self.source_errors = Counter(f"{_PREFIX}_source_errors", "Failed calls of the source", registry=registry)
        self.skipped = Counter(f"{_PREFIX}_skipped_rounds", "Rounds left out after a pause", registry=registry)
        self.last_event = Gauge(
            f"{_PREFIX}_last_event_timestamp_seconds", "Event time of the newest tick", registry=registry
        )


class Pulse:
    """Whether the loop runs and messages are confirmed; fed by the loop, asked by the probes."""

    def __init__(self) -> None:
        self._beat = self._confirmed = time.monotonic()
        self._done = 0

    def feed(self, producer: ConfirmedProducer, sent: int, metrics: Metrics) -> int:
        """Note that the loop runs and that it has sent `sent` messages; returns how many are unconfirmed.

        Raises:
            StageError: a message cannot be delivered.
        """
        try:
            waiting = producer.check()
        except StageError:
            metrics.send_errors.inc()
            raise
        metrics.unconfirmed.set(waiting)
        self._beat = time.monotonic()
        if waiting == 0 or sent - waiting > self._done:
            self._confirmed = self._beat
        self._done = sent - waiting
        return waiting

    def alive(self) -> bool:
        """False where the loop is stuck."""
        return time.monotonic() - self._beat < _STUCK_SECONDS

    def ready(self) -> bool:
        """False where Kafka confirms nothing for a while."""
        return time.monotonic() - self._confirmed < _STALE_SECONDS
