"""Offset arithmetic: the messages of one partition to contiguous ranges, each within one hour of the broker's clock.

Not every offset has a message: marks of transactions take offsets, messages of aborted ones are not delivered, and
compaction and retention remove some. What is absent within a range is noted in it; what is absent before a range's
first message is a range of its own, filed under the time of the message before. So the key of each range is a function
of the log and its first offset, whoever writes it and however far that one had read.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from archive_ticks.parsing import Invalid, Message, parse
from archive_ticks.settings import RollSettings
from ticklake.errors import IntegrityError
from ticklake.ledger import LedgerRange, chain_start_key, range_key, spans
from ticklake.ledger_table import SCHEMA, absent_spans, checksum, parquet_bytes, sort
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
    lost: bool = False
    """See `LedgerRange.lost`."""
    starts_chain: bool = False
    """Whether nothing of the partition was archived before it, as far as its builder knows."""

    @property
    def offsets(self) -> int:
        """How many it holds."""
        return self.last_offset - self.first_offset + 1


@dataclass(frozen=True)
class Encoded:
    """A range ready to be written."""

    key: str
    entry: LedgerRange
    table: pa.Table
    parquet: bytes
    chain_start_key: str | None
    """Where the chain's start is to be written first; None for all ranges but a chain's first."""


class RangeBuilder:
    """Collects the messages of one partition from `start` on.

    Args:
        last_time: append time of the last message before `start`, in milliseconds; None where a chain begins.
        future_tolerance: see `parsing.parse`.
    """

    def __init__(
        self,
        partition: int,
        start: int,
        limits: RollSettings,
        last_time: int | None = None,
        future_tolerance: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.partition = partition
        self.next_offset = start
        """Offset of the message to come."""
        self.open: Range | None = None
        self._last_time, self._idle_since = last_time, clock()
        self._limits, self._future_tolerance, self._clock = limits, future_tolerance, clock

    @property
    def size(self) -> int:
        """Bytes of the messages it holds."""
        return self.open.size if self.open else 0

    def add(self, messages: Sequence[Message]) -> list[Range]:
        """Take the next messages, in order; returns the ranges that they complete, in order.

        Raises:
            IntegrityError: an offset is repeated.
        """
        sealed: list[Range] = []
        due = self.next_offset
        for message in messages:
            if message.offset < due:
                raise IntegrityError(
                    f"partition {self.partition}: the broker delivered offset {message.offset} where {due} was due"
                )
            due = message.offset + 1
        for run in _same_hour(messages):
            if self.open and self.open.first_time // _HOUR_MS != run[0].timestamp // _HOUR_MS:
                sealed += self.seal()
            if self.open is None:
                sealed += self.pass_over(run[0].offset)
            self._extend(run)
            if self.open and (self.open.offsets >= self._limits.roll_rows or self.open.size >= self._limits.roll_bytes):
                sealed += self.seal()
        return sealed

    def pass_over(self, end: int, *, lost: bool = False) -> list[Range]:
        """Go on at `end`, as the offsets before it have no message; no range may be open.

        Args:
            lost: see `LedgerRange.lost`.

        Returns:
            the range that they are, if any; a chain that begins, begins at `end`.
        """
        first, self.next_offset = self.next_offset, end
        if first == end or self._last_time is None:
            return []
        time = self._last_time
        return [Range(self.partition, first, time, self._clock(), last_offset=end - 1, last_time=time, lost=lost)]

    def seal(self) -> list[Range]:
        """End the open range and return it; nothing if there is none."""
        sealed, self.open = self.open, None
        self._idle_since = self._clock()
        return [sealed] if sealed else []

    def seal_if_old(self, position: int) -> list[Range]:
        """End the open range if its first message has waited long enough.

        Args:
            position: offset that is read next. Where nothing has come for as long, what is absent before it is a range:
                retention could remove it, and then nobody knew any more that it was no message.
        """
        since = self.open.opened if self.open else self._idle_since
        if self._clock() - since < self._limits.roll_seconds:
            return []
        return self.seal() if self.open else self.pass_over(max(position, self.next_offset))

    def _extend(self, run: Sequence[Message]) -> None:
        if self.open is None:
            starts_chain = self._last_time is None
            self.open = Range(self.partition, run[0].offset, run[0].timestamp, self._clock(), starts_chain=starts_chain)
        batch, invalid = parse(self.partition, run, self._future_tolerance)
        self.open.batches.append(batch)
        self.open.invalid += invalid
        self.open.size += sum(len(message.value or b"") for message in run)
        self.open.last_offset = run[-1].offset
        self.open.last_time = self._last_time = run[-1].timestamp
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
    invalid = [message.offset for message in sealed.invalid]
    there = np.concatenate([table["offset"].to_numpy(), np.array(invalid, np.int64)])
    entry = LedgerRange(
        topic=live.topic,
        topic_id=topic_id,
        partition=sealed.partition,
        first_offset=sealed.first_offset,
        last_offset=sealed.last_offset,
        rows=table.num_rows,
        invalid_rows=len(sealed.invalid),
        invalid=spans(invalid),
        absent_rows=sealed.offsets - table.num_rows - len(sealed.invalid),
        absent=absent_spans(sealed.first_offset, sealed.last_offset, there),
        lost=sealed.lost,
        checksum=checksum(table),
        first_append_time=first_time,
        last_append_time=last_time,
        least_event_time=least,
        greatest_event_time=greatest,
    )
    key = range_key(live, topic_id, sealed.partition, sealed.first_offset, first_time)
    start_key = chain_start_key(live, topic_id, sealed.partition) if sealed.starts_chain else None
    return Encoded(key, entry, table, parquet_bytes(table, entry), start_key)


def _extremes(table: pa.Table) -> tuple[datetime | None, datetime | None]:
    import pyarrow.compute as pc

    found = pc.min_max(table["event_time"]).as_py()
    return found["min"], found["max"]


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
