"""What people decided on quarantined messages: replayed as they are, mended and replayed, or dropped.

A decision is an object that is created only if absent and never changed, so of two people one decides. A replay has a
second object once it is done. Both lie below `quarantine/decisions/`.
"""

import base64
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ticklake.decisions import checked_name, read_object
from ticklake.errors import ConfigurationError
from ticklake.keys import QUARANTINE_DECISIONS, quarantine_decision_key, quarantine_replayed_key
from ticklake.objects import ObjectStore
from ticklake.quarantine import QuarantinedMessage
from ticklake.records import UtcMs
from ticklake.ticks import InvalidTick, read_tick
from ticklake.topics import live_namespace

Action = Literal["replay", "mend", "drop"]
_DONE: Mapping[Action, str] = {"replay": "replayed", "mend": "mended and replayed", "drop": "dropped"}

_READERS = 8


class Decision(BaseModel):
    """What a person decided on one quarantined message."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    action: Action
    id: str
    origin: str
    reason: str
    """Why it was rejected."""
    by: str
    decided_at: UtcMs
    topic: str | None = None
    """Where it is replayed to; None where it is dropped."""
    value_base64: str | None = None
    """What is sent; None where it is dropped."""
    key_base64: str | None = None

    @property
    def value(self) -> bytes:
        """What is sent."""
        return base64.b64decode(self.value_base64 or "")

    @property
    def key(self) -> bytes | None:
        """The key that it is sent with."""
        return None if self.key_base64 is None else base64.b64decode(self.key_base64)

    def description(self) -> str:
        """Who decided what, in words."""
        return f"{_DONE[self.action]} by {self.by} at {self.decided_at:%Y-%m-%d %H:%M:%S} UTC"


class Replayed(BaseModel):
    """Where a replayed message went; as a message of the quarantine topic, the receipt that it did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    replayed: str
    """Id of the quarantined message."""
    topic: str
    partition: int
    offset: int

    @property
    def place(self) -> str:
        """The place, in words."""
        return f"{self.topic} partition {self.partition} offset {self.offset}"


@dataclass(frozen=True)
class Decided:
    """A decision, and what came of it."""

    decision: Decision
    replayed: Replayed | None = None
    """None where it is dropped, or the replay is not known to be done."""

    @property
    def open(self) -> bool:
        """Whether the replay has to be gone on with."""
        return self.decision.action != "drop" and self.replayed is None

    def description(self) -> str:
        """Who decided what, and what came of it, in words."""
        said = self.decision.description()
        if self.open:
            return f"{said}, but that is not done: replay it again to go on"
        return f"{said}, to {self.replayed.place}" if self.replayed else said


