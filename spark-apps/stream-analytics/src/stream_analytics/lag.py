"""How far the queries are behind the live topic.

Spark's own figure, `maxOffsetsBehindLatest`, compares the end of a micro-batch with the end of the log as it was when
that same batch was planned. These batches take all that is there, so it is always 0. Here the broker is asked.
"""

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kafka import TopicPartition

from stream_analytics.progress import Metrics
from ticklake import logs
from ticklake.errors import StageError
from ticklake.kafka import make_consumer, translated_errors
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
                self._ask_until_it_fails()
                return
            except StageError as error:
                if not failed:  # once, not every few seconds while the broker is away
                    log.warning("the lag is not known", error=str(error))
                failed = True

    def _ask_until_it_fails(self) -> None:
        consumer = make_consumer(self._kafka, "stream-analytics-lag")
        try:
            while True:
                with translated_errors(self._kafka, f"tell the end of {self._topic}"):
                    numbers = consumer.partitions_for_topic(self._topic) or ()
                    found = consumer.end_offsets([TopicPartition(self._topic, number) for number in numbers])
                ends = {place.partition: offset for place, offset in found.items()}
                for name, read in list(self._read.items()):
                    self._metrics.lag.labels(name).set(behind(ends, read))
                if self._ended.wait(self._every):
                    return
        finally:
            consumer.close(autocommit=False, timeout_ms=500)


def reached_offsets(progress: "StreamingQueryProgress", topic: str) -> dict[int, int] | None:
    """By partition of `topic` the offset after the last message of a batch; None where it read no Kafka."""
    for source in progress.sources:
        if source.description.startswith("Kafka") and source.endOffset:
            return {int(number): int(offset) for number, offset in json.loads(source.endOffset)[topic].items()}
    return None


def behind(ends: Mapping[int, int], read: Mapping[int, int]) -> int:
    """Messages before `ends` and from `read` on; all of a partition that no batch knows of yet."""
    return sum(max(0, end - read.get(number, 0)) for number, end in ends.items())
