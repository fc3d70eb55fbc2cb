"""The state of one rule in one series of ticks: which of its conditions are raised, and since which tick."""

import math
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from market_alerts.history import PriceHistory
from market_alerts.rules import Condition, Rule, Target
from ticklake.alerts import Severity

UNARMED, ARMED, RAISED = 0, 1, 2
"""States of a condition: a crossing is unarmed until the value was seen behind the threshold."""

Place = tuple[int, int]
"""Partition and offset of a tick."""
_UNKNOWN_PLACE = -1, -1


class Transition(NamedTuple):
    """A tick raised or cleared a rule's alert, or would have raised it but for the cooldown."""

    rule: Rule
    condition: Condition
    value: float
    event_ms: int
    state: Literal["raised", "cleared", "suppressed"]


class RaisedCondition(BaseModel):
    """How a condition was raised: enough to clear it when its rule is gone. Saved for as long as it is raised."""

    model_config = ConfigDict(frozen=True)

    condition: str
    place: Place
    value: float
    threshold: float
    kind: str
    severity: Severity
    targets: tuple[Target, ...] | None
    notify_cleared: bool

    @classmethod
    def of(cls, rule: Rule, condition: Condition, place: Place, value: float) -> "RaisedCondition":
        """Of `condition` as `rule` has it now."""
        return cls(
            condition=condition.name,
            place=place,
            value=value,
            threshold=condition.threshold,
            kind=rule.kind,
            severity=rule.severity,
            targets=rule.targets,
            notify_cleared=rule.notify_cleared,
        )


class RuleState:
    """One rule's state in one series."""

    __slots__ = ("conditions", "cooldown_ms", "last_raised_ms", "raised", "rule", "states", "suppressed")

    def __init__(self, rule: Rule) -> None:
        self.rule, self.conditions, self.cooldown_ms = rule, rule.conditions(), rule.cooldown * 1000
        self.states = [UNARMED if each.crossing else ARMED for each in self.conditions]
        self.suppressed = [False] * len(self.states)
        self.raised: list[RaisedCondition | None] = [None] * len(self.states)
        """Of each condition that is raised."""
        self.last_raised_ms: int | None = None

    def evaluate(self, history: PriceHistory, event_ms: int, tick: Place, *, silent: bool) -> list[Transition]:
        """What the newest tick changes; `silent`, for ticks from before the start, only notes sides."""
        value = self.rule.measure(history)
        if value is None or not math.isfinite(value):
            return []
        transitions: list[Transition] = []
        states = self.states
        for place, condition in enumerate(self.conditions):
            holds = condition.holds(value)
            if holds is None or (holds and states[place] != ARMED):
                continue
            if not holds:
                if states[place] == RAISED:
                    # Before what the other condition raises, so that the rule's last message is the newest state.
                    transitions.insert(0, Transition(self.rule, condition, value, event_ms, "cleared"))
                    self.raised[place] = None
                states[place] = ARMED
                self.suppressed[place] = False
            elif silent:
                states[place] = UNARMED if condition.crossing else ARMED
            else:
                transitions += self._raise(place, value, event_ms, tick)
        return transitions

    def _raise(self, place: int, value: float, event_ms: int, tick: Place) -> list[Transition]:
        last, condition = self.last_raised_ms, self.conditions[place]
        if last is not None and event_ms - last < self.cooldown_ms:
            if self.suppressed[place]:
                return []
            self.suppressed[place] = True
            return [Transition(self.rule, condition, value, event_ms, "suppressed")]
        self.states[place], self.suppressed[place], self.last_raised_ms = RAISED, False, event_ms
        self.raised[place] = RaisedCondition.of(self.rule, condition, tick, value)
        return [Transition(self.rule, condition, value, event_ms, "raised")]

    def reset(self, condition: str) -> None:
        """Take a raised condition for ended, though it may still hold."""
        for place, each in enumerate(self.conditions):
            if each.name == condition:
                self.states[place], self.raised[place] = UNARMED if each.crossing else ARMED, None

    def dump(self) -> dict[str, Any]:
        """The state as JSON has it."""
        return {
            "fingerprint": self.rule.fingerprint,
            "last_raised_ms": self.last_raised_ms,
            "states": self.states,
            "suppressed": self.suppressed,
            "raises": [each.model_dump(mode="json") for each in self.raised if each],
        }

    def restore(self, dumped: dict[str, Any]) -> bool:
        """Continue from what `dump` gave; False where the rule measures something else by now."""
        if dumped["fingerprint"] != self.rule.fingerprint:
            return False
        self.last_raised_ms = dumped["last_raised_ms"]
        self.states, self.suppressed = list(dumped["states"]), list(dumped["suppressed"])
        known = {each.condition: each for each in raised_in(dumped)}
        for place, condition in enumerate(self.conditions):
            if self.states[place] == RAISED:
                # States of earlier versions do not have how it was raised.
                self.raised[place] = known.get(condition.name) or RaisedCondition.of(
                    self.rule, condition, _UNKNOWN_PLACE, condition.threshold
                )
        return True


def raised_in(dumped: dict[str, Any]) -> list[RaisedCondition]:
    """What is raised in a rule's state as `dump` gave it."""
    return [RaisedCondition.model_validate(each) for each in dumped.get("raises", ())]
