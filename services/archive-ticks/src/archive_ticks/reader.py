"""The reading side: the group's consumer, where each partition's chain ends, and what the broker still has."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from archive_ticks.range_writer import STAGE
from archive_ticks.settings import RollSettings
from ticklake import logs
from ticklake.errors import IntegrityError
from ticklake.group_consumer import GroupReader
from ticklake.kafka import translated_errors
from ticklake.ledger import LedgerRange, chain_ends, chain_start_key, read_chain_start
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings
from ticklake.topics import LiveNames

log = logs.get(__name__)

_EMPTY_LOOKBACK = timedelta(days=2)
"""How far back to look for a chain of a partition whose log never held anything: there should be none."""
_SHORT_LOG_SECONDS = 5.0
"""A broker that has just started can say for a moment that its log ends earlier than it does."""


@dataclass(frozen=True)
class Bounds:
    """What the broker has of a partition."""

    begin: int
    end: int
    """Offset of the message to come."""
    first_time: datetime | None
    """The broker's time of the first message; None for an empty log."""


class Reader(GroupReader):
    """A member of the archive's group. Kafka's committed offsets are written for monitoring and never read."""

    def __init__(
        self, kafka: KafkaSettings, live: LiveNames, limits: RollSettings, resume_at: Callable[[int], int | None]
    ) -> None:
        """As `GroupReader`."""
        super().__init__(
            kafka,
            topic=live.topic,
            group=live.archive_group,
            client=STAGE,
            session_seconds=limits.session_timeout_seconds,
            resume_at=resume_at,
        )

    @property
    def member_id(self) -> str:
        """This member's id in the group; empty before the broker has given it one."""
        return str(self._consumer.group_metadata().member_id)

    def commit(self, partition: int, next_offset: int) -> None:
        """Commit how far the archive is, for the group's monitoring; that this fails is no error."""
        offsets = {TopicPartition(self._topic, partition): OffsetAndMetadata(next_offset, "", -1)}
        try:
            self._consumer.commit_async(offsets, callback=lambda *_: None)
        except kafka_errors.KafkaError as error:
            log.debug("commit failed", error=str(error))

    def commit_and_close(self, offsets: Mapping[int, int], seconds: float) -> None:
        """Commit for the last time and leave the group, both as far as the broker answers in time."""
        final = {TopicPartition(self._topic, p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()}
        try:
            if final:
                self._consumer.commit(final, timeout_ms=int(seconds * 500))
        except (kafka_errors.KafkaError, AssertionError) as error:
            log.debug("commit failed", error=str(error))
        self.close(seconds / 2)

    def bounds(self, partitions: Collection[int], seconds: float) -> dict[int, Bounds]:
        """What the broker has of each partition.

        Raises:
            StageError: the broker does not answer.
        """
        places = [TopicPartition(self._topic, partition) for partition in partitions]
        milliseconds = int(seconds * 1000)
        with translated_errors(self._kafka, f"read the offsets of {self._topic}"):
            begins = self._consumer.beginning_offsets(places, timeout_ms=milliseconds)
            firsts = self._consumer.offsets_for_times(dict.fromkeys(places, 0), timeout_ms=milliseconds)
        ends = self.ends(partitions, seconds)
        times = {
            place.partition: datetime.fromtimestamp(found.timestamp / 1000, UTC)
            for place, found in firsts.items()
            if found is not None and found.timestamp >= 0
        }
        return {p.partition: Bounds(begins[p], ends[p.partition], times.get(p.partition)) for p in places}


@dataclass(frozen=True)
class Start:
    """Where a partition's chain goes on."""

    offset: int
    begin: int
    """Where the log begins if that is later: a person has accepted that what is between is lost."""
    last_append_time: datetime | None = None
    """Of the message before `offset`, or of the chain's first where only its start is written; None without a chain."""


def locate(
    store: ObjectStore,
    live: LiveNames,
    topic_id: str,
    partitions: Collection[int],
    ask: Callable[[Collection[int]], Mapping[int, Bounds]],
    accepted_gaps: Collection[str] = (),
) -> dict[int, Start | IntegrityError]:
    """Where to read each partition from: after its chain's end, or from its log's beginning where it has no chain.

    Args:
        ask: what the broker has of the partitions.
        accepted_gaps: see `RollSettings.accepted_gaps`.

    Returns:
        for each partition its start, or why it has none: the log no longer reaches back to the chain's end, or ends
        before it, or the chain cannot be read.

    Raises:
        StageError: store or broker do not answer.
    """
    bounds = ask(partitions)
    ends = chain_ends(store, live, topic_id, {p: _cannot_end_before(found) for p, found in bounds.items()})
    starts: dict[int, Start | IntegrityError] = {}
    deadline = time.monotonic() + _SHORT_LOG_SECONDS
    for partition, found in bounds.items():
        try:
            start, last_append_time = _chain_goes_on(store, live, topic_id, partition, ends.get(partition))
        except IntegrityError as error:
            starts[partition] = error
            continue
        if start is None:
            starts[partition] = Start(found.begin, found.begin)
            if found.begin > 0:
                log.warning(
                    "no chain in the store, and the log has lost its beginning",
                    partition=partition,
                    first_offset=found.begin,
                )
            continue
        while found.end < start and time.monotonic() < deadline:
            time.sleep(0.5)
            found = ask([partition])[partition]
        where, gap = f"{live.topic} partition {partition}", f"{partition}:{start}"
        if found.end < start:
            starts[partition] = IntegrityError(
                f"{where}: archived up to offset {start - 1}, but the log ends at {found.end - 1}: "
                "the broker has lost messages; recreate the topic to begin a new chain"
            )
        elif found.begin > start and gap not in accepted_gaps:
            starts[partition] = IntegrityError(
                f"{where}: offsets {start}-{found.begin - 1} were never archived and are gone from the log: raise its "
                f"retention.ms; set TICKLAKE_ARCHIVE_ACCEPTED_GAPS={gap} to go on at offset {found.begin} without them"
            )
        else:
            starts[partition] = Start(start, max(start, found.begin), last_append_time)
    return starts


def _chain_goes_on(
    store: ObjectStore, live: LiveNames, topic_id: str, partition: int, end: LedgerRange | IntegrityError | None
) -> tuple[int, datetime] | tuple[None, None]:
    """The offset that is next in a partition's chain and the time to file its absence under; None without a chain.

    A chain whose start was claimed, but whose first range was not written, goes on at its start: whatever is there now
    gets the key that the first range would have had.
    """
    if isinstance(end, IntegrityError):
        raise end
    if end is not None:
        return end.last_offset + 1, end.last_append_time
    start = read_chain_start(store, chain_start_key(live, topic_id, partition), topic_id, partition)
    return (None, None) if start is None else (start.first_offset, start.first_append_time)


def _cannot_end_before(bounds: Bounds) -> datetime | None:
    """The time before which a partition's chain cannot end; None if the log does not show it."""
    if bounds.begin > 0:
        return None
    return bounds.first_time or datetime.now(UTC) - _EMPTY_LOOKBACK
