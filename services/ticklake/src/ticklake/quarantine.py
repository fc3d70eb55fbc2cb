"""What fails validation: kept with its original bytes, where it came from and why it was rejected."""

import base64
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ticklake import keys, topics
from ticklake.kafka import ConfirmedProducer
from ticklake.objects import ObjectStore
from ticklake.records import UtcMs

_TOPIC_LIMIT = 900_000
"""Bytes of a message that brokers and clients take by default, with room for the headers."""
_UPLOADS = 8


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
    record_time: UtcMs | None = None
    """The record's Kafka timestamp or the fetch's time, so that a retry writes the same bytes."""

    @property
    def original(self) -> bytes:
        """The rejected bytes, unchanged."""
        return base64.b64decode(self.original_base64)

    @property
    def lake_key(self) -> str:
        """The object's key: a function of the message's position and content, so a retry writes the same one."""
        if self.topic is None:
            return keys.quarantine_row_key(self.run_id or "", self.symbol or "", self.position or 0, self.part)
        digest = hashlib.sha256(self.original).hexdigest()
        return keys.quarantine_key(self.topic, self.partition or 0, self.offset or 0, digest)

    @property
    def origin(self) -> str:
        """Where it came from, as the key in the quarantine topic, by which readers recognise a repeated one."""
        parts = (
            (self.run_id, self.symbol, self.position, *([self.part] if self.part else []))
            if self.topic is None
            else (self.topic, self.partition, self.offset)
        )
        return "/".join(map(str, parts))

    def topic_body(self) -> bytes:
        """The message for the quarantine topic: whole where it fits into a Kafka message, else without its bytes."""
        body = self.model_dump_json().encode()
        if len(body) <= _TOPIC_LIMIT:
            return body
        cut = {"original_base64": "", "key_base64": None, "reason": f"{self.reason} (original bytes: in the lake only)"}
        return self.model_copy(update=cut).model_dump_json().encode()


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
        record_time=record_time,
    )


def keep(store: ObjectStore, producer: ConfirmedProducer, messages: Sequence[QuarantinedMessage]) -> None:
    """Put `messages` into the lake and hand them to `producer`, whose caller confirms the deliveries.

    The lake has each once. The topic can have one again after a crash; its key, the origin, identifies it.
    """
    with ThreadPoolExecutor(_UPLOADS) as pool:
        # The list makes the first error come out here.
        list(pool.map(lambda each: store.put(each.lake_key, each.model_dump_json().encode()), messages))
    for message in messages:
        producer.send(topics.QUARANTINE_TOPIC, key=message.origin.encode(), value=message.topic_body())
