"""The rules in force, and the file that they come from, which may change while the service runs."""

from collections.abc import Sequence

from market_alerts.metrics import Metrics
from market_alerts.rules import Rule, read_file, rules_in
from market_alerts.settings import AlertSettings
from ticklake import logs
from ticklake.errors import ConfigurationError

log = logs.get(__name__)


class Rulebook:
    """The rules in force, and those that are to follow them.

    The file is compared by content: it may be a link that is set anew, as in a volume of Kubernetes.
    """

    def __init__(self, settings: AlertSettings, metrics: Metrics) -> None:
        """Read the file.

        Raises:
            ConfigurationError: it cannot be read, a rule is wrong, or names a target that is not set up.
        """
        self._settings, self._metrics, self._path = settings, metrics, settings.alerts.rules_file
        content = read_file(self._path)
        self.rules: tuple[Rule, ...] = self._valid(content)
        self._seen: bytes | str = content
        self._judged: bytes | str = content
        self.next: tuple[Rule, ...] | None = None
        """What the file has by now, if that is valid and not in force."""
        metrics.rules_ok.set(1)
        for result in ("taken", "refused"):
            metrics.rules_reloads.labels(result)

    def look(self) -> None:
        """Look at the file once more; what two looks in a row find is judged, and nothing twice in a row.

        A file that is being written can be valid half-way, with half of its rules: that must not clear the others.
        """
        found = self._read()
        if found != self._seen:
            self._seen = found
        elif found != self._judged:
            self._judged = found
            self._judge(found)

    def _read(self) -> bytes | str:
        """The content, or what there is to say of a file that cannot be read."""
        try:
            return read_file(self._path)
        except ConfigurationError as error:
            return str(error)

    def _judge(self, found: bytes | str) -> None:
        self.next = None
        try:
            rules = self._valid(found)
        except ConfigurationError as error:
            self._metrics.rules_ok.set(0)
            self._metrics.rules_reloads.labels("refused").inc()
            log.warning("rules file refused, the rules in force stay", error=str(error))
            return
        if rules != self.rules:
            self.next = rules
        else:
            self._metrics.rules_ok.set(1)
            log.info("rules file has the rules in force", rules=len(rules))

    def _valid(self, found: bytes | str) -> tuple[Rule, ...]:
        if isinstance(found, str):
            raise ConfigurationError(found)
        rules = rules_in(found, self._path)
        self._settings.check_targets(rules)
        return rules

    def turn(self) -> None:
        """Put the next rules in force."""
        if self.next is None:
            return
        before, self.rules, self.next = self.rules, self.next, None
        self._metrics.rules_ok.set(1)
        self._metrics.rules_reloads.labels("taken").inc()
        log.info("rules changed", **differences(before, self.rules))


def differences(before: Sequence[Rule], after: Sequence[Rule]) -> dict[str, list[str]]:
    """Names of the rules that were added, removed and changed."""
    old, new = {rule.name: rule for rule in before}, {rule.name: rule for rule in after}
    return {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and new[name] != old[name]],
    }
