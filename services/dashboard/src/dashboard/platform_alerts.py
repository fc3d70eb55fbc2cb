"""What is wrong with the platform itself, as Alertmanager (or check-rules, which speaks like it) tells it."""

import json
import threading
import time
import urllib.request
from http.client import HTTPException
from typing import Any

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
        self._lock = threading.Lock()
        self._found: tuple[float, list[dict[str, Any]]] = (-_HELD_SECONDS, [])

    @property
    def configured(self) -> bool:
        """Whether there is someone to ask."""
        return self._address is not None

    def read(self) -> list[dict[str, Any]]:
        """One item per alert that fires, worst and newest first, as `models_platform.PlatformAlert` has it.

        Raises:
            StageError: there is no usable answer.
        """
        if self._address is None:
            return []
        with self._lock:
            at, items = self._found
            if time.monotonic() - at >= _HELD_SECONDS:
                items = sorted(map(_item, self._ask()), key=lambda item: str(item["since"]), reverse=True)
                items.sort(key=lambda item: _rank(item["severity"]))
                self._found = (time.monotonic(), items)
            return items

    def _ask(self) -> list[dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"{self._address}{_PATH}", timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                found = json.load(answer)
        except (OSError, HTTPException, ValueError) as error:
            raise StageError(f"the alerts at {self._address} (TICKLAKE_DASHBOARD_ALERTMANAGER): {error}") from error
        if not isinstance(found, list):
            raise StageError(f"what answers at {self._address} (TICKLAKE_DASHBOARD_ALERTMANAGER) is no Alertmanager")
        return found


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
