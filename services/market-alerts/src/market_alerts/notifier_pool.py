"""The notifiers of one process, one per target that is set up."""

import time

from market_alerts.metrics import Metrics
from market_alerts.notifier import Notifier
from market_alerts.settings import AlertSettings

_LEAVE_SECONDS = 2.0


class NotifierPool:
    """Started, supervised and stopped together."""

    def __init__(self, settings: AlertSettings, metrics: Metrics) -> None:
        """Create them.

        Raises:
            ConfigurationError: a target is set up by half.
        """
        self._notifiers = [Notifier(settings, target, metrics) for target in settings.delivery.targets()]

    @property
    def targets(self) -> list[str]:
        """Where alerts go."""
        return [each.target for each in self._notifiers]

    def start(self) -> None:
        """Start delivering."""
        for each in self._notifiers:
            each.start()

    def set_active(self, active: bool) -> None:
        """Set whether this process is the one that delivers.

        Raises:
            StageError: one has failed.
        """
        for each in self._notifiers:
            if each.failure is not None:
                raise each.failure
            each.active = active

    def request_stop(self) -> None:
        """End after the attempts that are under way."""
        for each in self._notifiers:
            each.request_stop()

    def stop(self) -> None:
        """Stop, and wait a little for the attempts that are under way."""
        self.request_stop()
        deadline = time.monotonic() + _LEAVE_SECONDS
        for each in self._notifiers:
            each.join(max(0.0, deadline - time.monotonic()))
