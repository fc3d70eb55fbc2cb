"""The rules in force, and their reload when the rules file changes while the service runs."""

from collections.abc import Sequence

from market_alerts.metrics import Metrics
from market_alerts.rules import Rule
from market_alerts.rules_file import parse_file, read_file
from market_alerts.settings import AlertSettings
from ticklake import logs
from ticklake.errors import ConfigurationError

log = logs.get(__name__)


class RulesReloader:
    """The rules in force, and those that are to replace them.

    The file is compared by content: it may be a link that is replaced, as in a volume of Kubernetes.
    """

    def __init__(self, settings: AlertSettings, metrics: Metrics) -> None:
        """Read the file.

        Raises:
            ConfigurationError: it cannot be read, a rule is wrong, or names a target that is not set up.
        """
        self._settings, self._metrics, self._path = settings, metrics, settings.alerts.rules_file
        content = read_file(self._path)
        self.rules: tuple[Rule, ...] = self._parse(content)
        self._last_read: bytes | str = content
        self._last_checked: bytes | str = content
        self.pending: tuple[Rule, ...] | None = None
        """The rules in the file, if they are valid and not in force."""
        metrics.rules_ok.set(1)
        for result in ("applied", "rejected"):
            metrics.rules_reloads.labels(result)

    def poll(self) -> None:
        """Read the file once more; content that two polls in a row find is checked, and none twice in a row.

        A file that is being written can be valid half-way, with half of its rules: that must not clear the others.
        """
        found = self._read()
        if found != self._last_read:
            self._last_read = found
        elif found != self._last_checked:
            self._last_checked = found
            self._check(found)

    def _read(self) -> bytes | str:
        """The content, or the error of a file that cannot be read."""
        try:
            return read_file(self._path)
        except ConfigurationError as error:
            return str(error)

    def _check(self, found: bytes | str) -> None:
        self.pending = None
        try:
            rules = self._parse(found)
        except ConfigurationError as error:
            self._metrics.rules_ok.set(0)
            self._metrics.rules_reloads.labels("rejected").inc()
            log.warning("rules file rejected, the rules in force are kept", error=str(error))
            return
        if rules != self.rules:
            self.pending = rules
        else:
            self._metrics.rules_ok.set(1)
            log.info("rules file has the rules in force", rules=len(rules))

    def _parse(self, found: bytes | str) -> tuple[Rule, ...]:
        if isinstance(found, str):
            raise ConfigurationError(found)
        rules = parse_file(found, self._path)
        self._settings.check_targets(rules)
        return rules

    def apply(self) -> None:
        """Put the pending rules in force."""
        if self.pending is None:
            return
        before, self.rules, self.pending = self.rules, self.pending, None
        self._metrics.rules_ok.set(1)
        self._metrics.rules_reloads.labels("applied").inc()
        log.info("rules changed", **differences(before, self.rules))


def differences(before: Sequence[Rule], after: Sequence[Rule]) -> dict[str, list[str]]:
    """Names of the rules that were added, removed and changed."""
    old, new = {rule.name: rule for rule in before}, {rule.name: rule for rule in after}
    return {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and new[name] != old[name]],
    }
