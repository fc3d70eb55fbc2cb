"""Prometheus metrics of archive-ticks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import REGISTRY, CollectorRegistry

from ticklake.ledger import LedgerRange
from ticklake.metrics import Instruments

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DELAY_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 90, 120, 300, 900, 3600)

Step = Literal["quarantine", "object", "copy"]
"""Of writing a range: what is invalid, the ledger object, its CSV copy."""

_STEPS: tuple[Step, ...] = ("quarantine", "object", "copy")
_KAFKA_WORK = ("read", "locate_new", "monitor", "check_group", "check_topic")


class Metrics:
    """The metrics, registered with `registry`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        make = Instruments("archive-ticks", registry)
        counter, gauge, histogram = make.counter, make.gauge, make.histogram
        self.rows = counter("rows", "Ticks archived", "partition")
        self.invalid = counter("invalid", "Messages quarantined", "partition")
        self.absent = counter("absent", "Offsets without a message", "partition")
        self.objects = counter("objects", "Ledger objects written", "partition")
        self.bytes = counter("bytes", "Bytes written", "format")
        self.write_errors = counter("write_errors", "Failed attempts to write", "kind")
        self.races_lost = counter("races_lost", "Ranges that another writer wrote first")
        self.kafka_errors = counter("kafka_errors", "Failed attempts to read or to ask the broker", "kind")
        self.lag = gauge("lag", "Messages in the log that are not archived", "partition")
        self.stopped = gauge("stopped", "1 for a partition that cannot be archived until a person decides", "partition")
        self.last_offset = gauge("last_offset", "Last archived offset", "partition")
        self.last_time = gauge("last_append_timestamp_seconds", "Broker time of the last archived message", "partition")
        self.last_read = gauge("last_read_timestamp_seconds", "Broker time of the last message read", "partition")
        self.held_bytes = gauge("held_bytes", "Bytes of messages read and not yet written")
        self.paused = gauge("paused", "1 while reading pauses because too much waits to be written")
        self.market_open = gauge("market_open", "1 while the exchange of TICKLAKE_CALENDAR trades")
        self.write_seconds = histogram("write_duration_seconds", "Time of one successful write", _SECONDS, "step")
        self.delay_seconds = histogram(
            "archive_delay_seconds",
            "From a range's first message's broker time to its object in the lake",
            _DELAY_SECONDS,
        )
        # A counter that appears with its first error has no earlier value to have grown from.
        for step in _STEPS:
            self.write_errors.labels(step)
        for work in _KAFKA_WORK:
            self.kafka_errors.labels(work)

    @contextmanager
    def writing(self, step: Step) -> Iterator[None]:
        """Time a step of writing, or count its failure."""
        started = time.monotonic()
        try:
            yield
        except Exception:
            self.write_errors.labels(step).inc()
            raise
        self.write_seconds.labels(step).observe(time.monotonic() - started)

    def archived(self, entry: LedgerRange, parquet_bytes: int) -> None:
        """Count a range that is now in the ledger."""
        partition = str(entry.partition)
        self.rows.labels(partition).inc(entry.rows)
        self.invalid.labels(partition).inc(entry.invalid_rows)
        self.absent.labels(partition).inc(entry.absent_rows)
        self.objects.labels(partition).inc()
        self.bytes.labels("parquet").inc(parquet_bytes)
        self.last_offset.labels(partition).set(entry.last_offset)
        self.last_time.labels(partition).set(entry.last_append_time.timestamp())
        self.delay_seconds.observe(max(0.0, time.time() - entry.first_append_time.timestamp()))

    def assigned(self, partition: int) -> None:
        """Count a partition's rows from 0 on, so that the first ones are seen to be new."""
        for counter in (self.rows, self.invalid, self.absent, self.objects):
            counter.labels(str(partition))

    def forget(self, partition: int) -> None:
        """Drop the gauges of a partition that another member reads now."""
        for gauge in (self.lag, self.stopped, self.last_offset, self.last_time, self.last_read):
            gauge.remove_by_labels({"partition": str(partition)})
