"""Prometheus metrics of archive-ticks."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from ticklake.ledger import LedgerRange

_PREFIX = "ticklake_archive_ticks"


class Metrics:
    """The metrics, registered with `registry`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"{_PREFIX}_{name}", text, labels, registry=registry)

        self.rows = counter("rows", "Ticks archived", "partition")
        self.invalid = counter("invalid", "Messages quarantined", "partition")
        self.objects = counter("objects", "Ledger objects written", "partition")
        self.bytes = counter("bytes", "Bytes written", "format")
        self.write_errors = counter("write_errors", "Failed attempts to write")
        self.races_lost = counter("races_lost", "Ranges that another writer wrote first")
        self.kafka_errors = counter("kafka_errors", "Failed attempts to read or to ask the broker")
        self.lag = gauge("lag", "Messages in the log that are not archived", "partition")
        self.last_offset = gauge("last_offset", "Last archived offset", "partition")
        self.last_time = gauge("last_append_timestamp_seconds", "Broker time of the last archived message", "partition")

    def archived(self, entry: LedgerRange, parquet_bytes: int) -> None:
        """Count a range that is now in the ledger."""
        partition = str(entry.partition)
        self.rows.labels(partition).inc(entry.rows)
        self.invalid.labels(partition).inc(entry.invalid_rows)
        self.objects.labels(partition).inc()
        self.bytes.labels("parquet").inc(parquet_bytes)
        self.last_offset.labels(partition).set(entry.last_offset)
        self.last_time.labels(partition).set(entry.last_append_time.timestamp())

    def forget(self, partition: int) -> None:
        """Drop the gauges of a partition that another member reads now."""
        for gauge in (self.lag, self.last_offset, self.last_time):
            gauge.remove_by_labels({"partition": str(partition)})
