"""What evaluation makes, changes and withdrawals, with what is needed to tell of them; and what was told already."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from market_alerts.rule_state import Change
from market_alerts.rules import TARGETS, Target
from market_alerts.series import Gone
from ticklake.alerts import Alert, Severity
from ticklake.records import Source

Targets = tuple[Target, ...] | None
"""Where an alert goes; None is every target that is set up."""


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
        return _id(change.rule.fingerprint, change.condition.name, self.symbol, self.source, change.state, self.place)

    @property
    def key(self) -> "Key":
        """By which a reader knows what the alert is about."""
        return Key(self.change.rule.name, self.symbol, self.source, self.change.condition.threshold)

    @property
    def headers(self) -> "Headers":
        """Who hears of it, and of its end."""
        rule = self.change.rule
        of_its_end = rule.targets if rule.notify_cleared else ()
        return Headers(of_its_end if self.change.state == "cleared" else rule.targets, of_its_end)

    def alert(self) -> Alert:
        """The alert, made now."""
        change, rule = self.change, self.change.rule
        said = f"{self.symbol}: {change.condition.text.format(value=change.value)}"
        return Alert(
            alert_id=self.alert_id, rule=rule.name, symbol=self.symbol, kind=rule.kind, severity=rule.severity,
            message=f"{said} (cleared)" if change.state == "cleared" else said,
            value=change.value, threshold=change.condition.threshold,
            event_time=_time(change.event_ms), raised_at=datetime.now(UTC),
            source=self.source, state="cleared" if change.state == "cleared" else "raised",
        )  # fmt: skip


@dataclass(frozen=True)
class Withdrawn:
    """The end of a raised alert whose rule is gone, or measures something else by now: no tick will clear it."""

    raised_id: str
    """The id of the alert that is withdrawn."""
    rule: str
    why: str
    symbol: str
    source: Source
    kind: str
    severity: Severity
    value: float
    """When it was raised: what the rule would measure now nobody knows."""
    threshold: float
    event_ms: int
    """Of the newest tick of its series."""
    targets: Targets

    @classmethod
    def of(cls, gone: Gone, log: str, symbol: str, source: Source, event_ms: int) -> "Withdrawn":
        """Of what a series gave up; `log` is topic id and partition of its ticks."""
        raised = gone.raised
        return cls(
            _id(gone.fingerprint, raised.condition, symbol, source, "raised", f"{log}/{raised.offset}"), gone.rule,
            gone.why, symbol, source, raised.kind, raised.severity, raised.value, raised.threshold, event_ms,
            raised.targets if raised.notify_cleared else (),
        )  # fmt: skip

    @classmethod
    def of_orphan(cls, standing: "Standing", why: str, event_ms: int) -> "Withdrawn":
        """Of a raised alert of which there is no more than what stands on the topic."""
        alert = standing.alert
        return cls(
            alert.alert_id, alert.rule, why, alert.symbol, alert.source, alert.kind, alert.severity, alert.value,
            alert.threshold, event_ms, standing.cleared_targets,
        )  # fmt: skip

    @property
    def key(self) -> "Key":
        """By which a reader knows what the alert is about."""
        return Key(self.rule, self.symbol, self.source, self.threshold)

    @property
    def alert_id(self) -> str:
        """A function of the raised alert's id: however often and by whomever withdrawn, it is one alert."""
        return withdrawal_id(self.raised_id)

    @property
    def headers(self) -> "Headers":
        """Who hears of it."""
        return Headers(self.targets)

    def alert(self) -> Alert:
        """The alert, made now."""
        return Alert(
            alert_id=self.alert_id, rule=self.rule, symbol=self.symbol, kind=self.kind, severity=self.severity,
            message=f"{self.symbol}: rule {self.rule} {self.why} (cleared)", value=self.value,
            threshold=self.threshold, event_time=_time(self.event_ms), raised_at=datetime.now(UTC),
            source=self.source, state="cleared",
        )  # fmt: skip


def withdrawal_id(raised_id: str) -> str:
    """The id under which the alert `raised_id` is withdrawn."""
    return _id(raised_id, "withdrawn")


class Key(NamedTuple):
    """What an alert is about, as far as a reader can tell."""

    rule: str
    symbol: str
    source: Source
    threshold: float


class Standing(NamedTuple):
    """A raised alert on the topic with no other of its key after it."""

    alert: Alert
    cleared_targets: Targets


@dataclass(frozen=True)
class Known:
    """What stands on the alerts topic already and may be made again after a restart."""

    ids: frozenset[str] = frozenset()
    raised: Mapping[Key, Standing] = field(default_factory=dict)
    """What the topic's last word on a key is, where that is a raise."""


class Headers(NamedTuple):
    """The headers of a message on the alerts topic: who hears of the alert, decided where its rule is at hand."""

    targets: Targets
    cleared_targets: Targets = None
    """Who is to hear of its end."""

    @classmethod
    def of(cls, headers: list[tuple[str, bytes]]) -> "Headers":
        """Of a message; one without these headers is for every target."""
        found = dict(headers)
        return cls(_targets(found.get("targets")), _targets(found.get("cleared_targets")))

    def pairs(self) -> list[tuple[str, bytes]]:
        """As Kafka has them; what is for every target has none."""
        named = self._asdict().items()
        return [(name, ",".join(targets).encode()) for name, targets in named if targets is not None]


def _targets(value: bytes | None) -> Targets:
    return None if value is None else tuple(target for target in TARGETS if target in value.decode().split(","))


def _id(*parts: str) -> str:
    return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
