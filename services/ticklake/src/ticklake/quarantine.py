"""What fails validation: kept with its original bytes, where it came from and why it was rejected.

In the lake an object holds many messages as JSON Lines. Its key has the first one's position and a digest of all of it:
a retry writes the same object, and of two writers that group the same messages otherwise none overwrites the other's.
So the same message can be in several objects; readers take each id once.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ticklake import keys, logs, topics
from ticklake.errors import ConfigurationError
from ticklake.kafka import ConfirmedProducer, Headers
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.records import UtcMs

log = logs.get(__name__)

REPLAY_HEADER = "ticklake-replay-of"
"""Header of a replayed message: the id of the quarantined one."""

_TOPIC_LIMIT = 900_000
"""Bytes of a message that brokers and clients take by default, with room for the headers."""
_MOST_LINES, _MOST_BYTES = 1000, 8 * 1024 * 1024
"""Of an object; a message that is larger has one of its own."""
_SUFFIX = ".jsonl"
_UPLOADS = _READERS = 8
_LONGEST_SYMBOL = 64
_ID_DIGITS = 16
"""With a million messages, two have the same id with a probability of one in thirty million."""


class QuarantinedMessage(BaseModel):
    """A rejected message or row, as it goes to the quarantine topic and below `quarantine/` in the lake."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    stage: str
    reason: str
    original_base64: str
    key_base64: str | None = None
    topic: str | None = None
    """Origin in Kafka; None for a row that never reached it."""
    partition: int | None = None
    offset: int | None = None
    run_id: str | None = None
    position: int | None = None
    """Position of a row in its symbol's answer, from 0; None for a message."""
    part: str | None = None
    """What of the row was rejected, `split` or `dividend`; None for all of it."""
    symbol: str | None = None
    replay_of: str | None = None
    """Id of the quarantined message that this one is a replay of."""
    record_time: UtcMs | None = None
    """The record's Kafka timestamp or the fetch's time, so that a retry writes the same bytes."""

    @property
    def key(self) -> bytes | None:
        """The message's key, unchanged."""
        return None if self.key_base64 is None else base64.b64decode(self.key_base64)

    @property
    def id(self) -> str:
        """16 hex digits that follow from origin and bytes; the bytes tell a topic made anew from the old one."""
        return hashlib.sha256(f"{self.origin}\n".encode() + self.original).hexdigest()[:_ID_DIGITS]

    @property
    def about(self) -> str | None:
        """The symbol that it is about: a row's, else the message's key where that is a short text; else None."""
        key = self.key
        if self.symbol is not None or not key or len(key) > _LONGEST_SYMBOL:
            return self.symbol
        text = key.decode(errors="replace")
        return text if text.isprintable() and "\ufffd" not in text else None

    @property
    def prefix(self) -> str:
        """Prefix of the objects that messages of this one's partition, or rows of its run and symbol, are in."""
        if self.topic is None:
            return keys.quarantined_rows_prefix(self.run_id or "", self.symbol or "")
        return keys.quarantined_messages_prefix(self.topic, self.partition or 0)

    @property
    def place(self) -> str:
        """Its position there, as objects' names begin."""
        return f"{self.position or 0:09d}" if self.topic is None else f"{self.offset or 0:020d}"

    @property
    def original(self) -> bytes:
        """The rejected bytes, unchanged."""
        return base64.b64decode(self.original_base64)

    @property
    def origin(self) -> str:
        """Where it came from: topic, partition and offset, or run, symbol, position and part, joined by `/`.

        It is the key in the quarantine topic, by which readers recognise a repeated one.
        """
        parts = (
            (self.run_id, self.symbol, self.position, *([self.part] if self.part else []))
            if self.topic is None
            else (self.topic, self.partition, self.offset)
        )
        return "/".join(map(str, parts))

    def body(self) -> bytes:
        """The message as JSON, a line of an object in the lake."""
        return self.model_dump_json().encode()

    def cut_body(self) -> bytes:
        """The same without the original bytes, for the quarantine topic where they do not fit into a Kafka message."""
        cut = {"original_base64": "", "key_base64": None, "reason": f"{self.reason} (original bytes: in the lake only)"}
        return self.model_copy(update=cut).body()


def quarantined(
    stage: str,
    reason: str,
    original: bytes | None,
    *,
    key: bytes | None = None,
    topic: str | None = None,
    partition: int | None = None,
    offset: int | None = None,
    run_id: str | None = None,
    symbol: str | None = None,
    position: int | None = None,
    part: str | None = None,
    replay_of: str | None = None,
    record_time: datetime | None = None,
) -> QuarantinedMessage:
    """Wrap what was rejected by `stage`; None as `original` (a Kafka tombstone) is kept as no bytes."""
    return QuarantinedMessage(
        stage=stage,
        reason=reason,
        original_base64=base64.b64encode(original or b"").decode(),
        key_base64=None if key is None else base64.b64encode(key).decode(),
        topic=topic,
        partition=partition,
        offset=offset,
        run_id=run_id,
        symbol=symbol,
        position=position,
        part=part,
        replay_of=replay_of,
        record_time=record_time,
    )


