"""Ticks to Kafka, each delivery confirmed."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from stream_ticks.alpha_vantage_source import stream_quotes
from stream_ticks.metrics import Metrics, Pulse
from stream_ticks.sender import Sender
from stream_ticks.settings import StreamSettings
from stream_ticks.simulated_source import stream_simulated
from stream_ticks.start_prices import find_starts
from ticklake import credentials, logs
from ticklake.catalog import LakeTables
from ticklake.credentials import Rejected
from ticklake.errors import StageError
from ticklake.kafka import ConfirmedProducer, topic_id
from ticklake.metrics import Health, served
from ticklake.records import Source

log = logs.get(__name__)

_CONFIRM_SECONDS = 7.0
"""After a stop: SIGTERM gives ten seconds in all, of which closing a client that hangs takes one or two."""


def run(settings: StreamSettings, stop: threading.Event, metrics: Metrics | None = None) -> None:
    """Stream until `stop` is set or the settings' end is reached, then confirm everything.

    Raises:
        ConfigurationError: the settings contradict each other, or the source rejects the key.
        CredentialsError: Kafka rejected the credentials for too long.
        StageError: a tick cannot be delivered.
    """
    # The store's are not watched: it is read once, and a stream without it starts at other prices.
    credentials.watched(
        settings, stop, lambda rejected: _run(settings, stop, metrics or Metrics(), rejected), kafka=settings.kafka
    )


def _run(settings: StreamSettings, stop: threading.Event, metrics: Metrics, rejected: Rejected) -> None:
    source = settings.chosen_source()
    topic = settings.live.names.topic
    producer_run = settings.stream.producer_run or str(uuid.uuid4())
    # Fails early and clearly where the topic is missing.
    topic_id(settings.kafka, topic)
    pulse = Pulse()
    with (
        served(Health(pulse.alive, pulse.ready, rejected), settings.metrics_port) as port,
        _producer(settings, stop) as producer,
    ):
        log.info(
            "streaming",
            source=source.value,
            topic=topic,
            symbols=list(settings.stream.symbols),
            producer_run=producer_run,
            metrics_port=port,
        )
        sender = Sender(producer, topic, settings.stream.symbols, producer_run, source, metrics, pulse)
        if source is Source.SIMULATED:
            stream_simulated(settings.stream, find_starts(_tables(settings), settings.stream.symbols), sender, stop)
        else:
            stream_quotes(settings, sender, stop)
        _confirm(sender, stop)
        log.info("all ticks are confirmed", ticks=sender.sent, source=source.value)


def _tables(settings: StreamSettings) -> LakeTables | None:
    if settings.catalog is None or not settings.stream.start_from_lake:
        return None
    return LakeTables(settings.catalog, settings.store)


@contextmanager
def _producer(settings: StreamSettings, stop: threading.Event) -> Iterator[ConfirmedProducer]:
    with ConfirmedProducer(settings.kafka, "stream-ticks", linger_ms=5) as producer:
        try:
            yield producer
        except StageError:
            if stop.is_set():
                log.warning("stopped with ticks that Kafka has not confirmed")
            raise


def _confirm(sender: Sender, stop: threading.Event) -> None:
    """Wait until everything is confirmed: after a stop for some seconds, else as long as a delivery may take."""
    deadline: float | None = None
    while waiting := sender.check():
        if stop.is_set() and deadline is None:
            deadline = time.monotonic() + _CONFIRM_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            raise StageError(f"stopped while Kafka does not answer: {waiting} ticks are not confirmed")
        time.sleep(0.01)
