"""The evaluation of one partition's ticks: a pure function of their order, so a repetition makes the same alerts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import ValidationError

from market_alerts.rules import Rule
from market_alerts.series import Change, Series
from ticklake.alerts import Alert
from ticklake.records import Source, Tick

_validate = partial(Tick.model_validate_json, strict=True)
"""Strict, as in the archive: a number in quotes is no number."""


@dataclass(frozen=True)
class Made:
    """A change with what is needed to tell of it."""

    change: Change
    symbol: str
    source: Source
    place: str
    """Topic id, partition and offset of the tick."""
    append_ms: int

    @property
    def alert_id(self) -> str:
        """A function of the tick's place in the log, the rule and what changed: the same however often evaluated."""
        change = self.change
        parts = (change.rule.name, change.condition.name, self.symbol, self.source.value, change.state, self.place)
        return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()

    def alert(self) -> Alert:
        """The alert, made now."""
        change, rule = self.change, self.change.rule
        said = f"{self.symbol}: {change.condition.text.format(value=change.value)}"
        return Alert(
            alert_id=self.alert_id, rule=rule.name, symbol=self.symbol, kind=rule.kind, severity=rule.severity,
            message=f"{said} (cleared)" if change.state == "cleared" else said,
            value=change.value, threshold=change.condition.threshold,
            event_time=datetime.fromtimestamp(change.event_ms / 1000, UTC), raised_at=datetime.now(UTC),
            source=self.source, state="cleared" if change.state == "cleared" else "raised",
        )  # fmt: skip


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
    known_ids: frozenset[str] = frozenset()
    """Of alerts that stand on the topic and may be met again until then."""
    alerts_from: int = 0
    """On the alerts topic: nothing that ticks from `next_offset` on raise stands before it."""
    saved_offset: int = -1
    """Committed last."""
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    _changed: set[tuple[str, str]] = field(default_factory=set)

    def take_changed(self) -> list[tuple[str, str]]:
        """Symbol and source of the series that changed since the last call."""
        changed, self._changed = sorted(self._changed), set()
        return changed

    def all_sent(self, alerts_end: int) -> None:
        """Note that every alert of the ticks so far stands before `alerts_end` on the alerts topic.

        Until the catching up is done, alerts of ticks to come may stand there too.
        """
        if self.next_offset >= self.catch_up_until:
            self.known_ids = frozenset()
            self.alerts_from = max(self.alerts_from, alerts_end)

    def restore(self, symbol: str, source: str, dumped: dict[str, Any]) -> None:
        """Take over a saved series."""
        series = self.series[symbol, source] = Series(symbol, self.rules, self.lateness_ms)
        series.restore(dumped)

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
            changes = series.add(event_ms, tick.price, tick.volume, silent=offset < self.silent_until)
            series.next_offset = offset + 1
            self._changed.add(name)
            if changes is None:
                counts.late += 1
                continue
            counts.ticks += 1
            counts.newest_ms = max(counts.newest_ms, event_ms)
            for change in changes:
                place = f"{self.topic_id}/{self.number}/{offset}"
                made.append(Made(change, tick.symbol, tick.source, place, record.timestamp))
        return made
