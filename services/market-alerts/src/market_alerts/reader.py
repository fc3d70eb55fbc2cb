"""The reading side: the group's consumer of live ticks, where to begin, what to commit."""

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from ticklake import logs
from ticklake.errors import IntegrityError, StageError
from ticklake.kafka import make_consumer, translated_errors
from ticklake.names import LiveNames
from ticklake.settings import KafkaSettings

log = logs.get(__name__)

_KNOW_SECONDS = 5.0


@dataclass(frozen=True)
class Position:
    """How far a partition is evaluated, as it is committed: the offset, and the rest as the commit's metadata."""

    offset: int
    alerts_from: int | None
    """On the alerts topic: whatever was raised by ticks from `offset` on stands here or later; None if unknown."""
    silent_until: int = 0
    """Ticks before this offset raise nothing: they came before the first start."""

    @property
    def metadata(self) -> str:
        """What goes beside the offset."""
        return json.dumps({"alerts_from": self.alerts_from, "silent_until": self.silent_until})

    @classmethod
    def of(cls, offset: int, metadata: str) -> "Position":
        """The position that was committed; other programs commit without our metadata."""
        try:
            known = json.loads(metadata)
            return cls(offset, known["alerts_from"], known["silent_until"])
        except (ValueError, KeyError, TypeError):
            return cls(offset, None)


@dataclass(frozen=True)
class Begin:
    """Where to read a partition from."""

    position: Position
    end: int
    """Offset of the next message that will be written."""
    first_start: bool = False


class Reader(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """A member of the alerts' group.

    Newly assigned partitions stay paused until `start` says from where to read them. The listener's methods run on the
    client's own thread, but only while `poll` waits for them, so the two never run at the same time.
    """

    def __init__(
        self, kafka: KafkaSettings, live: LiveNames, session_seconds: float, resume_at: Callable[[int], int | None]
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
        self._options = {
            "group_id": live.alerts_group, "metadata_max_age_ms": 30_000,
            "session_timeout_ms": int(session_seconds * 1000), "heartbeat_interval_ms": int(session_seconds * 250),
        }  # fmt: skip
        self._consumer = self._subscribed()

    def _subscribed(self) -> Any:
        consumer = make_consumer(self._kafka, "market-alerts", **self._options)
        consumer.subscribe([self._topic], listener=self)
        # A leader that does not know the topic's partitions yet gives everyone none. Asking for an offset is the way
        # to wait for what it knows that has a time limit.
        try:
            consumer.end_offsets([TopicPartition(self._topic, 0)], timeout_ms=int(_KNOW_SECONDS * 1000))
        except kafka_errors.KafkaError as error:
            log.debug("the partitions are not known yet", error=str(error))
        return consumer

    def rejoin(self, seconds: float) -> None:
        """Leave the group, as far as the broker answers in time, and start over as a new member without partitions.

        The client library can drop the answer to its join, and never asks again.

        Raises:
            StageError: the broker does not answer; the old membership is kept.
        """
        former, self._consumer = self._consumer, self._subscribed()
        self.assigned, self.joined = frozenset(), False
        _close(former, seconds)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002
        """Stop nothing: the next owner evaluates again what was not committed, and makes the same alerts of it."""
        self.joined = False

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Set a position for each partition; new ones wait for `start`."""
        for place in assigned:
            resume = self._resume_at(place.partition)
            self._consumer.seek(place, resume or 0)
            if resume is None:
                self._consumer.pause(place)
        self.assigned, self.joined = frozenset(place.partition for place in assigned), True

    def poll(self, seconds: float) -> Mapping[int, Sequence[Any]]:
        """Messages by partition.

        Raises:
            StageError: reading failed; polling again may help.
            IntegrityError: a position is outside the log.
        """
        try:
            with translated_errors(self._kafka, f"let {self._topic} be read"):
                found = self._consumer.poll(timeout_ms=int(seconds * 1000))
        except StageError as error:
            if isinstance(error.__cause__, kafka_errors.OffsetOutOfRangeError | kafka_errors.LogTruncationError):
                raise IntegrityError(f"{self._topic}: the log does not hold what is due: {error.__cause__}") from error
            raise
        return {place.partition: records for place, records in found.items()}

    def locate(self, partition: int, warm_up_seconds: float) -> Begin:
        """Where to read `partition` from: the committed offset, or so far back where there is none.

        Raises:
            StageError: the broker does not answer.
        """
        place, milliseconds = TopicPartition(self._topic, partition), int(self._kafka.timeout_seconds * 1000)
        with translated_errors(self._kafka, f"say where to read {self._topic} from"):
            committed = self._consumer.committed(place, metadata=True, timeout_ms=milliseconds)
            first = self._consumer.beginning_offsets([place], timeout_ms=milliseconds)[place]
            end = self._consumer.end_offsets([place], timeout_ms=milliseconds)[place]
            if committed is not None and committed.offset >= 0:
                position = Position.of(committed.offset, committed.metadata)
                if first <= committed.offset <= end:
                    return Begin(position, end)
                # Retention removed them while the service was away, or the topic is another one by now.
                log.warning("the committed offset is not in the log: begins at the log's beginning",
                            partition=partition, committed=committed.offset, first=first, end=end)  # fmt: skip
                return Begin(replace(position, offset=first), end)
            since = int((time.time() - warm_up_seconds) * 1000)
            found = self._consumer.offsets_for_times({place: since}, timeout_ms=milliseconds)[place]
        return Begin(Position(end if found is None else found.offset, None, end), end, first_start=True)

    def start(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` on."""
        place = TopicPartition(self._topic, partition)
        self._consumer.seek(place, offset)
        self._consumer.resume(place)

    def commit(self, positions: Mapping[int, Position], seconds: float) -> None:
        """Commit each partition's position.

        Raises:
            StageError: the broker does not answer, or the group has given a partition to another member.
        """
        offsets = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(position.offset, position.metadata, -1)
            for partition, position in positions.items()
        }
        try:
            with translated_errors(self._kafka, "take a commit"):
                self._consumer.commit(offsets, timeout_ms=int(seconds * 1000))
        except AssertionError as error:  # the library's word for a member without a group
            raise StageError("commit failed: this process is not in its group") from error

    def ends(self, partitions: Collection[int], seconds: float) -> dict[int, int]:
        """Offset of the message to come, per partition.

        Raises:
            StageError: the broker does not answer.
        """
        places = [TopicPartition(self._topic, partition) for partition in partitions]
        with translated_errors(self._kafka, f"say where {self._topic} ends"):
            found = self._consumer.end_offsets(places, timeout_ms=int(seconds * 1000)) if places else {}
        return {place.partition: offset for place, offset in found.items()}

    def close(self, seconds: float) -> None:
        """Leave the group."""
        _close(self._consumer, seconds)


def _close(consumer: Any, seconds: float) -> None:
    try:
        consumer.close(autocommit=False, timeout_ms=int(seconds * 1000))
    except kafka_errors.KafkaError as error:
        log.debug("leaving the group failed", error=str(error))
