"""The consumer of live ticks: where to start, what to commit."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from ticklake import logs
from ticklake.errors import StageError
from ticklake.group_consumer import GroupReader
from ticklake.kafka import translated_errors
from ticklake.settings import KafkaSettings
from ticklake.topics import LiveNames

log = logs.get(__name__)


@dataclass(frozen=True)
class Position:
    """How far a partition is evaluated, as it is committed: the offset, and the rest as the commit's metadata."""

    offset: int
    alerts_from: int | None
    """On the alerts topic: alerts of ticks from `offset` on are here or later; None if unknown."""
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
class StartPosition:
    """Where to read a partition from."""

    position: Position
    end: int
    """Offset of the next message that will be written."""
    first_start: bool = False


class TickReader(GroupReader):
    """A member of the consumer group.

    What was evaluated and not committed when a partition moves, its next owner evaluates again, to the same alerts.
    """

    def __init__(
        self, kafka: KafkaSettings, live: LiveNames, session_seconds: float, resume_at: Callable[[int], int | None]
    ) -> None:
        """As `GroupReader`."""
        super().__init__(
            kafka,
            topic=live.topic,
            group=live.alerts_group,
            client="market-alerts",
            session_seconds=session_seconds,
            resume_at=resume_at,
        )

    def start_position(self, partition: int, warm_up_seconds: float) -> StartPosition:
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
                    return StartPosition(position, end)
                # Retention removed them while the service was away, or the topic was recreated.
                log.warning(
                    "committed offset is not in the log, starting at its beginning",
                    partition=partition,
                    committed=committed.offset,
                    first=first,
                    end=end,
                )
                return StartPosition(replace(position, offset=first), end)
            since = int((time.time() - warm_up_seconds) * 1000)
            found = self._consumer.offsets_for_times({place: since}, timeout_ms=milliseconds)[place]
        return StartPosition(Position(end if found is None else found.offset, None, end), end, first_start=True)

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
