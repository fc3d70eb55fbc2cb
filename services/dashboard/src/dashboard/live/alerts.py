"""Market alerts from their topic, the newest in memory."""

import threading
from collections import deque
from typing import Any

from pydantic import ValidationError

from ticklake.alerts import Alert

HELD = 500


class AlertState:
    """The newest alerts, each once. One thread adds, any number reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alerts: deque[Alert] = deque(maxlen=HELD)
        self._new: list[Alert] = []

    def add(self, value: bytes) -> bool:
        """Take a message; False for one that is no alert or is there already."""
        try:
            alert = Alert.model_validate_json(value)
        except ValidationError:
            return False
        with self._lock:
            if any(held.alert_id == alert.alert_id for held in self._alerts):
                return False
            self._alerts.append(alert)
            self._new.append(alert)
            del self._new[:-HELD]
        return True

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The newest first."""
        with self._lock:
            found = sorted(self._alerts, key=lambda alert: alert.raised_at, reverse=True)[:limit]
        return [alert.model_dump(mode="json") for alert in found]

    def take_new(self) -> list[dict[str, Any]]:
        """Those that came since the last call, oldest first."""
        with self._lock:
            new, self._new = self._new, []
        return [alert.model_dump(mode="json") for alert in new]
