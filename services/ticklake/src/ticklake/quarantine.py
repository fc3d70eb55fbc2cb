"""What fails validation: kept with its original bytes, where it came from and why it was refused."""

import base64
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ticklake.records import UtcMs


class QuarantinedMessage(BaseModel):
    """A refused message or row, as it goes to the quarantine topic and below `quarantine/` in the lake."""

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
    symbol: str | None = None
    record_time: UtcMs | None = None
    """The record's Kafka timestamp or the fetch's time, so that a retry writes the same bytes."""

    @property
    def original(self) -> bytes:
        """The refused bytes, unchanged."""
        return base64.b64decode(self.original_base64)


def quarantined(
    stage: str, reason: str, original: bytes | None, *, key: bytes | None = None, topic: str | None = None,
    partition: int | None = None, offset: int | None = None, run_id: str | None = None, symbol: str | None = None,
    record_time: datetime | None = None,
) -> QuarantinedMessage:  # fmt: skip
    """Wrap what was refused by `stage`; None as `original` (a Kafka tombstone) is kept as no bytes."""
    return QuarantinedMessage(
        stage=stage, reason=reason, original_base64=base64.b64encode(original or b"").decode(),
        key_base64=None if key is None else base64.b64encode(key).decode(),
        topic=topic, partition=partition, offset=offset, run_id=run_id, symbol=symbol, record_time=record_time,
    )  # fmt: skip


def reason_of(error: ValidationError) -> str:
    """All that is wrong with a record, in one line without the refused values themselves."""
    found = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        text = item["msg"].removeprefix("Value error, ")
        found.append(f"{where}: {text}" if where else text)
    return "; ".join(found)
