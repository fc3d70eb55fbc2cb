"""The archive's loop: read, roll, hand to the writer, follow the chain."""

import threading
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from archive_ticks.append_times import AppendTimes, search_in
from archive_ticks.group_membership import GroupDescriber, Membership
from archive_ticks.metrics import Metrics
from archive_ticks.offset_ranges import RangeBuilder
from archive_ticks.range_writer import quarantine_into, repair_copies
from archive_ticks.reader import Reader, Start, locate
from archive_ticks.settings import ArchiveSettings
from archive_ticks.writer_thread import PartitionAssignment, Writer, WriteResult
from ticklake import calendar, credentials, logs
from ticklake.credentials import Rejected
from ticklake.errors import IntegrityError, StageError
from ticklake.group_consumer import PositionLostError
from ticklake.metrics import Health, served
from ticklake.objects import ObjectStore
from ticklake.service import Attempts, Heartbeat, TopicIdentity

log = logs.get(__name__)

_POLL_SECONDS = 0.2
_MONITOR_SECONDS, _MONITOR_TIMEOUT = 5.0, 2.0
_GROUP_SECONDS = 2.5
_STOPPED_SECONDS = 60.0
"""After so long a partition that cannot be archived is looked at again."""
_TOPIC_CHECK_SECONDS = 60.0
_STOP_SECONDS = 6.0
_LEAVE_SECONDS = 1.5