class Decisions:
    """Lists the decisions whenever it is called; only what is new is read. Not for several threads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._read: dict[str, Decision | Replayed | None] = {}

    def now(self) -> dict[str, Decided]:
        """Every decision, by id of the message.

        Raises:
            StageError: the store does not answer.
        """
        there = [info.key for info in self._store.list_objects(QUARANTINE_DECISIONS)]
        new = [key for key in there if key not in self._read]
        with ThreadPoolExecutor(_READERS) as pool:
            read = list(pool.map(lambda key: read_object(self._store, key, _model_of(key)), new))
        self._read = {key: self._read[key] for key in there if key in self._read} | dict(zip(new, read, strict=True))
        found = self._read.values()
        done = {each.replayed: each for each in found if isinstance(each, Replayed)}
        return {each.id: Decided(each, done.get(each.id)) for each in found if isinstance(each, Decision)}


def decided(store: ObjectStore, message_id: str) -> Decided | None:
    """What was decided on one message; None where nothing was."""
    decision = read_object(store, quarantine_decision_key(message_id), Decision)
    return None if decision is None else Decided(decision, replayed(store, message_id))


def replayed(store: ObjectStore, message_id: str) -> Replayed | None:
    """Where a message was replayed to; None where the replay is not known to be done."""
    return read_object(store, quarantine_replayed_key(message_id), Replayed)


def note_replayed(store: ObjectStore, done: Replayed) -> None:
    """Keep where a replayed message went."""
    store.put_if_absent(quarantine_replayed_key(done.replayed), done.model_dump_json(indent=1).encode())


def _model_of(key: str) -> type[Decision] | type[Replayed]:
    return Replayed if key.endswith(".replayed.json") else Decision


def rejection(
    message: QuarantinedMessage, key: bytes | None, value: bytes, now: datetime, future_tolerance: float | None
) -> str | None:
    """Why a replay of `message` with these bytes would be of no use: the rule that would reject it, by that very rule.

    Args:
        now: about when it would arrive.
        future_tolerance: of that live flow, see `ticklake.ticks.read_tick`.

    Returns:
        one line that says what to do; None where nothing speaks against it.
    """
    if (reason := _not_replayable(message)) is not None:
        return reason
    tick = read_tick(key, value, round(now.timestamp() * 1000), future_tolerance)
    return f"it would be rejected again: {tick.reason}" if isinstance(tick, InvalidTick) else None


def _not_replayable(message: QuarantinedMessage) -> str | None:
    """Why no bytes sent in place of `message` would reach anybody; None where they would."""
    if message.topic is None:
        return (
            f"it is a row of {message.symbol}'s answer, which never reached Kafka: the next run asks for it again, and "
            f"where the symbol is held, `ticklake held show {message.symbol}` shows it"
        )
    if live_namespace(message.topic) is None:
        return (
            f"a run reads from {message.topic} only what its own fetch has sent, so nobody would read it: start the "
            "run again, which sends its rows again"
        )
    return None


def decide(
    store: ObjectStore,
    message: QuarantinedMessage,
    action: Action,
    by: str,
    future_tolerance: float | None = None,
    *,
    value: bytes | None = None,
    key: bytes | None = None,
) -> tuple[Decided, bool]:
    """Decide on a message; the same decision a second time is the first one, and to replay goes on with a replay.

    Args:
        by: who decides.
        future_tolerance: see `rejection`.
        value: what is sent in place of the message's bytes, where it is mended.
        key: the key that it is sent with; None for the message's.

    Returns:
        the decision, and whether this call made it.

    Raises:
        ConfigurationError: it would be rejected again; somebody decided otherwise; `by` is no name.
    """
    by = checked_name(by)
    if (before := decided(store, message.id)) is not None:
        return _before(before, action, value, key), False
    sent_value, sent_key = (message.original if value is None else value), (message.key if key is None else key)
    now = datetime.now(UTC)
    if action != "drop" and (reason := rejection(message, sent_key, sent_value, now, future_tolerance)):
        raise ConfigurationError(f"{message.id} cannot be replayed: {reason}")
    decision = Decision(
        action=action,
        id=message.id,
        origin=message.origin,
        reason=message.reason,
        by=by,
        decided_at=now,
        topic=None if action == "drop" else message.topic,
        value_base64=None if action == "drop" else base64.b64encode(sent_value).decode(),
        key_base64=None if action == "drop" or sent_key is None else base64.b64encode(sent_key).decode(),
    )
    if not store.put_if_absent(quarantine_decision_key(message.id), decision.model_dump_json(indent=1).encode()):
        there = decided(store, message.id)
        if there is None:
            raise ConfigurationError(f"{quarantine_decision_key(message.id)} is no decision that can be read")
        if there.decision != decision:
            return _before(there, action, value, key), False
    return Decided(decision), True


def _before(there: Decided, action: Action, value: bytes | None, key: bytes | None) -> Decided:
    """What was decided before, where the call asks for no more than that."""
    decision = there.decision
    same = action == decision.action or (action == "replay" and decision.action == "mend")
    if same and action == "mend":
        same = value == decision.value and key in (None, decision.key)
    if not same:
        raise ConfigurationError(f"{decision.id} was {there.description()}; that cannot be changed")
    return there


def commands(message: QuarantinedMessage, there: Decided | None) -> list[str]:
    """What a person can do about a message: commands, and where it cannot be replayed, a line that says why.

    Args:
        there: what was decided on it.
    """
    if there is not None and not there.open:
        return []
    if there is not None:
        return [f"ticklake quarantine replay {message.id}"]
    drop = f"ticklake quarantine drop {message.id}"
    if (reason := _not_replayable(message)) is not None:
        return [drop, f"no replay: {reason}"]
    mend = f"ticklake quarantine mend {message.id} --value FILE"
    return [mend, f"ticklake quarantine replay {message.id}", drop]
