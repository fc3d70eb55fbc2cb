"""The live services as child processes: started with their settings, watched through their health and metrics."""

import http.client
import os
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ticklake_local.platform import Platform
from ticklake_local.processes import LOOPBACK, UNKNOWN_EXIT, Child, ChildFailed, free_port

STREAM_TICKS = "stream-ticks"
ARCHIVE_TICKS = "archive-ticks"
STREAM_ANALYTICS = "stream-analytics"
MARKET_ALERTS = "market-alerts"
BATCH_EXPORTER = "batch-exporter"
DASHBOARD = "dashboard"
CHECK_RULES = "check-rules"

_PROBE_SECONDS = 2


class Service:
    """One long-running stage of a live flow."""

    def __init__(self, program: str, platform: Platform, namespace: str, **settings: str) -> None:
        """Name the service; `settings` are further variables without their `TICKLAKE_`. Nothing starts yet."""
        self.program = program
        self.port = free_port()
        self.log = platform.folder.log(program)
        self._environment = {
            **os.environ,
            **platform.stage_env(),
            "TICKLAKE_LIVE_NAMESPACE": namespace,
            "TICKLAKE_METRICS_PORT": str(self.port),
            **{f"TICKLAKE_{name}": value for name, value in settings.items()},
        }
        self.child: Child | None = None

    def start(self) -> None:
        """Start the process and return at once."""
        self.child = Child(
            self.program, [Path(sys.executable).with_name(self.program)], self.log, env=self._environment
        )

    def wait_ready(self, timeout: float = 120, check: Callable[[], None] = lambda: None) -> None:
        """Wait until the service says that it is ready.

        Args:
            check: called repeatedly meanwhile; what it raises ends the wait.

        Raises:
            PartError: it ended, or was not ready within `timeout` seconds.
        """
        assert self.child is not None, "start comes first"  # noqa: S101

        def ready() -> bool:
            check()
            return self.ready()

        self.child.wait_ready(ready, timeout)

    def ready(self) -> bool:
        """What the service's readiness probe answers."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/readyz", timeout=_PROBE_SECONDS) as answer:
                return bool(answer.status == http.client.OK)
        except (OSError, http.client.HTTPException):
            return False

    def metric(self, name: str, **labels: str) -> float:
        """The sum of one of the service's metrics over all series with `labels`; 0 without any or without an answer."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=_PROBE_SECONDS) as answer:
                families = text_string_to_metric_families(answer.read().decode())
        except (OSError, http.client.HTTPException):
            return 0
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def ended(self) -> int | None:
        """The exit code, None while the service runs or where it never started."""
        return None if self.child is None else self.child.poll()

    def failure(self) -> ChildFailed:
        """The error that says how the service ended, with the end of its log."""
        code = self.ended()
        tail = "" if self.child is None else self.child.tail()
        return ChildFailed(self.program, UNKNOWN_EXIT if code is None else code, self.log, tail)

    def stop(self, grace_seconds: float = 20) -> int | None:
        """Ask the service to stop and return its exit code; None where it never started."""
        return None if self.child is None else self.child.stop(grace_seconds)
