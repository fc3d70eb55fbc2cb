"""Prometheus metrics of the dashboard."""

from prometheus_client import REGISTRY, CollectorRegistry

from ticklake.metrics import Instruments

_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DELAY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics, registered with `registry`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        make = Instruments("dashboard", registry)
        self.requests = make.histogram(
            "request_duration_seconds",
            "Time to answer a request by route and status, streams left out",
            _REQUEST_BUCKETS,
            "route",
            "status",
        )
        self.streams = make.gauge("open_streams", "Open event streams")
        self.dropped = make.counter("slow_clients", "Event streams that fell behind, by what became of them", "outcome")
        self.delay = make.histogram(
            "event_delay_seconds", "From the broker's append of a tick to its hand-over to the pages", _DELAY_BUCKETS
        )
        self.messages = make.counter(
            "messages", "Messages read, by topic and whether they could be used", "topic", "outcome"
        )
        self.last_tick = make.gauge(
            "last_tick_timestamp_seconds", "When the newest tick arrived at the broker, Unix time"
        )
        self.broker_errors = make.counter("broker_errors", "Failed attempts to reach the broker")
        self.store_up = make.gauge("store_up", "1 while store and catalog answer")
        self.broker_up = make.gauge("broker_up", "1 while the broker answers")
