"""Prometheus metrics of market-alerts."""

from prometheus_client import REGISTRY, CollectorRegistry

from ticklake.metrics import Instruments

_DELAYS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)


class Metrics:
    """The metrics, registered with `registry`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        make = Instruments("market-alerts", registry)
        counter, gauge, histogram = make.counter, make.gauge, make.histogram
        self.ticks = counter("ticks", "Ticks evaluated")
        self.ignored = counter("ignored", "Messages ignored: invalid, late or from the future", "reason")
        self.raised = counter("raised", "Alerts raised", "rule", "severity")
        self.cleared = counter("cleared", "Alerts cleared", "rule")
        self.suppressed = counter("suppressed", "Alerts suppressed by a cooldown", "rule")
        self.repeated = counter("repeated", "Alerts evaluated again after a restart that are on the topic already")
        self.rules_ok = gauge(
            "rules_last_reload_successful",
            "1 while the rules in force are those of the file, 0 while its content is rejected",
        )
        self.rules_reloads = counter("rules_reloads", "Changes of the rules file: applied or rejected", "result")
        self.evaluation_delay = histogram(
            "evaluation_delay_seconds", "From a tick's append to its evaluation, of each batch's last tick", _DELAYS
        )
        self.alert_delay = histogram(
            "alert_delay_seconds", "From a tick's append to its alert's confirmation by the broker", _DELAYS
        )
        self.lag = gauge("lag", "Messages of the live topic that are not evaluated yet", "partition")
        self.last_event = gauge("last_event_timestamp_seconds", "Event time of the newest tick")
        self.series = gauge("series", "Symbols per source that are watched")
        self.kafka_errors = counter("kafka_errors", "Failed calls to the broker")
        self.state_seconds = histogram("state_save_seconds", "Time to save the state and commit", _DELAYS)
        self.delivered = counter("delivered", "Alerts delivered", "target")
        self.not_delivered = counter("not_delivered", "Alerts given up", "target", "reason")
        self.failed_attempts = counter("failed_attempts", "Failed attempts to deliver", "target")
        self.delivery_delay = histogram(
            "delivery_delay_seconds", "From the time an alert was raised to its delivery", _DELAYS, "target"
        )
        self.oldest_waiting = gauge(
            "oldest_waiting_timestamp_seconds", "When the oldest undelivered alert was raised; 0 for none", "target"
        )
