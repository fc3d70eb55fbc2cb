"""The reading side: the group's consumer, where each partition's chain ends, and what the broker still has."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from archive_ticks.parsing import Message
from archive_ticks.settings import RollSettings
from archive_ticks.writing import STAGE
from ticklake import logs
from ticklake.errors import ConfigurationError, IntegrityError, StageError
from ticklake.kafka import make_consumer, translated_errors
from ticklake.ledger import chain_ends
from ticklake.names import LiveNames
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings

log = logs.get(__name__)

_EMPTY_LOOKBACK = timedelta(days=2)
"""How far back to look for a chain of a partition whose log never held anything: there should be none."""
_SHORT_LOG_SECONDS = 5.0
"""A broker that has just started can say for a moment that its log ends earlier than it does."""
_KNOW_SECONDS = 5.0


@dataclass(frozen=True)
class Bounds:
    """What the broker has of a partition."""

    begin: int
    end: int
    """Offset of the message to come."""
    first_time: datetime | None
    """The broker's time of the first message; None for an empty log."""


class Reader(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """A member of the archive's group.

    Newly assigned partitions stay paused until `start` says from where to read them. Kafka's committed offsets are
    written for monitoring and never read. The listener's methods run on the client's own thread, but only while
    `poll` waits for them, so the two never run at the same time.
    """

    def __init__(
        self, kafka: KafkaSettings, live: LiveNames, limits: RollSettings, resume_at: Callable[[int], int | None]
    ) -> None:
        """Prepare to join the group, which the first `poll` does.

        Args:
            resume_at: the offset that a partition which stays with this member is to go on from, None for a new one.

        Raises:
            StageError: the broker does not answer.
        """
        self._kafka, self._topic, self._resume_at = kafka, live.topic, resume_at
        self.assigned: frozenset[int] = frozenset()
        self.joined = False
        """Whether the group has assigned partitions to this member, be it none, and no rebalance is under way."""
        self._held = False
        self._options = {
            "group_id": live.archive_group, "metadata_max_age_ms": 30_000,
            "session_timeout_ms": int(limits.session_timeout_seconds * 1000),
            "heartbeat_interval_ms": int(limits.session_timeout_seconds * 1000 / 4),
        }  # fmt: skip
        self._consumer = self._subscribed()

    def _subscribed(self) -> Any:
        consumer = make_consumer(self._kafka, STAGE, **self._options)
        consumer.subscribe([self._topic], listener=self)
        self._know_partitions(consumer)
        return consumer

    def _know_partitions(self, consumer: Any) -> None:
        # A leader that does not know the topic's partitions yet gives everyone none, and joins again once it does: a
        # needless rebalance, and one of those whose answer the library can lose (see `archive_ticks.group`). Asking
        # for an offset is the way to wait for what it knows that has a time limit.
        try:
            consumer.end_offsets([TopicPartition(self._topic, 0)], timeout_ms=int(_KNOW_SECONDS * 1000))
        except kafka_errors.KafkaError as error:
            log.debug("the partitions are not known yet", error=str(error))

    @property
    def member_id(self) -> str:
        """This member's id in the group; empty before the broker has given it one."""
        return str(self._consumer.group_metadata().member_id)

    def rejoin(self, seconds: float) -> None:
        """Leave the group, as far as the broker answers in time, and start over as a new member without partitions.

        Raises:
            StageError: the broker does not answer; the old membership is kept.
        """
        former, self._consumer = self._consumer, self._subscribed()
        self.assigned, self.joined = frozenset(), False
        _close(former, seconds)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002
        """Stop nothing: what is no longer assigned afterwards is dropped then, and no write depends on it."""
        self.joined = False

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Set a position for each partition, so that Kafka's committed one is never used."""
        for place in assigned:
            resume = self._resume_at(place.partition)
            self._consumer.seek(place, resume or 0)
            if resume is None or self._held:
                self._consumer.pause(place)
        self.assigned, self.joined = frozenset(place.partition for place in assigned), True

    def poll(self, seconds: float) -> Mapping[int, Sequence[Message]]:
        """Messages by partition.

        Raises:
            StageError: reading failed; polling again may help.
            ConfigurationError: the broker refuses this client.
            IntegrityError: a position is outside the log, or the log was cut behind it.
        """
        try:
            with translated_errors(self._kafka, f"let the archive read {self._topic}"):
                found = self._consumer.poll(timeout_ms=int(seconds * 1000))
        except StageError as error:
            if isinstance(error.__cause__, kafka_errors.OffsetOutOfRangeError | kafka_errors.LogTruncationError):
                raise IntegrityError(f"{self._topic}: the log does not hold what is due: {error.__cause__}") from error
            raise
        for place, messages in found.items():
            if messages[0].timestamp_type != 1:
                raise ConfigurationError(
                    f"topic {place.topic} does not stamp messages itself: set message.timestamp.type=LogAppendTime"
                )
        return {place.partition: messages for place, messages in found.items()}

    def start(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` on."""
        place = TopicPartition(self._topic, partition)
        self._consumer.seek(place, offset)
        if not self._held:
            self._consumer.resume(place)

    def hold(self, held: bool, ready: Collection[int]) -> None:
        """Stop or go on reading; of the partitions that go on, only those that are `ready`."""
        if held != self._held:
            self._held = held
            places = [TopicPartition(self._topic, partition) for partition in ready]
            (self._consumer.pause if held else self._consumer.resume)(*places)

    def commit(self, partition: int, next_offset: int) -> None:
        """Tell the group's monitoring how far the archive is; that this fails is no error."""
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

    def close(self, seconds: float) -> None:
        """Leave the group."""
        _close(self._consumer, seconds)

    def ends(self, partitions: Collection[int], seconds: float) -> dict[int, int]:
        """Offset of the message to come, per partition.

        Raises:
            StageError: the broker does not answer.
        """
        places = [TopicPartition(self._topic, partition) for partition in partitions]
        with translated_errors(self._kafka, f"say where {self._topic} ends"):
            found = self._consumer.end_offsets(places, timeout_ms=int(seconds * 1000)) if places else {}
        return {place.partition: offset for place, offset in found.items()}

    def bounds(self, partitions: Collection[int], seconds: float) -> dict[int, Bounds]:
        """What the broker has of each partition.

        Raises:
            StageError: the broker does not answer.
        """
        places = [TopicPartition(self._topic, partition) for partition in partitions]
        milliseconds = int(seconds * 1000)
        with translated_errors(self._kafka, f"say what it has of {self._topic}"):
            begins = self._consumer.beginning_offsets(places, timeout_ms=milliseconds)
            firsts = self._consumer.offsets_for_times(dict.fromkeys(places, 0), timeout_ms=milliseconds)
        ends = self.ends(partitions, seconds)
        times = {
            place.partition: datetime.fromtimestamp(found.timestamp / 1000, UTC)
            for place, found in firsts.items() if found is not None and found.timestamp >= 0
        }  # fmt: skip
        return {p.partition: Bounds(begins[p], ends[p.partition], times.get(p.partition)) for p in places}


def _close(consumer: Any, seconds: float) -> None:
    try:
        consumer.close(autocommit=False, timeout_ms=int(seconds * 1000))
    except kafka_errors.KafkaError as error:
        log.debug("leaving the group failed", error=str(error))


def locate(
    store: ObjectStore, live: LiveNames, topic_id: str, partitions: Collection[int],
    ask: Callable[[Collection[int]], Mapping[int, Bounds]],
) -> dict[int, int]:  # fmt: skip
    """Where to read each partition from: after its chain's end, or from its log's beginning where it has no chain.

    Args:
        ask: what the broker has of the partitions.

    Raises:
        StageError: store or broker do not answer.
        IntegrityError: the log no longer reaches back to the chain's end, or ends before it.
    """
    bounds = ask(partitions)
    ends = chain_ends(store, live, topic_id, {p: _cannot_end_before(found) for p, found in bounds.items()})
    starts: dict[int, int] = {}
    deadline = time.monotonic() + _SHORT_LOG_SECONDS
    for partition, found in bounds.items():
        where = f"{live.topic} partition {partition}"
        if partition not in ends:
            starts[partition] = found.begin
            if found.begin > 0:
                log.warning("no chain in the store, and the log has lost its beginning", partition=partition,
                            first_offset=found.begin)  # fmt: skip
            continue
        start = starts[partition] = ends[partition].last_offset + 1
        if found.begin > start:
            raise IntegrityError(
                f"{where}: offsets {start}-{found.begin - 1} were never archived and are gone from the log; "
                "raise its retention.ms, and create the topic anew to begin a new chain"
            )
        while found.end < start:
            if time.monotonic() > deadline:
                raise IntegrityError(
                    f"{where}: archived up to offset {start - 1}, but the log ends at {found.end - 1}: "
                    "the broker has lost messages; create the topic anew to begin a new chain"
                )
            time.sleep(0.5)
            found = ask([partition])[partition]
    return starts


def _cannot_end_before(bounds: Bounds) -> datetime | None:
    """The time before which a partition's chain cannot end; None if the log does not tell."""
    if bounds.begin > 0:
        return None
    return bounds.first_time or datetime.now(UTC) - _EMPTY_LOOKBACK