def printable(original: bytes) -> str:
    """The bytes as text of one line, with `·` for what cannot be printed."""
    return "".join(char if char.isprintable() else "·" for char in original.decode(errors="replace"))


def replay_of(headers: Headers) -> str | None:
    """The id in a message's headers of the quarantined one that it is a replay of; None where that is no id."""
    for name, value in headers:
        # Anybody can send one, also without a value.
        if name == REPLAY_HEADER and value and len(value) == _ID_DIGITS and not value.strip(b"0123456789abcdef"):
            return value.decode()
    return None


def keep(store: ObjectStore, producer: ConfirmedProducer, messages: Sequence[QuarantinedMessage]) -> None:
    """Put `messages` into the lake and hand them to `producer`, whose caller confirms the deliveries.

    The topic can have one again after a crash; its key, the origin, identifies it.
    """
    for message, body in put(store, messages):
        value = body if len(body) <= _TOPIC_LIMIT else message.cut_body()
        producer.send(topics.QUARANTINE_TOPIC, key=message.origin.encode(), value=value)


def put(store: ObjectStore, messages: Iterable[QuarantinedMessage]) -> list[tuple[QuarantinedMessage, bytes]]:
    """Put `messages` into the lake; returns each with its JSON."""
    bodies = [(message, message.body()) for message in messages]
    with ThreadPoolExecutor(_UPLOADS) as pool:
        # The list makes the first error come out here.
        list(pool.map(lambda item: store.put(*item), _objects(bodies)))
    return bodies


def _objects(bodies: Iterable[tuple[QuarantinedMessage, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Key and body of the objects that hold the messages, in their order."""
    places: dict[str, list[tuple[QuarantinedMessage, bytes]]] = {}
    for message, body in bodies:
        places.setdefault(message.prefix, []).append((message, body))
    for prefix, there in places.items():
        for first, lines in _groups(there):
            body = b"".join(line + b"\n" for line in lines)
            yield f"{prefix}{first.place}-{hashlib.sha256(body).hexdigest()[:8]}{_SUFFIX}", body


def _groups(bodies: Iterable[tuple[QuarantinedMessage, bytes]]) -> Iterator[tuple[QuarantinedMessage, list[bytes]]]:
    """The lines of each object, with its first message."""
    group: tuple[QuarantinedMessage, list[bytes]] | None = None
    size = 0
    for message, body in bodies:
        if group is not None and (len(group[1]) == _MOST_LINES or size + len(body) >= _MOST_BYTES):
            yield group
            group = None
        if group is None:
            group, size = (message, []), 0
        group[1].append(body)
        size += len(body) + 1
    if group is not None:
        yield group


def objects_below(store: ObjectStore, prefix: str = keys.QUARANTINE) -> Iterator[ObjectInfo]:
    """The objects below `prefix` that hold messages, in the order of their keys."""
    return (info for info in store.list_objects(prefix) if info.key.endswith(_SUFFIX))


def read_object(store: ObjectStore, key: str) -> list[QuarantinedMessage]:
    """The messages of one object, none where it is gone meanwhile; a line that is no message is left out and logged."""
    try:
        lines = store.get(key).splitlines()
    except KeyError:
        return []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            message = QuarantinedMessage.model_validate_json(line)
            _ = message.id, message.key  # both are base64
        except ValueError as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            log.warning("not readable", key=key, line=number, reason=reason)
            continue
        found.append(message)
    return found


def messages_below(store: ObjectStore, prefix: str = keys.QUARANTINE) -> Iterator[QuarantinedMessage]:
    """Every message below `prefix`, each once, in the order of keys and lines."""
    infos, seen = objects_below(store, prefix), set[str]()
    with ThreadPoolExecutor(_READERS) as pool:
        # So many at a time, that not all of them are in memory.
        while some := list(islice(infos, _READERS)):
            for messages in pool.map(lambda info: read_object(store, info.key), some):
                for message in messages:
                    if message.id not in seen:
                        seen.add(message.id)
                        yield message


def find(store: ObjectStore, beginning: str) -> QuarantinedMessage:
    """The message whose id begins so.

    Raises:
        ConfigurationError: none does, or more than one.
    """
    found = [message for message in messages_below(store) if message.id.startswith(beginning)]
    if not found:
        raise ConfigurationError(f"no quarantined message has an id that begins with {beginning!r}: list shows them")
    if len(found) > 1:
        raise ConfigurationError(
            f"{len(found)} quarantined messages have an id that begins with {beginning!r}, as {found[0].id} and "
            f"{found[1].id}: give more of it"
        )
    return found[0]
