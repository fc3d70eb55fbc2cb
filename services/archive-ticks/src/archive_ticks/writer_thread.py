"""The writer thread: ranges to the lake, one after the other, while the main thread goes on reading."""

import queue
import threading
import time
from dataclasses import dataclass

from archive_ticks.metrics import Metrics
from archive_ticks.offset_ranges import Encoded, Range, RangeBuilder, encode
from archive_ticks.range_writer import Placed, Quarantine, put_copy, put_range
from ticklake import logs
from ticklake.backoff import equal_jitter
from ticklake.errors import CredentialsError, StageError
from ticklake.objects import ObjectStore
from ticklake.topics import LiveNames

log = logs.get(__name__)

_BACKOFF_FIRST, _BACKOFF_LAST = 0.2, 5.0


@dataclass
class PartitionAssignment:
    """One unbroken stretch of a partition's reading, from an end of the chain on.

    Once it is revoked, whatever was read under it and is not yet written is dropped: it will be read again from where
    the chain then ends.
    """

    builder: RangeBuilder
    revoked: bool = False

    @property
    def partition(self) -> int:
        """The partition read."""
        return self.builder.partition


@dataclass(frozen=True)
class WriteResult:
    """What became of a range; `placed` is None where it was dropped."""

    assignment: PartitionAssignment
    sealed: Range
    placed: Placed | None


class Writer:
    """Writes ranges in the order given, in a thread of its own.

    A store or broker that fails is tried again until it answers. A range is only ever written directly after its
    predecessor in the chain: when a write meets another writer's object, the assignment is revoked there and then.
    """

    def __init__(
        self, store: ObjectStore, live: LiveNames, topic_id: str, quarantine: Quarantine, metrics: Metrics
    ) -> None:
        self._store, self._live, self._topic_id = store, live, topic_id
        self._quarantine, self._metrics = quarantine, metrics
        self._jobs: queue.SimpleQueue[tuple[PartitionAssignment, Range] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[WriteResult | StageError] = queue.SimpleQueue()
        self._given_up = threading.Event()
        self._waiting = 0
        self.failing = False
        """Whether the latest attempt to write failed."""
        self.pending_bytes = 0
        """Bytes of messages handed over and not yet reported by `results`."""
        # A daemon: a call to a store that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, assignment: PartitionAssignment, sealed: list[Range]) -> None:
        """Hand ranges over, in order."""
        for item in sealed:
            self._waiting += 1
            self.pending_bytes += item.size
            self._jobs.put((assignment, item))

    def results(self) -> list[WriteResult]:
        """What was done since the last call; does not wait.

        Raises:
            StageError: the writer met an error that no retry resolves; it has ended.
        """
        found: list[WriteResult] = []
        while True:
            try:
                result = self._results.get_nowait()
            except queue.Empty:
                return found
            if isinstance(result, StageError):
                raise result
            self._waiting -= 1
            self.pending_bytes -= result.sealed.size
            found.append(result)

    def drain(self, seconds: float) -> list[WriteResult]:
        """The results of everything handed over, waiting for it up to `seconds`.

        Raises:
            StageError: it was not done in time; nothing is lost, the next start reads it again.
        """
        found, deadline = self.results(), time.monotonic() + seconds
        while self._waiting:
            if time.monotonic() >= deadline:
                raise StageError(
                    f"stopped with {self._waiting} ranges not written, as the store or Kafka did not answer; "
                    "nothing is lost: the next start reads them again"
                )
            time.sleep(0.01)
            found += self.results()
        return found

    def close(self) -> None:
        """End the thread after the attempt that is under way; drops what waits."""
        self._given_up.set()
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None and not self._given_up.is_set():
            assignment, sealed = job
            try:
                self._results.put(WriteResult(assignment, sealed, self._write(assignment, sealed)))
            except StageError as error:
                self._results.put(error)
                return
            except Exception as error:
                log.exception("the writer failed")
                self._results.put(StageError(f"the writer failed: {type(error).__name__}: {error}"))
                return

    def _write(self, assignment: PartitionAssignment, sealed: Range) -> Placed | None:
        if assignment.revoked:
            return None
        encoded: Encoded | None = None
        quarantined, placed, attempt = False, None, 0
        while not assignment.revoked and not self._given_up.is_set():
            try:
                encoded = encoded or encode(sealed, self._live, self._topic_id)
                if not quarantined:
                    with self._metrics.writing("quarantine"):
                        self._quarantine(sealed)
                    quarantined = True
                if placed is None:
                    placed = self._place(assignment, encoded)
                    if not placed.ours:
                        return placed
                with self._metrics.writing("copy"):
                    self._metrics.bytes.labels("csv").inc(put_copy(self._store, encoded))
                self.failing = False
                return placed
            except StageError as error:
                if error.final:
                    raise
                self.failing = True
                delay = equal_jitter(attempt, _BACKOFF_FIRST, _BACKOFF_LAST)
                if attempt == 0 or not isinstance(error, CredentialsError):
                    log.warning("writing failed, will try again", error=str(error), seconds=round(delay, 1))
                attempt += 1
                self._given_up.wait(delay)
        return placed

    def _place(self, assignment: PartitionAssignment, encoded: Encoded) -> Placed:
        with self._metrics.writing("object"):
            placed, entry = put_range(self._store, encoded), encoded.entry
        self.failing = False
        if placed.ours:
            self._metrics.archived(entry, len(encoded.parquet))
            log.info(
                "archived",
                key=encoded.key,
                partition=entry.partition,
                first_offset=entry.first_offset,
                last_offset=entry.last_offset,
                rows=entry.rows,
                invalid=entry.invalid_rows,
                absent=entry.absent_rows,
                bytes=len(encoded.parquet),
            )
        else:
            assignment.revoked = True
            self._metrics.races_lost.inc()
            log.warning("another writer was first, going on after it", key=encoded.key, next_offset=placed.next_offset)
        return placed
