"""The deliveries of one process, one per target that is set up."""

import time

from market_alerts.delivery import Delivery
from market_alerts.metrics import Metrics
from market_alerts.settings import AlertSettings

_LEAVE_SECONDS = 2.0


class Deliveries:
    """Started, watched and stopped together."""

    def __init__(self, settings: AlertSettings, metrics: Metrics) -> None:
        """Prepare each.

        Raises:
            ConfigurationError: a target is set up by half.
        """
        self._all = [Delivery(settings, target, metrics) for target in settings.delivery.targets()]

    @property
    def targets(self) -> list[str]:
        """Where alerts go."""
        return [each.target for each in self._all]

    def start(self) -> None:
        """Begin to deliver."""
        for each in self._all:
            each.start()

    def watch(self, *, active: bool) -> None:
        """Say whether this process is the one that delivers.

        Raises:
            StageError: one has ended though nobody asked it to.
        """
        for each in self._all:
            if each.failure is not None:
                raise each.failure
            each.active = active

    def ask_to_stop(self) -> None:
        """End after the attempts that are under way."""
        for each in self._all:
            each.ask_to_stop()

    def end(self) -> None:
        """Stop, and wait a little for the attempts that are under way."""
        self.ask_to_stop()
        deadline = time.monotonic() + _LEAVE_SECONDS
        for each in self._all:
            each.join(max(0.0, deadline - time.monotonic()))
