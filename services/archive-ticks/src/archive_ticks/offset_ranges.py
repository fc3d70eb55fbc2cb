"""Offset arithmetic: the messages of one partition to contiguous ranges, each within one hour of the broker's clock."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from archive_ticks.parsing import Invalid, Message, parse
from archive_ticks.settings import RollSettings
from ticklake.errors import IntegrityError
from ticklake.ledger import LedgerRange, range_key, spans
from ticklake.ledger_table import SCHEMA, checksum, parquet_bytes, sort
from ticklake.topics import LiveNames

_HOUR_MS = 3_600_000


@dataclass
class Range:
    """A contiguous offset range of one partition, growing until it is sealed."""

    partition: int
    first_offset: int
    first_time: int
    """The broker's time of the first message, in milliseconds since 1970."""
    opened: float
    """When the first message was read, by this process's monotonic clock."""
    last_offset: int = -1
    last_time: int = -1
    batches: list[pa.RecordBatch] = field(default_factory=list)
    invalid: list[Invalid] = field(default_factory=list)
    size: int = 0
    """Bytes of the messages' values."""

    @property
    def messages(self) -> int:
        """How many offsets it holds."""
        return self.last_offset - self.first_offset + 1


@dataclass(frozen=True)
class Encoded:
    """A range ready to be written."""

    key: str
    entry: LedgerRange
    table: pa.Table
    parquet: bytes


class RangeBuilder:
    """Collects the messages of one partition from `start` on.

    Args:
        future_tolerance: see `parsing.parse`.
    """

    def __init__(
        self,
        partition: int,
        start: int,
        limits: RollSettings,
        future_tolerance: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.partition = partition
        self.next_offset = start
        """Offset of the message to come."""
        self.open: Range | None = None
        self._limits, self._future_tolerance, self._clock = limits, future_tolerance, clock

    @property
    def size(self) -> int:
        """Bytes of the messages it holds."""
        return self.open.size if self.open else 0

    def add(self, messages: Sequence[Message]) -> list[Range]:
        """Take the next messages, in order; returns the ranges that they complete, in order.

        Raises:
            IntegrityError: an offset is missing or repeated.
        """
        sealed: list[Range] = []
        for run in _same_hour(messages):
            for position, message in enumerate(run):
                if message.offset != self.next_offset + position:
                    raise IntegrityError(
                        f"partition {self.partition}: the broker delivered offset {message.offset} where "
                        f"{self.next_offset + position} was due: the topic must be neither compacted nor written "
                        "in transactions"
                    )
            if self.open and self.open.first_time // _HOUR_MS != run[0].timestamp // _HOUR_MS:
                sealed += self.seal()
            self._extend(run)
            if self.open and (
                self.open.messages >= self._limits.roll_rows or self.open.size >= self._limits.roll_bytes
            ):
                sealed += self.seal()
        return sealed

    def seal(self) -> list[Range]:
        """End the open range and return it; nothing if there is none."""
        sealed, self.open = self.open, None
        return [sealed] if sealed else []

    def seal_if_old(self) -> list[Range]:
        """End the open range if its first message has waited long enough."""
        if self.open and self._clock() - self.open.opened >= self._limits.roll_seconds:
            return self.seal()
        return []

    def _extend(self, run: Sequence[Message]) -> None:
        if self.open is None:
            self.open = Range(self.partition, run[0].offset, run[0].timestamp, self._clock())
        batch, invalid = parse(self.partition, run, self._future_tolerance)
        self.open.batches.append(batch)
        self.open.invalid += invalid
        self.open.size += sum(len(message.value or b"") for message in run)
        self.open.last_offset, self.open.last_time = run[-1].offset, run[-1].timestamp
        self.next_offset = run[-1].offset + 1


def _same_hour(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    start = 0
    for position in range(1, len(messages) + 1):
        ended = position == len(messages)
        if ended or messages[position].timestamp // _HOUR_MS != messages[start].timestamp // _HOUR_MS:
            yield messages[start:position]
            start = position


def encode(sealed: Range, live: LiveNames, topic_id: str) -> Encoded:
    """The object of a sealed range: a range without one valid row still has one."""
    table = sort(pa.Table.from_batches(sealed.batches, schema=SCHEMA))
    first_time, last_time = _utc(sealed.first_time), _utc(sealed.last_time)
    least, greatest = _extremes(table)
    entry = LedgerRange(
        topic=live.topic,
        topic_id=topic_id,
        partition=sealed.partition,
        first_offset=sealed.first_offset,
        last_offset=sealed.last_offset,
        rows=table.num_rows,
        invalid_rows=len(sealed.invalid),
        invalid=spans(message.offset for message in sealed.invalid),
        checksum=checksum(table),
        first_append_time=first_time,
        last_append_time=last_time,
        least_event_time=least,
        greatest_event_time=greatest,
    )
    key = range_key(live, topic_id, sealed.partition, sealed.first_offset, first_time)
    return Encoded(key, entry, table, parquet_bytes(table, entry))


def _extremes(table: pa.Table) -> tuple[datetime | None, datetime | None]:
    import pyarrow.compute as pc

    found = pc.min_max(table["event_time"]).as_py()
    return found["min"], found["max"]


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
