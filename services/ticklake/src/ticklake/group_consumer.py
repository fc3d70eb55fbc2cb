"""A member of a consumer group that decides itself from where to read each partition."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka import errors as kafka_errors

from ticklake import logs
from ticklake.errors import IntegrityError, StageError
from ticklake.kafka import make_consumer, translated_errors
from ticklake.settings import KafkaSettings

log = logs.get(__name__)

_KNOW_SECONDS = 5.0


class PositionLostError(IntegrityError):
    """The log does not hold the messages that are to be read next."""


class GroupReader(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """A member of the group `group` that reads `topic`.

    Newly assigned partitions stay paused until `start` says from where to read them; Kafka's committed offsets are
    never used by themselves. The listener's methods run on the client's own thread, but only while `poll` waits for
    them, so the two never run at the same time.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        topic: str,
        group: str,
        client: str,
        session_seconds: float,
        resume_at: Callable[[int], int | None],
    ) -> None:
        """Prepare to join the group, which the first `poll` does.

        Args:
            client: the program's name, for the broker's logs.
            session_seconds: after so long without a sign of life the broker gives the partitions to another member.
            resume_at: the offset that a partition which stays with this member is to go on from, None for a new one.

        Raises:
            StageError: the broker does not answer.
        """
        self._kafka, self._topic, self._client, self._resume_at = kafka, topic, client, resume_at
        self.assigned: frozenset[int] = frozenset()
        self.joined = False
        """Whether the group has assigned partitions to this member, be it none, and no rebalance is under way."""
        self._held = False
        self._options = {
            "group_id": group,
            "metadata_max_age_ms": 30_000,
            "session_timeout_ms": int(session_seconds * 1000),
            "heartbeat_interval_ms": int(session_seconds * 250),
        }
        self._consumer = self._subscribed()

    def _subscribed(self) -> Any:
        consumer = make_consumer(self._kafka, self._client, **self._options)
        consumer.subscribe([self._topic], listener=self)
        self._know_partitions(consumer)
        return consumer

    def _know_partitions(self, consumer: Any) -> None:
        # A leader that does not know the topic's partitions yet gives everyone none, and joins again once it does: a
        # needless rebalance, and one of those whose answer the library can lose (see `rejoin`). Asking for an offset is
        # the way to wait for what it knows that has a time limit.
        try:
            consumer.end_offsets([TopicPartition(self._topic, 0)], timeout_ms=int(_KNOW_SECONDS * 1000))
        except kafka_errors.KafkaError as error:
            log.debug("the partitions are not known yet", error=str(error))

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
        """Stop nothing: the next owner decides itself from where to go on."""
        self.joined = False

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Set a position for each partition; new ones wait for `start`."""
        for place in assigned:
            resume = self._resume_at(place.partition)
            self._consumer.seek(place, resume or 0)
            if resume is None or self._held:
                self._consumer.pause(place)
        self.assigned, self.joined = frozenset(place.partition for place in assigned), True

    def poll(self, seconds: float) -> Mapping[int, Sequence[Any]]:
        """Messages by partition.

        Raises:
            StageError: reading failed; polling again may help.
            ConfigurationError: the client may not read the topic or join the group.
            PositionLostError: a position is outside the log, or the log was cut behind it.
            IntegrityError: a batch of messages is damaged, or compressed as this client cannot read. The client library
                would not return from another call.
        """
        try:
            with translated_errors(self._kafka, f"let {self._topic} be read"):
                found = self._consumer.poll(timeout_ms=int(seconds * 1000))
        except StageError as error:
            cause = error.__cause__
            if isinstance(cause, kafka_errors.OffsetOutOfRangeError | kafka_errors.LogTruncationError):
                raise PositionLostError(f"{self._topic}: the log does not hold what is due: {cause}") from error
            if isinstance(cause, kafka_errors.CorruptRecordError | kafka_errors.UnsupportedCodecError):
                raise IntegrityError(
                    f"{self._topic} has a batch of messages that cannot be read, now or later ({type(cause).__name__}: "
                    f"{cause}): delete the records up to it"
                ) from error
            raise
        return {place.partition: messages for place, messages in found.items()}

    def start(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` on; nothing happens where it was taken away meanwhile."""
        place = TopicPartition(self._topic, partition)
        with self._unless_taken_away(place):
            self._consumer.seek(place, offset)
            if not self._held:
                self._consumer.resume(place)

    def position(self, partition: int) -> int:
        """Offset that is read next, as far as it is known, else 0; offsets without a message are behind it."""
        try:
            return self._consumer.position(TopicPartition(self._topic, partition), timeout_ms=0) or 0
        except kafka_errors.KafkaError:  # taken away, or about to be looked up
            return 0

    def pause(self, partition: int) -> None:
        """Do not read `partition` until `start` says where to go on."""
        place = TopicPartition(self._topic, partition)
        with self._unless_taken_away(place):
            self._consumer.pause(place)

    def hold(self, held: bool, ready: Collection[int]) -> None:
        """Stop or go on reading; of the partitions that go on, only those that are `ready`."""
        if held != self._held:
            self._held = held
            for place in [TopicPartition(self._topic, partition) for partition in ready]:
                with self._unless_taken_away(place):
                    (self._consumer.pause if held else self._consumer.resume)(place)

    @contextmanager
    def _unless_taken_away(self, place: TopicPartition) -> Iterator[None]:
        # The client can lose a partition in any call, as after a pause of the whole process, and says so to the
        # listener only in the next `poll`.
        try:
            yield
        except (KeyError, ValueError):
            if place in self._consumer.assignment():
                raise
            log.info("partition was taken away meanwhile", partition=place.partition)

    def ends(self, partitions: Collection[int], seconds: float) -> dict[int, int]:
        """Offset of the message to come, per partition.

        Raises:
            StageError: the broker does not answer.
        """
        places = [TopicPartition(self._topic, partition) for partition in partitions]
        with translated_errors(self._kafka, f"read the end offsets of {self._topic}"):
            found = self._consumer.end_offsets(places, timeout_ms=int(seconds * 1000)) if places else {}
        return {place.partition: offset for place, offset in found.items()}

    def close(self, seconds: float) -> None:
        """Leave the group, as far as the broker answers in time."""
        _close(self._consumer, seconds)


def _close(consumer: Any, seconds: float) -> None:
    try:
        consumer.close(autocommit=False, timeout_ms=int(seconds * 1000))
    except kafka_errors.KafkaError as error:
        log.debug("leaving the group failed", error=str(error))
