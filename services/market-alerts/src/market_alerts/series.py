"""The ticks of one symbol from one source, as far as the rules need them, and the state of each rule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from market_alerts.bars import Bars, Samples
from market_alerts.conditions import Condition, conditions_of
from market_alerts.indicators import Ema, RsiState, ema_step, rsi_step
from market_alerts.rules import ChangePercent, MaCross, Rsi, Rule, Volatility, VolumeSpike

UNARMED, ARMED, RAISED = 0, 1, 2
"""States of a condition: a crossing is unarmed until the value was seen behind the threshold."""


@dataclass(frozen=True)
class Change:
    """A rule's alert was raised or cleared by a tick, or a raise was held back by the quiet time."""

    rule: Rule
    condition: Condition
    value: float
    event_ms: int
    state: str
    """`raised`, `cleared` or `suppressed`."""


class RuleState:
    """One rule's state in one series."""

    __slots__ = ("conditions", "last_raised_ms", "quiet_ms", "rule", "states", "suppressed")

    def __init__(self, rule: Rule) -> None:
        self.rule, self.conditions, self.quiet_ms = rule, conditions_of(rule), rule.quiet * 1000
        self.states = [UNARMED if each.crossing else ARMED for each in self.conditions]
        self.suppressed = [False] * len(self.states)
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
                states[place] = ARMED
                self.suppressed[place] = False
            elif silent:
                states[place] = UNARMED if condition.crossing else ARMED
            else:
                changes += self._raise(place, condition, value, event_ms)
        return changes

    def _raise(self, place: int, condition: Condition, value: float, event_ms: int) -> list[Change]:
        last = self.last_raised_ms
        if last is not None and event_ms - last < self.quiet_ms:
            if self.suppressed[place]:
                return []
            self.suppressed[place] = True
            return [Change(self.rule, condition, value, event_ms, "suppressed")]
        self.states[place], self.suppressed[place], self.last_raised_ms = RAISED, False, event_ms
        return [Change(self.rule, condition, value, event_ms, "raised")]

    def dump(self) -> dict[str, Any]:
        """The state as JSON has it."""
        return {
            "fingerprint": self.rule.fingerprint, "last_raised_ms": self.last_raised_ms, "states": self.states,
            "suppressed": self.suppressed,
        }  # fmt: skip

    def restore(self, dumped: dict[str, Any]) -> None:
        """Take over what `dump` gave, unless the rule measures something else by now."""
        if dumped["fingerprint"] == self.rule.fingerprint:
            self.last_raised_ms = dumped["last_raised_ms"]
            self.states, self.suppressed = list(dumped["states"]), list(dumped["suppressed"])


class Series:
    """One symbol's ticks from one source; what it holds is bounded by the rules, not by the ticks."""

    def __init__(self, symbol: str, rules: Sequence[Rule], lateness_ms: int) -> None:
        self.symbol = symbol
        self.newest_ms: int | None = None
        self.price = math.nan
        self.next_offset = 0
        """Of the partition: ticks before it are in here already."""
        self._lateness_ms = lateness_ms
        self._rules = [RuleState(rule) for rule in rules if rule.applies_to(symbol)]
        mine = [state.rule for state in self._rules]
        self.bars = Bars(_bars_needed(mine), lateness_ms, self._sealed)
        self.samples = {
            window: Samples(window) for window in {r.window * 1000 for r in mine if isinstance(r, ChangePercent)}
        }
        self.rsi = {rule.period: RsiState() for rule in mine if isinstance(rule, Rsi)}
        crosses = [rule for rule in mine if isinstance(rule, MaCross) and rule.average == "ema"]
        self.ema = {period: Ema() for rule in crosses for period in (rule.short, rule.long)}

    def add(self, event_ms: int, price: float, volume: int, *, silent: bool = False) -> Sequence[Change] | None:
        """Take a tick and say what it changes; None where it came too late to be taken.

        A tick older than the newest one, within the bound, counts in bars and windows, but says nothing of now.
        """
        newest = self.newest_ms
        if newest is None or event_ms >= newest:
            self.newest_ms = newest = event_ms
            in_order = True
        elif event_ms < newest - self._lateness_ms:
            return None
        else:
            in_order = False
        self.bars.add(event_ms, price, volume, newest)
        for samples in self.samples.values():
            samples.add(event_ms, price, newest)
        if not in_order:
            return ()
        self.price = price
        changes: list[Change] = []
        for state in self._rules:
            if found := state.evaluate(self, event_ms, silent=silent):
                changes += found
        return changes

    def change_percent(self, window_ms: int) -> float:
        """Percent by which the price differs from the first one in the window: 100 x (price / first - 1)."""
        return 100 * (self.price / self.samples[window_ms].first() - 1)

    def _sealed(self, close: float) -> None:
        for period, state in self.rsi.items():
            self.rsi[period] = rsi_step(state, close, period)
        for period, average in self.ema.items():
            self.ema[period] = ema_step(average, close, period)

    def dump(self) -> dict[str, Any]:
        """The whole state as JSON has it."""
        return {
            "newest_ms": self.newest_ms, "price": self.price, "next_offset": self.next_offset,
            "bars": self.bars.dump(),
            "samples": {str(window): samples.dump() for window, samples in self.samples.items()},
            "rsi": {str(period): state for period, state in self.rsi.items()},
            "ema": {str(period): state for period, state in self.ema.items()},
            "rules": {state.rule.name: state.dump() for state in self._rules},
        }  # fmt: skip

    def restore(self, dumped: dict[str, Any]) -> None:
        """Take over what `dump` gave; what a rule needs that is new since then is made of the bars at hand."""
        self.newest_ms, self.price, self.next_offset = dumped["newest_ms"], dumped["price"], dumped["next_offset"]
        self.bars.restore(dumped["bars"])
        closes = dumped["bars"]["closes"]
        for period in self.rsi:
            known = dumped["rsi"].get(str(period))
            self.rsi[period] = RsiState(*known) if known else _replayed(RsiState(), rsi_step, closes, period)
        for period in self.ema:
            known = dumped["ema"].get(str(period))
            self.ema[period] = Ema(*known) if known else _replayed(Ema(), ema_step, closes, period)
        for window, samples in self.samples.items():
            samples.restore(dumped["samples"].get(str(window), [[self.newest_ms, self.price]]))
        for state in self._rules:
            if state.rule.name in dumped["rules"]:
                state.restore(dumped["rules"][state.rule.name])


def _replayed(state: Any, step: Any, closes: Sequence[float], period: int) -> Any:
    for close in closes:
        state = step(state, close, period)
    return state


def _bars_needed(rules: Sequence[Rule]) -> int:
    """Sealed bars to hold for these rules."""
    needed = 1
    for rule in rules:
        match rule:
            case Volatility():
                needed = max(needed, rule.window // 60 + 1)
            case VolumeSpike():
                needed = max(needed, rule.bars + 1)
            case MaCross():
                needed = max(needed, rule.long)
            case Rsi():
                needed = max(needed, rule.period + 1)
    return needed
