"""The archive's ranges that a table does not have yet, in the order of their chains."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

import pyarrow as pa

from tick_bars.table_progress import End, Ends, merged
from ticklake import ledger, ledger_table
from ticklake.errors import IntegrityError, StageError
from ticklake.ledger import LedgerRange, RangeKey
from ticklake.objects import ObjectStore
from ticklake.topics import LiveNames, live_retention_days

ROWS_PER_PART = 500_000
"""Ranges per commit, and one more at most; the work on them takes about 400 MB."""
_HOUR = timedelta(hours=1)
_HOURS_LISTED = 24
"""Listed together, so that a long archive does not have to be held in memory as a whole."""


@dataclass(frozen=True)
class Found:
    """One range of the archive with its rows."""

    entry: LedgerRange
    ticks: pa.Table
    """As `ledger_table.SCHEMA`."""
    before: End | None
    """Up to where the table had the chain; None for its first range."""
    lost: tuple[int, int] | None = None
    """First and last offset of those that the archive lacks before this range."""

    @property
    def end(self) -> End:
        """Where the chain goes on."""
        return End(offset=self.entry.last_offset + 1, append_time=self.entry.last_append_time)


@dataclass
class Part:
    """Ranges that go into one commit."""

    ranges: list[Found] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Ticks in all."""
        return sum(each.ticks.num_rows for each in self.ranges)


def parts(store: ObjectStore, live: LiveNames, ends: Ends, last: datetime) -> Iterator[Part]:
    """What came after `ends` and arrived up to the end of the hour that begins at `last`.

    Raises:
        IntegrityError: an object is damaged, or holds offsets that another one holds too.
    """
    hours = _hours(store, live, ends, last)
    for place in range(0, len(hours), _HOURS_LISTED):
        part = Part()
        for found in _ranges(store, live, ends, hours[place : place + _HOURS_LISTED]):
            ends = merged(ends, {found.entry.topic_id: {found.entry.partition: found.end}})
            part.ranges.append(found)
            if part.rows >= ROWS_PER_PART:
                yield part
                part = Part()
        if part.ranges:
            yield part


def _hours(store: ObjectStore, live: LiveNames, ends: Ends, last: datetime) -> list[datetime]:
    """The hours of arrival to look at, in order; of a flow that is new all that there are."""
    known = [end.append_time for topic in ends.values() for end in topic.values()]
    if not known:
        return sorted(hour for folder in ledger.hours(store, live) if (hour := ledger.hour_of(folder)) <= last)
    # A partition can have been silent for long; what the topic no longer holds will not come any more.
    oldest = max(min(known), last - timedelta(days=2 * live_retention_days()))
    first = oldest.replace(minute=0, second=0, microsecond=0)
    return [first + number * _HOUR for number in range(int((last - first) / _HOUR) + 1)]


def _ranges(store: ObjectStore, live: LiveNames, ends: Ends, hours: list[datetime]) -> Iterator[Found]:
    starts = {(ledger.short_id(topic), number): end for topic, own in ends.items() for number, end in own.items()}
    for key in _listed(store, live, starts, hours):
        place = key.topic_id, key.partition
        before = starts.get(place)
        entry, ticks = ledger_table.read_object(store, key.key)
        if (ledger.short_id(entry.topic_id), entry.partition, entry.first_offset) != (*place, key.first_offset):
            raise IntegrityError(f"{key.key} holds {entry.topic_id} p{entry.partition} from {entry.first_offset}")
        if before is not None and entry.first_offset < before.offset:
            ledger.check_chain([entry.model_copy(update={"first_offset": 0, "last_offset": before.offset - 1}), entry])
        lost = None
        if before is not None and entry.first_offset > before.offset:
            lost = _lost(store, live, hours, key, before.offset)
        found = Found(entry, ticks, before, lost)
        starts[place] = found.end
        yield found


def _lost(
    store: ObjectStore, live: LiveNames, hours: list[datetime], key: RangeKey, start: int
) -> tuple[int, int] | None:
    """The offsets from `start` on that the archive lacks before the range at `key`."""
    chain = [each for each in _listed(store, live, {}, hours) if each.topic_id == key.topic_id]
    earlier = [each for each in chain if each.partition == key.partition and each.first_offset < key.first_offset]
    if earlier and earlier[-1].first_offset >= start:
        raise StageError(f"{key.key} was listed before the range that it follows: the archive catches up; try again")
    # Where only the rows show how far the table is, the end of its last range can be without any.
    last = ledger.read_range(store, earlier[-1].key) if earlier else None
    first = max(start, last.last_offset + 1) if last is not None else start
    return (first, key.first_offset - 1) if first < key.first_offset else None


def _listed(
    store: ObjectStore, live: LiveNames, starts: dict[tuple[str, int], End], hours: list[datetime]
) -> list[RangeKey]:
    """Keys of the hours' ranges that are not done yet, partitions in turn by hour, each chain in its order."""
    found: list[RangeKey] = []
    # One hour more at both ends, as the clocks of two brokers can differ: behind a range of a later hour a chain is
    # not followed. Newest first: what was written meanwhile comes after what is then still to be listed.
    for hour in (hours[-1] + _HOUR, *reversed(hours), hours[0] - _HOUR):
        for each in store.list_objects(ledger.hour_prefix(live, hour)):
            key = RangeKey.parse(each.key)
            if key is None or not each.key.endswith(".parquet"):
                continue
            start = starts.get((key.topic_id, key.partition))
            if start is None or key.first_offset >= start.offset:
                found.append(key)
    ordered: list[tuple[datetime, RangeKey]] = []
    for _, chain in groupby(sorted(found, key=_chain_place), key=lambda key: (key.topic_id, key.partition)):
        latest = hours[0]
        for key in chain:
            latest = max(latest, key.time.replace(minute=0, second=0))
            if latest > hours[-1]:
                break
            ordered.append((latest, key))
    return [key for _, key in sorted(ordered, key=lambda item: (item[0], *_chain_place(item[1])))]


def _chain_place(key: RangeKey) -> tuple[str, int, int]:
    return key.topic_id, key.partition, key.first_offset
