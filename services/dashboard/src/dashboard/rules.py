"""The alert rules in force, as market-alerts publishes them."""

import threading
import time
from typing import Any

from ticklake.alerts import read_rules
from ticklake.errors import ConfigurationError
from ticklake.names import LiveNames
from ticklake.settings import KafkaSettings

_HELD_SECONDS = 30.0
_TIMEOUT_SECONDS = 10.0


class RulesReader:
    """Asks the broker at most twice a minute, however many pages look."""

    def __init__(self, kafka: KafkaSettings, live: LiveNames) -> None:
        self._kafka = kafka.model_copy(update={"timeout_seconds": min(kafka.timeout_seconds, _TIMEOUT_SECONDS)})
        self._live = live
        self._lock = threading.Lock()
        self._found: tuple[float, list[dict[str, Any]]] = (-_HELD_SECONDS, [])

    def read(self) -> list[dict[str, Any]]:
        """The rules; none before market-alerts has run.

        Raises:
            StageError: the broker does not answer.
        """
        with self._lock:
            at, rules = self._found
            if time.monotonic() - at >= _HELD_SECONDS:
                try:
                    rules = read_rules(self._kafka, self._live)
                except ConfigurationError:
                    rules = []  # no such topic: market-alerts is not part of this flow
                self._found = (time.monotonic(), rules)
            return rules
