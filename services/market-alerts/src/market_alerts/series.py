"""The ticks of one symbol from one source, as far as the rules need them, and the state of each rule."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from market_alerts.bars import Bars, Samples
from market_alerts.indicators import Ema, RsiState, ema_step, rsi_step
from market_alerts.rule_state import RAISED, Change, Raise, RuleState, raises_of
from market_alerts.rules import ChangePercent, MaCross, Rsi, Rule, Volatility, VolumeSpike


class Gone(NamedTuple):
    """A raise that its rule can no longer clear."""

    rule: str
    fingerprint: str
    """Of the rule that raised it."""
    raised: Raise
    why: str
    """What became of the rule."""


class Series:
    """One symbol's ticks from one source; what it holds is bounded by the rules, not by the ticks."""

    def __init__(self, symbol: str, rules: Sequence[Rule], lateness_ms: int) -> None:
        self.symbol = symbol
        self.newest_ms: int | None = None
        self.price = math.nan
        self.next_offset = 0
        """Of the partition: ticks before it are in here already."""
        self._given, self._lateness_ms = rules, lateness_ms
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

    def restore(self, dumped: dict[str, Any]) -> list[Gone]:
        """Take over what `dump` gave; what a rule needs that is new since then is made of the bars at hand.

        Returns:
            what stood raised by rules that are gone, or measure something else by now.
        """
        self.newest_ms, self.price, self.next_offset = dumped["newest_ms"], dumped["price"], dumped["next_offset"]
        if self.newest_ms is None:  # only ticks from the future so far
            return []
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
        states, gone = {state.rule.name: state for state in self._rules}, list[Gone]()
        for name, known in dumped["rules"].items():
            if name not in states or not states[name].restore(known):
                gone += [Gone(name, known["fingerprint"], each, self.fate(name)) for each in raises_of(known)]
            else:
                del states[name]
        for state in states.values():  # the new ones: on which side of a crossing the newest price is
            state.evaluate(self, self.newest_ms, silent=True)
        return gone

    def under(self, rules: Sequence[Rule]) -> "tuple[Series, list[Gone]]":
        """The same series under other rules, and what stood raised that those do not go on with."""
        other = Series(self.symbol, rules, self._lateness_ms)
        return other, other.restore(self.dump())

    def forget(self, was_withdrawn: Callable[[Gone], bool]) -> bool:
        """Take the raises for ended of which that is true; whether there were any."""
        found = False
        for state in self._rules:
            for each in state.raises:
                if each is not None and was_withdrawn(Gone(state.rule.name, state.rule.fingerprint, each, "")):
                    state.forget(each.condition)
                    found = True
        return found

    def stands(self, rule: str, threshold: float) -> bool:
        """Whether an alert of the rule stands raised at this threshold."""
        return any(
            status == RAISED and condition.threshold == threshold
            for state in self._rules if state.rule.name == rule
            for status, condition in zip(state.states, state.conditions, strict=True)
        )  # fmt: skip

    def fate(self, name: str) -> str:
        """What became of the rule called `name`, which this series does not have as it was."""
        for rule in self._given:
            if rule.name == name:
                return "was changed" if rule.applies_to(self.symbol) else f"no longer watches {self.symbol}"
        return "was removed"


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
