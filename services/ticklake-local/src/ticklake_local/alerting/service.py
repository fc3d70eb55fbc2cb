"""Asks the targets, checks the rules, and serves the active alerts, as Alertmanager's API does."""

import hashlib
import json
import threading
import time
from datetime import UTC, datetime

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from ticklake import logs
from ticklake.metrics import Health, served
from ticklake.service import Heartbeat
from ticklake_local.alerting.rules import Alert, Checker, read_rules
from ticklake_local.alerting.scrape import sample_disk, scrape
from ticklake_local.alerting.series import Labels
from ticklake_local.alerting.settings import CheckerSettings

log = logs.get(__name__)

ALERTS_PATH = "/api/v2/alerts"
"""Of Alertmanager's API, so that a reader need not know which of the two it asks."""

_ALWAYS = ("platform", "batch", "disks")
"""Components whose alerts need no target of their own."""
_STUCK_SECONDS = 120.0


class RuleChecker:
    """One process that checks the rules."""

    def __init__(self, settings: CheckerSettings, registry: CollectorRegistry = REGISTRY) -> None:
        rules = settings.rules
        self._settings = settings
        self._targets = {name: str(address) for name, address in rules.targets.items()}
        self._checker = Checker(read_rules(rules.dir, {*self._targets, *_ALWAYS}))
        self._active: list[Alert] = []
        self._firing: set[Labels] = set()
        self._heartbeat = Heartbeat(_STUCK_SECONDS)
        self._alerts = Gauge("ticklake_check_rules_firing", "Alerts that fire", ("severity",), registry=registry)
        self._checks = Counter("ticklake_check_rules_checks", "Checks of all rules", registry=registry)

    def run(self, stop: threading.Event) -> None:
        """Check until `stop` is set."""
        health = Health(alive=self._heartbeat.alive)
        with served(health, self._settings.metrics_port, pages={ALERTS_PATH: self._page}) as port:
            log.info("checking alert rules", targets=sorted(self._targets), metrics_port=port)
            while not stop.is_set():
                self._heartbeat.beat()
                began = time.monotonic()
                self._look()
                stop.wait(max(0.0, self._settings.rules.interval_seconds - (time.monotonic() - began)))

    def _look(self) -> None:
        scrape(self._checker.samples, self._targets)
        if self._settings.rules.disk is not None:
            sample_disk(self._checker.samples, self._settings.rules.disk)
        self._active = self._checker.check(time.time())
        self._checks.inc()
        firing = {alert.labels: alert for alert in self._active if alert.firing}
        for labels, alert in firing.items():
            if labels not in self._firing:
                log.warning("alert", state="firing", summary=alert.annotations.get("summary"), **_without_name(labels))
        for labels in self._firing - firing.keys():
            log.info("alert", state="resolved", **_without_name(labels))
        self._firing = set(firing)
        severities = [dict(labels).get("severity", "") for labels in firing]
        for severity in ("critical", "warning"):
            self._alerts.labels(severity).set(severities.count(severity))

    def _page(self) -> bytes:
        return json.dumps([_as_json(alert) for alert in self._active if alert.firing]).encode()


def _without_name(labels: Labels) -> dict[str, str]:
    # `event` and `level` are the log's own.
    return {("alert" if name == "alertname" else name): value for name, value in sorted(labels)}


def _as_json(alert: Alert) -> dict[str, object]:
    """As Alertmanager reports it: it ends when it is reported no more."""
    since = datetime.fromtimestamp(alert.since, UTC).isoformat()
    return {
        "labels": dict(sorted(alert.labels)),
        "annotations": dict(alert.annotations),
        "startsAt": since,
        "updatedAt": datetime.now(UTC).isoformat(),
        "fingerprint": hashlib.sha256(repr(sorted(alert.labels)).encode()).hexdigest()[:16],
        "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
    }


def run(settings: CheckerSettings, stop: threading.Event) -> None:
    """Check the rules of `settings` until `stop` is set."""
    RuleChecker(settings).run(stop)
