"""The alert rules in force, as market-alerts publishes them."""

from typing import Any

from dashboard.cached_answer import CachedAnswer
from ticklake.alerts import read_rules
from ticklake.errors import ConfigurationError
from ticklake.settings import KafkaSettings
from ticklake.topics import LiveNames

_HELD_SECONDS = 30.0
_TIMEOUT_SECONDS = 10.0


class RulesReader:
    """Asks the broker at most twice a minute, however many pages look."""

    def __init__(self, kafka: KafkaSettings, live: LiveNames) -> None:
        self._kafka = kafka.model_copy(update={"timeout_seconds": min(kafka.timeout_seconds, _TIMEOUT_SECONDS)})
        self._live = live
        self._held = CachedAnswer(_HELD_SECONDS, self._ask)

    def read(self) -> list[dict[str, Any]]:
        """The rules; none before market-alerts has run.

        Raises:
            StageError: the broker does not answer.
        """
        return self._held.read()

    def _ask(self) -> list[dict[str, Any]]:
        try:
            return read_rules(self._kafka, self._live)
        except ConfigurationError:
            return []  # no such topic: market-alerts is not part of this flow
