"""The state of one rule in one series of ticks: which of its conditions stand raised, and since which tick."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from market_alerts.conditions import Condition, conditions_of
from market_alerts.rules import Rule, Target
from ticklake.alerts import Severity

if TYPE_CHECKING:
    from market_alerts.series import Series

UNARMED, ARMED, RAISED = 0, 1, 2
"""States of a condition: a crossing is unarmed until the value was seen behind the threshold."""

_UNKNOWN_OFFSET = -1


class Change(NamedTuple):
    """A rule's alert was raised or cleared by a tick, or a raise was held back by the quiet time."""

    rule: Rule
    condition: Condition
    value: float
    event_ms: int
    state: str
    """`raised`, `cleared` or `suppressed`."""


class Raise(BaseModel):
    """How a condition was raised: enough to tell of its end when the rule is gone. Saved for as long as it stands."""

    model_config = ConfigDict(frozen=True)

    condition: str
    offset: int
    """Of the tick in its partition."""
    value: float
    threshold: float
    kind: str
    severity: Severity
    targets: tuple[Target, ...] | None
    notify_cleared: bool

    @classmethod
    def of(cls, rule: Rule, condition: Condition, offset: int, value: float) -> "Raise":
        """Of `condition` as `rule` has it now."""
        return cls(
            condition=condition.name, offset=offset, value=value, threshold=condition.threshold, kind=rule.kind,
            severity=rule.severity, targets=rule.targets, notify_cleared=rule.notify_cleared,
        )  # fmt: skip


class RuleState:
    """One rule's state in one series."""

    __slots__ = ("conditions", "last_raised_ms", "quiet_ms", "raises", "rule", "states", "suppressed")

    def __init__(self, rule: Rule) -> None:
        self.rule, self.conditions, self.quiet_ms = rule, conditions_of(rule), rule.quiet * 1000
        self.states = [UNARMED if each.crossing else ARMED for each in self.conditions]
        self.suppressed = [False] * len(self.states)
        self.raises: list[Raise | None] = [None] * len(self.states)
        """Of each condition that stands raised."""
        self.last_raised_ms: int | None = None

    def evaluate(self, series: "Series", event_ms: int, *, silent: bool) -> list[Change]:
        """What the newest tick changes; `silent` takes note of sides only, for ticks from before the start."""
        # The conditions of one rule share their measure.
        value = self.conditions[0].measure(series)
        if value is None or not math.isfinite(value):
            return []
        changes: list[Change] = []
        states = self.states
        for place, condition in enumerate(self.conditions):
            holds = condition.holds(value)
            if holds is None or (holds and states[place] != ARMED):
                continue
            if not holds:
                if states[place] == RAISED:
                    # Before what the other condition raises, so that a reader's last word on the rule is the newest.
                    changes.insert(0, Change(self.rule, condition, value, event_ms, "cleared"))
                    self.raises[place] = None
                states[place] = ARMED
                self.suppressed[place] = False
            elif silent:
                states[place] = UNARMED if condition.crossing else ARMED
            else:
                changes += self._raise(place, value, event_ms, series.next_offset - 1)
        return changes

    def _raise(self, place: int, value: float, event_ms: int, offset: int) -> list[Change]:
        last, condition = self.last_raised_ms, self.conditions[place]
        if last is not None and event_ms - last < self.quiet_ms:
            if self.suppressed[place]:
                return []
            self.suppressed[place] = True
            return [Change(self.rule, condition, value, event_ms, "suppressed")]
        self.states[place], self.suppressed[place], self.last_raised_ms = RAISED, False, event_ms
        self.raises[place] = Raise.of(self.rule, condition, offset, value)
        return [Change(self.rule, condition, value, event_ms, "raised")]

    def forget(self, condition: str) -> None:
        """Take a raise for ended, though the condition may hold still."""
        for place, each in enumerate(self.conditions):
            if each.name == condition:
                self.states[place], self.raises[place] = UNARMED if each.crossing else ARMED, None

    def dump(self) -> dict[str, Any]:
        """The state as JSON has it."""
        return {
            "fingerprint": self.rule.fingerprint, "last_raised_ms": self.last_raised_ms, "states": self.states,
            "suppressed": self.suppressed, "raises": [each.model_dump(mode="json") for each in self.raises if each],
        }  # fmt: skip

    def restore(self, dumped: dict[str, Any]) -> bool:
        """Take over what `dump` gave; False where the rule measures something else by now."""
        if dumped["fingerprint"] != self.rule.fingerprint:
            return False
        self.last_raised_ms = dumped["last_raised_ms"]
        self.states, self.suppressed = list(dumped["states"]), list(dumped["suppressed"])
        known = {each.condition: each for each in raises_of(dumped)}
        for place, condition in enumerate(self.conditions):
            if self.states[place] == RAISED:
                # States of earlier versions do not say how it was raised.
                self.raises[place] = known.get(condition.name) or Raise.of(
                    self.rule, condition, _UNKNOWN_OFFSET, condition.threshold
                )
        return True


def raises_of(dumped: dict[str, Any]) -> list[Raise]:
    """What stands raised in a rule's state as `dump` gave it."""
    return [Raise.model_validate(each) for each in dumped.get("raises", ())]
