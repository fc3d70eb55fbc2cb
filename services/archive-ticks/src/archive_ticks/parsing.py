"""Messages of the live topic to columns: each is validated by itself, so an invalid one never stops its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from ticklake.kafka import Headers
from ticklake.ledger_table import SCHEMA
from ticklake.quarantine import replay_of
from ticklake.records import Tick
from ticklake.ticks import InvalidTick, read_tick


class Message(Protocol):
    """What the archive uses of a Kafka record."""

    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int:
        """The broker's append time, in milliseconds since 1970."""

    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Headers: ...  # noqa: D102


@dataclass(frozen=True)
class Invalid:
    """A message that is no tick."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    reason: str
    replay_of: str | None = None
    """See `QuarantinedMessage.replay_of`."""


def parse(
    partition: int, messages: Sequence[Message], future_tolerance: float | None = None
) -> tuple[pa.RecordBatch, list[Invalid]]:
    """The valid ticks of one partition as a batch of `SCHEMA`, and the rest.

    Args:
        future_tolerance: how far an event time may lie after the append time, in seconds; None is any distance.
    """
    ticks: list[Tick] = []
    places: list[tuple[int, int]] = []
    invalid: list[Invalid] = []
    for message in messages:
        tick = read_tick(message.key, message.value, message.timestamp, future_tolerance)
        if isinstance(tick, InvalidTick):
            invalid.append(
                Invalid(
                    message.offset,
                    message.timestamp,
                    message.key,
                    message.value,
                    tick.reason,
                    replay_of(message.headers),
                )
            )
        else:
            ticks.append(tick)
            places.append((message.offset, message.timestamp))
    columns = {
        "symbol": [tick.symbol for tick in ticks],
        "event_time": [tick.event_time for tick in ticks],
        "sequence": [tick.sequence for tick in ticks],
        "price": [tick.price for tick in ticks],
        "volume": [tick.volume for tick in ticks],
        "source": [tick.source.value for tick in ticks],
        "producer_run": [tick.producer_run for tick in ticks],
        "partition": [partition] * len(ticks),
        "offset": [offset for offset, _ in places],
        "append_time": [timestamp for _, timestamp in places],
    }
    arrays = [pa.array(columns[field.name], type=field.type) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA), invalid
