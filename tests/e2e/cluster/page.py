"""The dashboard as a reader of its page and its API sees it."""

import json
from datetime import UTC, datetime

import httpx
from tests.e2e.cluster.checks import EXPECTED, same
from tests.e2e.cluster.tools import Api, TrialFailed, until

_FRESH_SECONDS = 10.0
"""Ticks come every two seconds; the clocks of pods and of this machine are those of one cluster."""


class Page:
    """The dashboard at `address`."""

    def __init__(self, address: str) -> None:
        self._api = Api("the dashboard", address)

    def check_page(self) -> None:
        """The page itself, and that nothing foreign may be in it."""
        answer = self._api.http.get("/")
        same("the page", (answer.status_code, "<title>" in answer.text), (200, True))
        policy = answer.headers.get("content-security-policy", "")
        same("the page's default source", "default-src 'none'" in policy or "default-src 'self'" in policy, True)

    def check_batch(self, run_id: str) -> None:
        """Every row of the batch as bars, and its run as reconciled."""
        symbols = until("symbols on the page", 60, lambda: self._sessions() or None)
        same("sessions by symbol", {name: symbols.get(name) for name in EXPECTED}, EXPECTED)
        name, rows = next(iter(EXPECTED.items()))
        same(f"bars of {name}", len(self._api.get(f"symbols/{name}/bars", limit=1000)["items"]), rows)
        run = self._api.get(f"runs/{run_id}")
        same("the run on the page", (run["state"], run["reconciled"]), ("succeeded", True))

    def _sessions(self) -> dict[str, int]:
        items = self._api.get("symbols")["items"]
        return {each["symbol"]: each["sessions"] for each in items if each["sessions"]}

    def healthy(self) -> bool:
        """Whether the page reaches the store and the broker."""
        try:
            state = self._api.get("status")
        except (TrialFailed, httpx.TransportError):
            return False
        return bool(state["store"]["state"] == "ok" and state["broker"]["state"] == "ok" and self._sessions())

    def check_live(self) -> float:
        """Prices come over the event stream; returns the least delay met, broker to here, in seconds."""
        state = self._api.get("status")
        same("store and broker", (state["store"]["state"], state["broker"]["state"]), ("ok", "ok"))
        delays: list[float] = []
        with self._api.http.stream("GET", "/api/v1/stream", timeout=60) as answer:
            event = ""
            for line in answer.iter_lines():
                if line.startswith("event:"):
                    event = line.removeprefix("event:").strip()
                elif line.startswith("data:") and event == "quotes":
                    items = json.loads(line.removeprefix("data:"))["items"]
                    newest = max(datetime.fromisoformat(each["arrived_at"]) for each in items)
                    delays.append((datetime.now(UTC) - newest).total_seconds())
                    if len(delays) == 5:
                        break
        if len(delays) < 5 or min(delays) > _FRESH_SECONDS:
            raise TrialFailed(f"the page's stream is not live: delays of {delays} s")
        return min(delays)

    def check_alert_rules(self) -> int:
        """The rules in force of market-alerts; returns how many."""
        found = until("rules of market-alerts", 120, lambda: self._api.get("alerts/rules")["items"] or None)
        return len(found)

    def platform_alerts(self) -> set[str]:
        """Names of what fires, as the page shows it."""
        return {each["name"] for each in self._api.get("platform-alerts")["items"]}
