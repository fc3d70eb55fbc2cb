"""What is wrong with the platform itself, as Alertmanager (or check-rules, which has the same API) reports it."""

import json
import urllib.request
from http.client import HTTPException
from typing import Any

from dashboard.cached_answer import CachedAnswer
from ticklake.errors import StageError

_PATH = "/api/v2/alerts?active=true"
_HELD_SECONDS = 2.0
_TIMEOUT_SECONDS = 3.0


class PlatformAlertsReader:
    """Asks at most every few seconds, however many pages look.

    Args:
        address: of Alertmanager, without the API's path; None where there is none.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address.rstrip("/") if address else None
        self._held = CachedAnswer(_HELD_SECONDS, self._ask)

    @property
    def configured(self) -> bool:
        """Whether there is someone to ask."""
        return self._address is not None

    def read(self) -> list[dict[str, Any]]:
        """One item per alert that fires, worst and newest first, as `models_platform.PlatformAlert` has it.

        Raises:
            StageError: there is no usable answer.
        """
        return self._held.read() if self.configured else []

    def _ask(self) -> list[dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"{self._address}{_PATH}", timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                found = json.load(answer)
        except (OSError, HTTPException, ValueError) as error:
            raise StageError(f"the alerts at {self._address} (TICKLAKE_DASHBOARD_ALERTMANAGER): {error}") from error
        if not isinstance(found, list):
            raise StageError(f"what answers at {self._address} (TICKLAKE_DASHBOARD_ALERTMANAGER) is no Alertmanager")
        items = sorted(map(_item, found), key=lambda item: str(item["since"]), reverse=True)
        return sorted(items, key=lambda item: _rank(item["severity"]))


_WORST_FIRST = ("critical", "warning", "info")


def _rank(severity: str) -> int:
    return _WORST_FIRST.index(severity) if severity in _WORST_FIRST else len(_WORST_FIRST)


def _item(alert: dict[str, Any]) -> dict[str, Any]:
    labels, notes = dict(alert.get("labels") or {}), alert.get("annotations") or {}
    return {
        "name": labels.pop("alertname", ""),
        "severity": labels.pop("severity", ""),
        "state": (alert.get("status") or {}).get("state", "active"),
        "summary": notes.get("summary", ""),
        "description": notes.get("description", ""),
        "runbook": notes.get("runbook_url"),
        "since": alert.get("startsAt"),
        "labels": labels,
    }
