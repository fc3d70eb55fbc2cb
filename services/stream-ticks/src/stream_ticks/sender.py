"""Hands ticks to the producer and keeps count."""

import time
from collections.abc import Iterable, Sequence

from stream_ticks.metrics import Metrics, Pulse
from ticklake.errors import StageError
from ticklake.kafka import ConfirmedProducer
from ticklake.records import Source


class Sender:
    """One producer run's way to the live topic."""

    def __init__(
        self,
        producer: ConfirmedProducer,
        topic: str,
        symbols: Sequence[str],
        producer_run: str,
        source: Source,
        metrics: Metrics,
        pulse: Pulse,
    ) -> None:
        self.symbols, self.producer_run, self.source, self.metrics = tuple(symbols), producer_run, source, metrics
        self.sent = 0
        self._producer, self._topic, self._pulse = producer, topic, pulse

    def send(self, messages: Iterable[tuple[bytes, bytes]], last_event_ms: int) -> None:
        """Send messages (key, value); blocks while the client's buffer is full.

        Raises:
            StageError: a tick cannot be delivered.
        """
        producer, topic, sent = self._producer, self._topic, 0
        counts: dict[bytes, int] = {}
        size, started = 0, time.monotonic()
        try:
            for key, value in messages:
                producer.send(topic, key=key, value=value)
                counts[key] = counts.get(key, 0) + 1
                size += len(value)
                sent += 1
        except StageError:
            self.metrics.send_errors.inc()
            raise
        finally:
            self.sent += sent
            self.metrics.bytes.inc(size)
            for key, number in counts.items():
                self.metrics.ticks.labels(key.decode(), self.source.value).inc(number)
        self.metrics.send_seconds.observe(time.monotonic() - started)
        self.metrics.last_event.set(last_event_ms / 1000)
        self.check()

    def check(self) -> int:
        """How many ticks are unconfirmed.

        Raises:
            StageError: a tick cannot be delivered.
        """
        return self._pulse.feed(self._producer, self.sent, self.metrics)
