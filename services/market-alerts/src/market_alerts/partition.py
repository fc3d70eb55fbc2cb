"""The evaluation of one partition's ticks: a pure function of their order, so a repetition makes the same alerts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import ValidationError

from market_alerts.made import Key, Known, Made, Withdrawn
from market_alerts.rules import Rule
from market_alerts.series import Gone, Series
from ticklake.records import Source, Tick

_validate = partial(Tick.model_validate_json, strict=True)
"""Strict, as in the archive: a number in quotes is no number."""


@dataclass
class Counts:
    """What became of messages."""

    ticks: int = 0
    invalid: int = 0
    late: int = 0
    future: int = 0
    newest_ms: int = 0


@dataclass
class Partition:
    """One partition's series."""

    number: int
    topic_id: str
    rules: Sequence[Rule]
    lateness_ms: int
    future_tolerance_ms: float
    next_offset: int = 0
    silent_until: int = 0
    """Ticks before this offset raise nothing."""
    catch_up_until: int = 0
    """Ticks before this offset may have been evaluated by an earlier owner, and their alerts sent."""
    known: Known = field(default_factory=Known)
    """Alerts that stand on the topic and may be met again until then."""
    alerts_from: int = 0
    """On the alerts topic: nothing that ticks from `next_offset` on raise stands before it."""
    saved_offset: int = -1
    """Committed last."""
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    _changed: set[tuple[str, str]] = field(default_factory=set)
    _withdrawn: list[Withdrawn] = field(default_factory=list)
    _told: set[Key] = field(default_factory=set)
    """What was told of while catching up and is not on the topic yet, so that it comes after what is."""

    @property
    def caught_up(self) -> bool:
        """Whether no earlier owner has evaluated the ticks to come."""
        return self.next_offset >= self.catch_up_until

    def take_changed(self) -> list[tuple[str, str]]:
        """Symbol and source of the series that changed since the last call."""
        changed, self._changed = sorted(self._changed), set()
        return changed

    def all_sent(self, alerts_end: int) -> None:
        """Note that every alert of the ticks so far stands before `alerts_end` on the alerts topic.

        Until the catching up is done, alerts of ticks to come may stand there too.
        """
        if self.caught_up:
            self.known, self._told = Known(), set()
            self.alerts_from = max(self.alerts_from, alerts_end)

    def restore(self, symbol: str, source: str, dumped: dict[str, Any]) -> None:
        """Take over a saved series, and withdraw what stood raised by rules that are gone."""
        series = self.series[symbol, source] = Series(symbol, self.rules, self.lateness_ms)
        self._withdraw(series, source, series.restore(dumped))
        self._forget_withdrawn(series, source)

    def adopt(self, rules: Sequence[Rule]) -> None:
        """Go on under other rules, and withdraw what stood raised by those that are gone."""
        self.rules, self.saved_offset = rules, -1
        for name, series in self.series.items():
            self.series[name], gone = series.under(rules)
            self._changed.add(name)
            self._withdraw(series, name[1], gone)

    def _withdraw(self, series: Series, source: str, gone: Sequence[Gone]) -> None:
        for each in gone:
            withdrawn = self._withdrawn_as(each, series, source)
            self._withdrawn.append(withdrawn)
            self._changed.add((series.symbol, source))
            if withdrawn.alert_id not in self.known.ids:
                self._told.add(withdrawn.key)

    def _forget_withdrawn(self, series: Series, source: str) -> None:
        """End what was withdrawn on the topic before a crash, though its rule is in force again by now."""
        if self.known.ids and series.forget(
            lambda each: self._withdrawn_as(each, series, source).alert_id in self.known.ids
        ):
            self._changed.add((series.symbol, source))

    def _withdrawn_as(self, gone: Gone, series: Series, source: str) -> Withdrawn:
        log = f"{self.topic_id}/{self.number}"
        return Withdrawn.of(gone, log, series.symbol, Source(source), series.newest_ms or 0)

    def take_withdrawn(self) -> list[Withdrawn]:
        """What was withdrawn since the last call; to be sent before the state is saved, which knows it no more."""
        withdrawn, self._withdrawn = self._withdrawn, []
        return withdrawn + self._orphans()

    def _orphans(self) -> list[Withdrawn]:
        """Raised alerts on the topic that no state knows.

        Their ticks came after the state that was restored, and under the rules of now raise nothing.
        """
        if not self.caught_up or not self.known.raised:
            return []
        found: list[Withdrawn] = []
        for key, standing in self.known.raised.items():
            series = self.series.get((key.symbol, key.source.value))
            if series is None or key in self._told or series.stands(key.rule, key.threshold):
                continue
            found.append(Withdrawn.of_orphan(standing, series.fate(key.rule), series.newest_ms or 0))
        self.known = Known(self.known.ids)
        return found

    def evaluate(self, records: Sequence[Any], counts: Counts) -> list[Made]:
        """Take messages in the order of the log; gives what they change and counts what became of them."""
        made: list[Made] = []
        for record in records:
            offset = record.offset
            self.next_offset = offset + 1
            try:
                tick = _validate(record.value or b"")
            except ValidationError:
                counts.invalid += 1
                continue
            # The archive keeps invalid messages; to count them is enough here.
            if record.key != tick.symbol.encode():
                counts.invalid += 1
                continue
            name = (tick.symbol, tick.source.value)
            series = self.series.get(name)
            if series is None:
                series = self.series[name] = Series(tick.symbol, self.rules, self.lateness_ms)
            elif offset < series.next_offset:
                continue  # in its saved state already
            event_ms = round(tick.event_time.timestamp() * 1000)
            if event_ms > record.timestamp + self.future_tolerance_ms:
                counts.future += 1
                continue
            series.next_offset = offset + 1
            changes = series.add(event_ms, tick.price, tick.volume, silent=offset < self.silent_until)
            self._changed.add(name)
            if changes is None:
                counts.late += 1
                continue
            counts.ticks += 1
            counts.newest_ms = max(counts.newest_ms, event_ms)
            for change in changes:
                place = f"{self.topic_id}/{self.number}/{offset}"
                made.append(Made(change, tick.symbol, tick.source, place, record.timestamp))
            if changes:
                self._forget_withdrawn(series, tick.source.value)
        if self.known.raised:
            self._told |= {
                each.key for each in made if each.change.state != "suppressed" and each.alert_id not in self.known.ids
            }
        return made
