"""The alerts to publish: raised or cleared by a tick, or withdrawn with their rule."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from market_alerts.active_alerts import AlertKey, Headers, Targets
from market_alerts.rule_state import Transition
from market_alerts.series import OrphanedCondition
from ticklake.alerts import Alert
from ticklake.records import Source


@dataclass(frozen=True)
class AlertEvent:
    """A transition, and the tick that caused it."""

    transition: Transition
    symbol: str
    source: Source
    place: str
    """Topic id, partition and offset of the tick."""
    append_ms: int

    @property
    def alert_id(self) -> str:
        """A function of the tick's place in the log, the rule and what changed: the same however often evaluated."""
        rule, condition, state = self.transition.rule, self.transition.condition, self.transition.state
        return _id(rule.fingerprint, condition.name, self.symbol, self.source, state, self.place)

    @property
    def key(self) -> AlertKey:
        """What the alert is about."""
        return AlertKey(self.transition.rule.name, self.symbol, self.source, self.transition.condition.threshold)

    @property
    def headers(self) -> Headers:
        """Who is notified, now and when it is cleared."""
        rule = self.transition.rule
        when_cleared = rule.targets if rule.notify_cleared else ()
        return Headers(when_cleared if self.transition.state == "cleared" else rule.targets, when_cleared)

    def alert(self) -> Alert:
        """The alert, raised now."""
        rule, condition, value, event_ms, state = self.transition
        message = f"{self.symbol}: {rule.message(condition, value)}"
        return Alert(
            alert_id=self.alert_id,
            rule=rule.name,
            symbol=self.symbol,
            kind=rule.kind,
            severity=rule.severity,
            message=f"{message} (cleared)" if state == "cleared" else message,
            value=value,
            threshold=condition.threshold,
            event_time=_time(event_ms),
            raised_at=datetime.now(UTC),
            source=self.source,
            state="cleared" if state == "cleared" else "raised",
        )


@dataclass(frozen=True)
class Withdrawal:
    """The end of an active alert whose rule is gone, or measures something else by now: no tick will clear it."""

    raised: Alert
    """The alert that is withdrawn; its message and times are not known where only its state is."""
    reason: str
    event_ms: int
    """Of the newest tick of its series."""
    targets: Targets

    @classmethod
    def of(cls, orphaned: OrphanedCondition, topic_id: str, symbol: str, source: Source, event_ms: int) -> "Withdrawal":
        """Of what a series no longer has; `topic_id` is that of its ticks."""
        known = orphaned.raised
        place = "/".join(str(part) for part in (topic_id, *known.place))
        raised = Alert(
            alert_id=_id(orphaned.fingerprint, known.condition, symbol, source, "raised", place),
            rule=orphaned.rule,
            symbol=symbol,
            kind=known.kind,
            severity=known.severity,
            message="",
            value=known.value,
            threshold=known.threshold,
            event_time=_time(event_ms),
            raised_at=_time(event_ms),
            source=source,
            state="raised",
        )
        return cls(raised, orphaned.reason, event_ms, known.targets if known.notify_cleared else ())

    @property
    def symbol(self) -> str:
        """Of the alert."""
        return self.raised.symbol

    @property
    def key(self) -> AlertKey:
        """What the alert is about."""
        return AlertKey.of(self.raised)

    @property
    def alert_id(self) -> str:
        """A function of the raised alert's id: however often and by whomever withdrawn, it is one alert."""
        return _id(self.raised.alert_id, "withdrawn")

    @property
    def headers(self) -> Headers:
        """Who is notified."""
        return Headers(self.targets)

    def alert(self) -> Alert:
        """The alert, cleared now; its value is the one that it was raised with."""
        changes = {
            "alert_id": self.alert_id,
            "message": f"{self.symbol}: rule {self.raised.rule} {self.reason} (cleared)",
            "event_time": _time(self.event_ms),
            "raised_at": datetime.now(UTC),
            "state": "cleared",
        }
        return Alert.model_validate(self.raised.model_dump() | changes)


def _id(*parts: str) -> str:
    return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
