"""The ticks of one symbol from one source, and the state of each rule that watches them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from market_alerts.history import PriceHistory
from market_alerts.rule_state import RAISED, Place, RaisedCondition, RuleState, Transition, raised_in
from market_alerts.rules import Rule


class OrphanedCondition(NamedTuple):
    """A raised condition that its rule can no longer clear."""

    rule: str
    fingerprint: str
    """Of the rule that raised it."""
    raised: RaisedCondition
    reason: str
    """What became of the rule."""


class Series:
    """One symbol's ticks from one source; what it holds is bounded by the rules, not by the ticks."""

    def __init__(self, symbol: str, rules: Sequence[Rule], lateness_ms: int) -> None:
        self.symbol = symbol
        self.newest_place: Place = (0, -1)
        """Of the tick that was added last."""
        self.next_offsets: dict[int, int] = {}
        """By partition: ticks before it are included. There is more than one where producers choose the partition by
        different rules, or where partitions were added."""
        self._all_rules, self._lateness_ms = rules, lateness_ms
        self.rules = [RuleState(rule) for rule in rules if rule.applies_to(symbol)]
        mine = [state.rule for state in self.rules]
        self.history = PriceHistory(
            max((rule.bars_needed for rule in mine), default=1),
            (indicator for rule in mine for indicator in rule.indicators()),
            lateness_ms,
        )

    @property
    def newest_ms(self) -> int:
        """Event time of the newest tick; 0 while there is none."""
        return self.history.newest_ms or 0

    def take_place(self, partition: int, offset: int) -> None:
        """Note where the tick that is added next lies."""
        self.newest_place, self.next_offsets[partition] = (partition, offset), offset + 1

    def add(self, event_ms: int, price: float, volume: int, *, silent: bool = False) -> Sequence[Transition] | None:
        """Add a tick and return what it changes; None where it is too late and left out.

        A tick older than the newest one, within the bound, counts in bars and windows, but changes no state.
        """
        newest = self.history.add(event_ms, price, volume)
        if not newest:
            return None if newest is None else ()
        transitions: list[Transition] = []
        for state in self.rules:
            if found := state.evaluate(self.history, event_ms, self.newest_place, silent=silent):
                transitions += found
        return transitions

    def dump(self) -> dict[str, Any]:
        """The whole state as JSON has it."""
        rules = {state.rule.name: state.dump() for state in self.rules}
        offsets = {"newest_place": self.newest_place, "next_offsets": self.next_offsets}
        return self.history.dump() | offsets | {"rules": rules}

    def restore(self, dumped: dict[str, Any]) -> list[OrphanedCondition]:
        """Continue from what `dump` gave; a rule that is new since then starts from the bars that are there.

        Returns:
            what was raised by rules that are gone, or measure something else by now.
        """
        partition, offset = dumped["newest_place"]
        self.newest_place = partition, offset
        self.next_offsets = {int(number): after for number, after in dumped["next_offsets"].items()}
        self.history.restore(dumped)
        if self.history.newest_ms is None:
            return []
        states, orphaned = {state.rule.name: state for state in self.rules}, list[OrphanedCondition]()
        for name, known in dumped["rules"].items():
            if name in states and states[name].restore(known):
                del states[name]
                continue
            reason = self.reason_gone(name)
            orphaned += [OrphanedCondition(name, known["fingerprint"], each, reason) for each in raised_in(known)]
        for state in states.values():  # the new ones: on which side of a crossing the newest price is
            state.evaluate(self.history, self.newest_ms, self.newest_place, silent=True)
        return orphaned

    def with_rules(self, rules: Sequence[Rule]) -> "tuple[Series, list[OrphanedCondition]]":
        """The same series under other rules, and what was raised that those do not continue."""
        other = Series(self.symbol, rules, self._lateness_ms)
        return other, other.restore(self.dump())

    def reset(self, was_withdrawn: Callable[[OrphanedCondition], bool]) -> bool:
        """Take the raised conditions for ended of which that is true; whether there were any."""
        found = False
        for state in self.rules:
            for each in state.raised:
                if each and was_withdrawn(OrphanedCondition(state.rule.name, state.rule.fingerprint, each, "")):
                    state.reset(each.condition)
                    found = True
        return found

    def is_active(self, rule: str, threshold: float) -> bool:
        """Whether an alert of the rule is active at this threshold."""
        return any(
            status == RAISED and condition.threshold == threshold
            for state in self.rules
            if state.rule.name == rule
            for status, condition in zip(state.states, state.conditions, strict=True)
        )

    def reason_gone(self, name: str) -> str:
        """What became of the rule called `name`, which this series does not have as it was."""
        for rule in self._all_rules:
            if rule.name == name:
                return "was changed" if rule.applies_to(self.symbol) else f"no longer watches {self.symbol}"
        return "was removed"
