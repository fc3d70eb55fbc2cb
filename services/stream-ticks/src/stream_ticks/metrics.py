"""Prometheus metrics of stream-ticks, and whether its messages get through."""

import time

from prometheus_client import REGISTRY, CollectorRegistry

from ticklake.errors import StageError
from ticklake.kafka import ConfirmedProducer
from ticklake.metrics import Instruments
from ticklake.service import Heartbeat

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)
SOURCE_ERRORS = ("limited", "failed", "unknown_symbol")
"""Kinds of failed calls of the source."""
_STALE_SECONDS = 10.0


class Metrics:
    """The metrics, registered with `registry`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        make = Instruments("stream-ticks", registry)
        counter, gauge = make.counter, make.gauge
        self.ticks = counter("ticks", "Ticks handed to Kafka", "symbol", "source")
        self.bytes = counter("bytes", "Bytes of the ticks handed to Kafka")
        self.unconfirmed = gauge("unconfirmed", "Ticks that Kafka has not confirmed")
        self.send_errors = counter("send_errors", "Ticks that could not be sent")
        self.source_errors = counter("source_errors", "Failed calls of the source", "kind")
        self.skipped = counter("skipped_rounds", "Rounds left out after a pause or a step of the wall clock forwards")
        self.set_back = counter("clock_set_back", "Times that event time went back with the wall clock")
        self.last_event = gauge("last_event_timestamp_seconds", "Event time of the newest tick")
        self.last_confirmed = gauge("last_confirmed_timestamp_seconds", "When Kafka last confirmed ticks")
        self.send_seconds = make.histogram(
            "send_duration_seconds", "Time to hand one round to the client; long where its buffer is full", _SECONDS
        )
        # A counter that appears with its first error has no earlier value to have grown from.
        for kind in SOURCE_ERRORS:
            self.source_errors.labels(kind)


class Pulse(Heartbeat):
    """Whether the loop runs and messages are confirmed; fed by the loop, asked by the probes."""

    def __init__(self) -> None:
        super().__init__()
        self._confirmed = time.monotonic()
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
        self.beat()
        if waiting == 0 or sent - waiting > self._done:
            self._confirmed = time.monotonic()
        if sent - waiting > self._done:
            metrics.last_confirmed.set_to_current_time()
        self._done = sent - waiting
        return waiting

    def ready(self) -> bool:
        """False where Kafka confirms nothing for a while."""
        return time.monotonic() - self._confirmed < _STALE_SECONDS
