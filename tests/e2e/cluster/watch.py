"""The platform as Prometheus sees it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.cluster.checks import same
from tests.e2e.cluster.tools import Api, TrialFailed, until

SERVICES = {
    "ticklake-stream-ticks",
    "ticklake-archive-ticks",
    "ticklake-stream-analytics",
    "ticklake-market-alerts",
    "ticklake-batch-exporter",
    "ticklake-dashboard",
    "spark-stream-analytics",
}
OPERATED = {"kafka": "ticklake-kafka", "store": "ticklake-store"}
"""Jobs of the parts that export metrics where an operator runs them."""


class Prometheus:
    """Prometheus at `address`."""

    def __init__(self, address: str) -> None:
        self._api = Api("Prometheus", address)

    def _ask(self, path: str, **params: str) -> Any:
        return self._api.get(path, **params)["data"]

    def _targets(self) -> list[tuple[str, str, str]]:
        """Job, health and last error of each."""
        found = self._ask("targets", state="active")["activeTargets"]
        return sorted((each["labels"]["job"], each["health"], each["lastError"]) for each in found)

    def wait_for_targets(self, jobs: set[str], seconds: float = 240) -> None:
        """Wait until there are targets of all `jobs` and every one answers."""

        def up() -> bool:
            found = self._targets()
            # A batch's driver comes and goes.
            return {job for job, *_ in found} - {"spark-daily-analytics"} == jobs and all(
                health == "up" for job, health, _ in found if job in jobs
            )

        try:
            until("targets", seconds, up, pause=2)
        except TrialFailed as failure:
            raise TrialFailed(f"{failure}; wanted {sorted(jobs)}, there are {self._targets()}") from None

    def check_rules(self, names: set[str]) -> None:
        """All rules were taken and can be evaluated."""
        groups = until("rules", 120, lambda: self._ask("rules")["groups"])
        rules = [rule for group in groups for rule in group["rules"]]
        until(
            "rules evaluated",
            60,
            lambda: all(r["health"] == "ok" for g in self._ask("rules")["groups"] for r in g["rules"]),
        )
        same("alerts", {rule["name"] for rule in rules if rule["type"] == "alerting"}, names)

    def firing(self) -> set[tuple[str, str]]:
        """Name and component of what fires."""
        alerts = self._ask("alerts")["alerts"]
        return {
            (each["labels"]["alertname"], each["labels"].get("component", ""))
            for each in alerts
            if each["state"] == "firing"
        }

    def empty_panels(self, folder: Path, namespace: str) -> list[str]:
        """Ask what the Grafana dashboards in `folder` ask; returns the panels whose query has no answer."""
        empty = []
        for path in sorted(folder.glob("*.json")):
            for title, query in _queries(json.loads(path.read_text())["panels"]):
                asked = query.replace("$namespace", namespace).replace("$__rate_interval", "1m")
                if not self._ask("query", query=asked)["result"]:
                    empty.append(f"{path.stem}: {title}: {query}")
        return empty


def _queries(panels: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for panel in panels:
        yield from _queries(panel.get("panels", []))
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
