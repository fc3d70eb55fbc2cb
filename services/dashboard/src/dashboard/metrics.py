"""Prometheus metrics of the dashboard."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_PREFIX = "ticklake_dashboard"
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DELAY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics, registered with `registry`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Histogram(
            f"{_PREFIX}_request_duration_seconds",
            "Time to answer a request by route and status, streams left out",
            ("route", "status"),
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self.streams = Gauge(f"{_PREFIX}_open_streams", "Open event streams", registry=registry)
        self.dropped = Counter(
            f"{_PREFIX}_slow_clients",
            "Event streams that fell behind, by what became of them",
            ("outcome",),
            registry=registry,
        )
        self.delay = Histogram(
            f"{_PREFIX}_event_delay_seconds",
            "From the broker's append of a tick to its hand-over to the pages",
            buckets=_DELAY_BUCKETS,
            registry=registry,
        )
        self.messages = Counter(
            f"{_PREFIX}_messages",
            "Messages read, by topic and whether they could be used",
            ("topic", "outcome"),
            registry=registry,
        )
        self.last_tick = Gauge(
            f"{_PREFIX}_last_tick_timestamp_seconds",
            "When the newest tick arrived at the broker, Unix time",
            registry=registry,
        )
        self.broker_errors = Counter(
            f"{_PREFIX}_broker_errors", "Failed attempts to reach the broker", registry=registry
        )
        self.store_up = Gauge(f"{_PREFIX}_store_up", "1 while store and catalog answer", registry=registry)
        self.broker_up = Gauge(f"{_PREFIX}_broker_up", "1 while the broker answers", registry=registry)
