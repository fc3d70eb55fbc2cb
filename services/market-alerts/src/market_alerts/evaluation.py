"""The evaluation of one partition's ticks: a pure function of their order, so a repetition gives the same alerts.

A symbol's ticks are in one partition, unless producers choose it by different rules or partitions were added. Then the
partition with the newest one has the series, and their order is that in which they were read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from market_alerts.active_alerts import AlertKey, PublishedAlerts
from market_alerts.alert_events import AlertEvent, Withdrawal
from market_alerts.rules import Rule
from market_alerts.series import OrphanedCondition, Series
from ticklake.records import Source
from ticklake.ticks import InvalidTick, read_tick


@dataclass
class Counts:
    """What became of messages."""

    ticks: int = 0
    invalid: int = 0
    late: int = 0
    future: int = 0
    newest_ms: int = 0


@dataclass
class PartitionEvaluator:
    """One partition's series."""

    number: int
    topic_id: str
    rules: Sequence[Rule]
    lateness_ms: int
    future_tolerance: float | None
    """See `ticklake.ticks.read_tick`."""
    next_offset: int = 0
    silent_until: int = 0
    """Ticks before this offset raise nothing."""
    catch_up_until: int = 0
    """Ticks before this offset may have been evaluated by an earlier owner, and their alerts published."""
    published: PublishedAlerts = field(default_factory=PublishedAlerts)
    """Alerts on the topic that may be evaluated again until then."""
    alerts_from: int = 0
    """On the alerts topic: alerts of ticks from `next_offset` on are not before it."""
    saved_offset: int = -1
    """Committed last."""
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    others: Mapping[int, "PartitionEvaluator"] = field(default_factory=dict)
    """All partitions of this process, by number."""
    moved: set[tuple[str, str]] = field(default_factory=set)
    """Series that another partition has taken and this one's saved state still has."""
    _changed: set[tuple[str, str]] = field(default_factory=set)
    _withdrawals: list[Withdrawal] = field(default_factory=list)
    _new_keys: set[AlertKey] = field(default_factory=set)
    """Of alerts found while catching up that are not on the topic yet: they come after those that are."""

    @property
    def caught_up(self) -> bool:
        """Whether no earlier owner has evaluated the ticks to come."""
        return self.next_offset >= self.catch_up_until

    def take_changed(self) -> list[tuple[str, str]]:
        """Symbol and source of the series that changed since the last call."""
        changed, self._changed = sorted(self._changed), set()
        return changed

    def mark_published(self, alerts_end: int) -> None:
        """Note that every alert of the ticks so far is before `alerts_end` on the alerts topic.

        Until it has caught up, alerts of ticks to come may be there too.
        """
        if self.caught_up:
            self.published, self._new_keys = PublishedAlerts(), set()
            self.alerts_from = max(self.alerts_from, alerts_end)

    def _taken_over(self, name: tuple[str, str]) -> Series | None:
        for other in self.others.values():
            if other is not self and name in other.series:
                other.moved.add(name)
                other._changed.discard(name)
                self._changed.add(name)
                return other.series.pop(name)
        return None

    def restore(self, symbol: str, source: str, dumped: dict[str, Any]) -> None:
        """Continue a saved series, and withdraw what was raised by rules that are gone."""
        series = self.series[symbol, source] = Series(symbol, self.rules, self.lateness_ms)
        self._withdraw(series, source, series.restore(dumped))
        self._reset_withdrawn(series, source)

    def apply_rules(self, rules: Sequence[Rule]) -> None:
        """Continue under other rules, and withdraw what was raised by those that are gone."""
        self.rules, self.saved_offset = rules, -1
        for name, series in self.series.items():
            self.series[name], orphaned = series.with_rules(rules)
            self._changed.add(name)
            self._withdraw(series, name[1], orphaned)

    def _withdraw(self, series: Series, source: str, orphaned: Sequence[OrphanedCondition]) -> None:
        for each in orphaned:
            withdrawal = self._withdrawal(each, series, source)
            self._withdrawals.append(withdrawal)
            self._changed.add((series.symbol, source))
            if withdrawal.alert_id not in self.published.ids:
                self._new_keys.add(withdrawal.key)

    def _reset_withdrawn(self, series: Series, source: str) -> None:
        """End what was withdrawn on the topic before a crash, though its rule is in force again by now."""
        ids = self.published.ids
        if ids and series.reset(lambda each: self._withdrawal(each, series, source).alert_id in ids):
            self._changed.add((series.symbol, source))

    def _withdrawal(self, orphaned: OrphanedCondition, series: Series, source: str) -> Withdrawal:
        return Withdrawal.of(orphaned, self.topic_id, series.symbol, Source(source), series.newest_ms)

    def take_withdrawals(self) -> list[Withdrawal]:
        """What was withdrawn since the last call; to be published before the state is saved, which has it no more."""
        withdrawals, self._withdrawals = self._withdrawals, []
        return withdrawals + self._unknown_active()

    def _unknown_active(self) -> list[Withdrawal]:
        """Withdrawals of active alerts on the topic that no state knows.

        Their ticks came after the state that was restored, and under the rules of now raise nothing.
        """
        if not self.caught_up or not self.published.active:
            return []
        found: list[Withdrawal] = []
        for key, active in self.published.active.items():
            series = self.series.get((key.symbol, key.source.value))
            if series is None or key in self._new_keys or series.is_active(key.rule, key.threshold):
                continue
            reason = series.reason_gone(key.rule)
            found.append(Withdrawal(active.alert, reason, series.newest_ms, active.cleared_targets))
        self.published = PublishedAlerts(self.published.ids)
        return found

    def evaluate(self, records: Sequence[Any], counts: Counts) -> list[AlertEvent]:
        """Evaluate messages in the order of the log; returns what they change and counts what became of them."""
        events: list[AlertEvent] = []
        for record in records:
            offset = record.offset
            self.next_offset = offset + 1
            tick = read_tick(record.key, record.value, record.timestamp, self.future_tolerance)
            if isinstance(tick, InvalidTick):  # the archive keeps it; to count it is enough here
                counts.future += tick.from_future
                counts.invalid += not tick.from_future
                continue
            name = (tick.symbol, tick.source.value)
            series = self.series.get(name)
            if series is None:
                series = self._taken_over(name) or Series(tick.symbol, self.rules, self.lateness_ms)
                self.series[name] = series
                self.moved.discard(name)
            if offset < series.next_offsets.get(self.number, 0):
                continue  # in its saved state already
            event_ms = tick.event_ms
            series.take_place(self.number, offset)
            transitions = series.add(event_ms, tick.price, tick.volume, silent=offset < self.silent_until)
            self._changed.add(name)
            if transitions is None:
                counts.late += 1
                continue
            counts.ticks += 1
            counts.newest_ms = max(counts.newest_ms, event_ms)
            for transition in transitions:
                place = f"{self.topic_id}/{self.number}/{offset}"
                events.append(AlertEvent(transition, tick.symbol, tick.source, place, record.timestamp))
            if transitions:
                self._reset_withdrawn(series, tick.source.value)
        if self.published.active:
            self._new_keys |= {
                each.key
                for each in events
                if each.transition.state != "suppressed" and each.alert_id not in self.published.ids
            }
        return events