class Archive:
    """One process of the archive."""

    def __init__(
        self, settings: ArchiveSettings, store: ObjectStore, metrics: Metrics | None = None, rejected: Rejected = str
    ) -> None:
        self._settings, self._store, self._live = settings, store, settings.live.names
        self._rejected = rejected
        self._metrics = metrics or Metrics()
        self._assignments: dict[int, PartitionAssignment] = {}
        self._archived: dict[int, int] = {}
        """Next offset of each partition's chain, as far as this process knows."""
        self._stopped: dict[int, str] = {}
        """Partitions that are not read, and why; the others go on."""
        self._attempts = Attempts(lambda work: self._metrics.kafka_errors.labels(work).inc(), rejected)
        self._broker_answers = False
        self._held = False
        self._heartbeat = Heartbeat()
        self._topic = TopicIdentity(settings.kafka, self._live.topic)
        self._topic_id = self._topic.id
        self._writer = Writer(
            store, self._live, self._topic_id, quarantine_into(settings.kafka, store, self._live), self._metrics
        )
        self._reader = Reader(settings.kafka, self._live, settings.roll, self._resume_at)
        self._append_times = AppendTimes(search_in(settings.kafka, self._live.topic))
        self._membership = Membership()
        # The loop must not block for long while the broker is away.
        quick = settings.kafka.model_copy(update={"timeout_seconds": _MONITOR_TIMEOUT})
        self._describer = GroupDescriber(quick, self._live)

    def run(self, stop: threading.Event) -> None:
        """Archive until `stop` is set, then write what is held, commit and leave the group.

        Raises:
            IntegrityError: offsets are missing, or the topic was recreated.
            ConfigurationError: the client may not use the topic or the bucket, or they are not there.
            StageError: at the stop, store or broker did not answer in time.
        """
        health = Health(self._alive, self._ready, self._rejected)
        with served(health, self._settings.metrics_port) as port:
            log.info("archiving", topic=self._live.topic, prefix=self._live.raw_prefix, metrics_port=port)
            try:
                while not stop.is_set():
                    self._step()
                self._finish()
            finally:
                self._writer.close()
                self._describer.close()
                self._reader.close(_LEAVE_SECONDS / 2)

    def _step(self) -> None:
        self._heartbeat.beat()
        self._take(self._writer.results())
        attempt = self._attempts.attempt
        attempt(self._locate_new)
        attempt(self._look_at_stopped, _STOPPED_SECONDS)
        attempt(self._monitor, _MONITOR_SECONDS, _MONITOR_SECONDS)
        attempt(self._check_group, _GROUP_SECONDS, _GROUP_SECONDS)
        attempt(self._topic.check_topic, _TOPIC_CHECK_SECONDS, _TOPIC_CHECK_SECONDS)
        if self._attempts.due(self._read):
            attempt(self._read)
        else:
            time.sleep(_POLL_SECONDS)
        self._follow_assignment()
        for assignment in self._assignments.values():
            builder = assignment.builder
            self._writer.submit(assignment, builder.seal_if_old(self._reader.position(builder.partition)))
        self._limit_memory()

    def _read(self) -> None:
        try:
            found = self._reader.poll(_POLL_SECONDS)
        except PositionLostError as error:
            # What was read of them is read again from the chain's ends, which say where the log is too short.
            log.warning("looking for the place to read from again", reason=str(error))
            for dropped in self._assignments.values():
                dropped.revoked = True
            self._assignments.clear()
            time.sleep(_POLL_SECONDS)  # the same error comes again while the broker does not say where the log begins
            return
        except StageError:
            self._broker_answers = False
            raise
        for partition, messages in found.items():
            assignment = self._assignments.get(partition)
            if assignment is not None and not assignment.revoked:
                self._add(assignment, messages)

    def _add(self, assignment: PartitionAssignment, records: Sequence[Any]) -> None:
        partition, builder = assignment.partition, assignment.builder
        messages = self._append_times.stamped(partition, records)
        self._writer.submit(assignment, builder.add(messages))
        if messages:
            self._metrics.last_read.labels(str(partition)).set(messages[-1].timestamp / 1000)
        if len(messages) == len(records):
            self._metrics.stopped.labels(str(partition)).set(0)
            return
        self._reader.start(partition, builder.next_offset)
        self._stop_partition(
            partition,
            f"from offset {builder.next_offset} on its messages have their producers' times: topic {self._live.topic} "
            "should have message.timestamp.type=LogAppendTime; reading goes on with the first message that the broker "
            "stamps",
        )

    def _resume_at(self, partition: int) -> int | None:
        assignment = self._assignments.get(partition)
        return None if assignment is None or assignment.revoked else assignment.builder.next_offset

    def _follow_assignment(self) -> None:
        for partition in set(self._assignments) - self._reader.assigned:
            self._assignments.pop(partition).revoked = True
            self._archived.pop(partition, None)
            self._metrics.forget(partition)
            log.info("partition taken away", partition=partition)
        for partition in set(self._stopped) - self._reader.assigned:
            del self._stopped[partition]
            self._metrics.forget(partition)

    def _locate_new(self) -> None:
        new = self._reader.assigned - set(self._assignments) - set(self._stopped)
        if new:
            self._locate(new)

    def _look_at_stopped(self) -> None:
        for partition in self._stopped.keys() & self._assignments.keys():
            del self._stopped[partition]
            self._reader.start(partition, self._assignments[partition].builder.next_offset)
        if self._stopped:
            self._locate(self._stopped)

    def _locate(self, new: Collection[int]) -> None:
        starts = locate(
            self._store,
            self._live,
            self._topic_id,
            sorted(new),
            lambda partitions: self._reader.bounds(partitions, self._settings.kafka.timeout_seconds),
            self._settings.roll.accepted_gaps,
        )
        repair_copies(self._store, self._live, self._topic_id, new, self._settings.roll.repair_hours)
        self._broker_answers = True
        for partition, start in starts.items():
            if isinstance(start, IntegrityError):
                self._stop_partition(partition, str(start))
                continue
            self._stopped.pop(partition, None)
            self._start_assignment(partition, start)
            self._metrics.assigned(partition)
            log.info("partition assigned", partition=partition, first_offset=start.offset)
        self._attempts.at_once(self._check_group)

    def _stop_partition(self, partition: int, reason: str) -> None:
        if partition not in self._stopped:
            log.error("partition is not archived", partition=partition, reason=reason)
        self._stopped[partition] = reason
        self._reader.pause(partition)
        self._metrics.stopped.labels(str(partition)).set(1)

    def _start_assignment(self, partition: int, start: Start) -> None:
        before = start.last_append_time
        builder = RangeBuilder(
            partition,
            start.offset,
            self._settings.roll,
            None if before is None else round(before.timestamp() * 1000),
            self._settings.live.future_tolerance,
        )
        assignment = self._assignments[partition] = PartitionAssignment(builder)
        self._archived[partition] = start.offset
        self._metrics.stopped.labels(str(partition)).set(0)
        self._writer.submit(assignment, builder.pass_over(start.begin, lost=True))
        self._reader.start(partition, start.begin)

    def _take(self, results: list[WriteResult]) -> None:
        for done in results:
            if done.placed is None or self._assignments.get(done.assignment.partition) is not done.assignment:
                continue
            if done.placed.ours:
                self._archived[done.assignment.partition] = done.placed.next_offset
                self._reader.commit(done.assignment.partition, done.placed.next_offset)
            else:
                place = done.placed.next_offset
                self._start_assignment(done.assignment.partition, Start(place, place, done.placed.last_append_time))

    def _limit_memory(self) -> None:
        """Stop reading while too much waits to be written; go on when half of it is."""
        limit = self._settings.roll.buffer_bytes
        held = self._writer.pending_bytes + sum(assignment.builder.size for assignment in self._assignments.values())
        if held >= limit and not self._held:
            for assignment in self._assignments.values():
                self._writer.submit(assignment, assignment.builder.seal())
            self._held = True
            log.warning("reading pauses: the store is slower than the stream", bytes=held)
        elif self._held and held < limit / 2:
            self._held = False
            log.info("reading goes on", bytes=held)
        self._reader.hold(self._held, self._assignments.keys())
        self._metrics.held_bytes.set(held)
        self._metrics.paused.set(self._held)

    def _monitor(self) -> None:
        self._metrics.market_open.set(calendar.is_open(self._settings.calendar, datetime.now(UTC)))
        try:
            ends = self._reader.ends(self._assignments.keys(), _MONITOR_TIMEOUT)
        except StageError:
            self._broker_answers = False
            raise
        self._broker_answers = True
        for partition, end in ends.items():
            archived, builder = self._archived[partition], self._assignments[partition].builder
            # What has no message at the end of the log is nothing that is still to be archived.
            done = self._reader.position(partition) if archived == builder.next_offset else archived
            self._metrics.lag.labels(str(partition)).set(max(0, end - max(done, archived)))

    def _check_group(self) -> None:
        try:
            group = self._describer.describe()
        except StageError:
            self._membership.whole = False
            raise
        reads = self._reader.assigned if self._reader.joined else None
        if fault := self._membership.fault(group, self._reader.member_id, reads):
            log.warning("rejoining the group", reason=fault)
            self._reader.rejoin(_LEAVE_SECONDS)
            self._follow_assignment()

    def _finish(self) -> None:
        log.info("stopping", ranges=sum(1 for assignment in self._assignments.values() if assignment.builder.open))
        for assignment in self._assignments.values():
            if not assignment.revoked:
                self._writer.submit(assignment, assignment.builder.seal())
        results = self._writer.drain(_STOP_SECONDS)
        for done in results:
            if done.placed is not None and done.placed.ours and done.assignment.partition in self._archived:
                self._archived[done.assignment.partition] = done.placed.next_offset
        self._reader.commit_and_close(self._archived, _LEAVE_SECONDS)

    def _alive(self) -> bool:
        return self._writer.alive and self._heartbeat.alive()

    def _ready(self) -> bool:
        all_read = self._reader.assigned <= self._assignments.keys() and not self._stopped
        located = self._reader.joined and all_read
        return located and self._membership.whole and self._broker_answers and not self._writer.failing


def run(settings: ArchiveSettings, stop: threading.Event) -> None:
    """Archive the live topic of `settings` until `stop` is set.

    Raises:
        CredentialsError: store or Kafka rejected the credentials for too long.
        StageError: as `Archive.run`.
    """
    credentials.watched(
        settings,
        stop,
        lambda rejected: Archive(settings, ObjectStore(settings.store), rejected=rejected).run(stop),
        store=settings.store,
        prefix=f"{settings.live.names.raw_prefix}/",
        kafka=settings.kafka,
    )
