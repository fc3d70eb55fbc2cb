"""How far the queries are behind the live topic.

Spark's own figure, `maxOffsetsBehindLatest`, compares the end of a micro-batch with the end of the log as it was when
that same batch was planned. These batches take all that is there, so it is always 0. Here the broker is asked.
"""

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from stream_analytics.progress import Metrics, kafka_source
from ticklake import logs
from ticklake.errors import StageError
from ticklake.kafka import end_offsets
from ticklake.settings import KafkaSettings

if TYPE_CHECKING:
    from pyspark.sql.streaming.listener import StreamingQueryProgress

log = logs.get(__name__)

_TIMEOUT_SECONDS = 5.0


class Lag:
    """Compares every few seconds, in a thread of its own, where the log ends with where finished batches do."""

    def __init__(self, kafka: KafkaSettings, topic: str, metrics: Metrics, every_seconds: float = 5.0) -> None:
        """Nothing is asked before `start`."""
        self._kafka = kafka.model_copy(update={"timeout_seconds": min(kafka.timeout_seconds, _TIMEOUT_SECONDS)})
        self._topic, self._metrics, self._every = topic, metrics, every_seconds
        self._read: dict[str, Mapping[int, int]] = {}
        self._ended = threading.Event()
        # A daemon: a broker that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="lag", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()

    def finished(self, progress: "StreamingQueryProgress") -> None:
        """Take in how far a finished micro-batch reached."""
        if (reached := reached_offsets(progress, self._topic)) is not None:
            self._read[progress.name or ""] = reached

    def _run(self) -> None:
        failed = False
        while not self._ended.wait(self._every):
            try:
                ends = end_offsets(self._kafka, self._topic)
            except StageError as error:
                if not failed:  # once, not every few seconds while the broker is away
                    log.warning("the lag is not known", error=str(error))
                failed = True
                continue
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
