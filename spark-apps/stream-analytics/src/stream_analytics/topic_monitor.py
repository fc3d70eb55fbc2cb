"""The live topic while it is read: whether it is still the same one, and how far the queries are behind its end.

Spark does not notice that a topic was recreated: it goes on at the old offsets, and fails only where the new log is
shorter. Hence the topic's id is asked for, every few seconds and before closed windows are written.

Spark's own figure of the lag, `maxOffsetsBehindLatest`, compares the end of a micro-batch with the end of the log as it
was when that same batch was planned. These batches take all that is there, so it is always 0. Here the broker is asked.
"""

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from stream_analytics.query_failures import CheckpointError, recreated
from stream_analytics.query_progress import Metrics, kafka_source
from ticklake import logs
from ticklake.errors import ConfigurationError, StageError
from ticklake.kafka import end_offsets, topic_id
from ticklake.settings import KafkaSettings

if TYPE_CHECKING:
    from pyspark.sql.streaming.listener import StreamingQueryProgress

log = logs.get(__name__)

_TIMEOUT_SECONDS = 5.0


class LiveTopic:
    """The topic `name`, watched by a thread of its own from `start` to `stop`.

    Args:
        id_: the topic's id, which the checkpoints' records have too.
    """

    def __init__(self, kafka: KafkaSettings, name: str, id_: str, metrics: Metrics, every_seconds: float = 5.0) -> None:
        self.name, self.id = name, id_
        self.failure: StageError | None = None
        """Set once the topic is another or gone."""
        self._kafka, self._metrics, self._every = kafka, metrics, every_seconds
        self._read: dict[str, Mapping[int, int]] = {}
        self._ended = threading.Event()
        # A daemon: a broker that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="live-topic", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()

    def finished(self, progress: "StreamingQueryProgress") -> None:
        """Take in how far a finished micro-batch reached."""
        if (reached := reached_offsets(progress, self.name)) is not None:
            self._read[progress.name or ""] = reached

    def confirm(self) -> None:
        """Check that the topic is still the same: then so it was for all that was read before.

        Raises:
            CheckpointError: it was recreated.
            ConfigurationError: it is gone.
            StageError: the broker does not answer.
        """
        self._confirm(self._kafka)

    def _confirm(self, kafka: KafkaSettings) -> None:
        if (found := topic_id(kafka, self.name)) != self.id:
            raise recreated(self.name, self.id, found)

    def _run(self) -> None:
        kafka = self._kafka.model_copy(update={"timeout_seconds": min(self._kafka.timeout_seconds, _TIMEOUT_SECONDS)})
        failed: StageError | None = None
        while not self._ended.wait(self._every):
            try:
                self._confirm(kafka)
                ends = end_offsets(kafka, self.name)
            except StageError as error:
                # That there is no such topic may be all that a broker which has just started knows.
                gone = isinstance(error, ConfigurationError) and isinstance(failed, ConfigurationError)
                if gone or isinstance(error, CheckpointError):
                    self.failure = error
                    return
                if failed is None:  # once, not every few seconds while the broker is away
                    log.warning("the lag is not known", error=str(error))
                failed = error
                continue
            failed = None
            for name, read in list(self._read.items()):
                self._metrics.lag.labels(name).set(behind(ends, read))


def reached_offsets(progress: "StreamingQueryProgress", topic: str) -> dict[int, int] | None:
    """By partition of `topic` the offset after the last message of a batch; None where it read no Kafka."""
    source = kafka_source(progress)
    if source is None or not source.endOffset:
        return None
    return {int(number): int(offset) for number, offset in json.loads(source.endOffset)[topic].items()}


def behind(ends: Mapping[int, int], read: Mapping[int, int]) -> int:
    """Messages before `ends` and from `read` on; all of a partition that no batch knows of yet."""
    return sum(max(0, end - read.get(number, 0)) for number, end in ends.items())
