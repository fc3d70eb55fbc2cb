"""What is known of each checkpoint: a record in the lake, under the id of its query, which Spark keeps in it.

A record is written before its query first starts, so whatever offsets a checkpoint holds, they are of the topic that
its record names. The record of the query of closed windows also has what `history` needs to distinguish complete
windows from partial ones.
"""

import uuid
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict
from pyspark.sql import SparkSession

from stream_analytics.checkpoints import Checkpoint
from stream_analytics.query_failures import RESET, CheckpointError, recreated
from stream_analytics.settings import CLOSED, StreamAnalyticsSettings
from stream_analytics.topic_log import offset_bounds
from ticklake import logs
from ticklake.objects import ObjectStore
from ticklake.records import UtcMs
from ticklake.topics import LiveNames

Gap = dict[int, int]
"""Offsets by partition, before which messages are missing."""

log = logs.get(__name__)


class CheckpointRecord(BaseModel):
    """The record of one checkpoint. From `starts` on all is for the query of closed windows only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    query: str = CLOSED
    topic_id: str
    """The topic whose offsets the checkpoint holds; one recreated under the same name has another id."""
    fixed: dict[str, str] = {}
    """See `StreamAnalyticsSettings.fixed`."""
    starts: dict[int, int] = {}
    """Per partition the offset at which reading began."""
    gaps: tuple[Gap, ...] = ()
    complete_after: UtcMs | None = None
    """Windows that begin later are complete; None while there is no tick behind every gap."""


class Records:
    """The records of one flow's checkpoints, in the lake."""

    def __init__(self, store: ObjectStore, live: LiveNames) -> None:
        self._store = store
        self._prefix = f"{live.processed_prefix}/_checkpoints/"

    def read(self, query_id: str) -> CheckpointRecord | None:
        """The record of the checkpoint whose query has this id."""
        try:
            return CheckpointRecord.model_validate_json(self._store.get(f"{self._prefix}{query_id}.json"))
        except KeyError:
            return None

    def write(self, query_id: str, record: CheckpointRecord) -> None:
        """Keep a record, in place of an earlier one."""
        self._store.put(f"{self._prefix}{query_id}.json", record.model_dump_json().encode())

    def topics(self) -> set[str]:
        """The ids of all topics whose ticks went into the flow's closed windows."""
        keys = [found.key for found in self._store.list_objects(self._prefix)]
        records = [CheckpointRecord.model_validate_json(self._store.get(key)) for key in keys]
        return {record.topic_id for record in records if record.query == CLOSED}


def open_checkpoints(
    settings: StreamAnalyticsSettings, spark: SparkSession, store: ObjectStore, topic_id: str, *, written: bool
) -> tuple[str, CheckpointRecord]:
    """Look at the checkpoint of every query before any reads; one that is not there is created, with its record.

    Args:
        topic_id: of the live topic, from the broker.
        written: whether the flow has closed windows already.

    Returns:
        id of the query of closed windows, and its record.

    Raises:
        CheckpointError: a checkpoint's offsets are of another topic, or it was made under other settings.
        StageError: the store or the broker does not answer.
    """
    records = Records(store, settings.live.names)
    found: dict[str, tuple[Checkpoint, str | None, CheckpointRecord | None]] = {}
    for query in settings.queries:
        checkpoint = Checkpoint(spark, settings.checkpoint(query))
        query_id = checkpoint.id()
        record = None if query_id is None else records.read(query_id)
        if record is not None and record.topic_id != topic_id:
            raise recreated(settings.live.names.topic, record.topic_id, topic_id)
        if record is not None and record.fixed != settings.fixed(query):
            raise _made_otherwise(query, record.fixed, settings.fixed(query))
        found[query] = checkpoint, query_id, record
    opened = {
        query: (query_id, record)
        if query_id is not None and record is not None
        else _new(settings, records, topic_id, query, checkpoint, query_id, written=written)
        for query, (checkpoint, query_id, record) in found.items()
    }
    return opened[CLOSED]


def _made_otherwise(query: str, made: Mapping[str, str], now: Mapping[str, str]) -> CheckpointError:
    others = (name for name in now if now[name] != made.get(name))
    changed = ", ".join(f"{name}={made.get(name)} (now {now[name]})" for name in others)
    return CheckpointError(f"the checkpoint of the query {query} was made with {changed}: set that back, or {RESET}")


def _new(
    settings: StreamAnalyticsSettings,
    records: Records,
    topic_id: str,
    query: str,
    checkpoint: Checkpoint,
    query_id: str | None,
    *,
    written: bool,
) -> tuple[str, CheckpointRecord]:
    record = CheckpointRecord(query=query, topic_id=topic_id, fixed=settings.fixed(query))
    if query == CLOSED:
        topics = records.topics()
        bounds = offset_bounds(settings.kafka, settings.live.names.topic)
        # Windows without any record: their topic is not known, so it may have been another.
        had_another = bool(topics - {topic_id}) or (written and not topics)
        starts = {partition: begin for partition, (begin, _) in bounds.items()}
        record = record.model_copy(update={"starts": starts, "gaps": gaps(bounds, recreated=had_another)})
    # The record first: a crash in between leaves one without a checkpoint, and never a checkpoint without one.
    opened = query_id or str(uuid.uuid4())
    records.write(opened, record)
    if query_id is None:
        checkpoint.create(opened)
    log.info("new checkpoint", query=query, location=checkpoint.location, topic_id=topic_id)
    return opened, record


def gaps(bounds: Mapping[int, tuple[int, int]], *, recreated: bool) -> tuple[Gap, ...]:
    """Before which offsets ticks are missing for a new checkpoint; see `history`.

    Args:
        bounds: per partition the offsets of its first message and of the one to come.
        recreated: whether the flow had another topic before.
    """
    found = [{partition: begin for partition, (begin, _) in bounds.items()}] if recreated else []
    found += [{partition: begin} for partition, (begin, end) in bounds.items() if 0 < begin < end]
    if any(0 < begin == end for begin, end in bounds.values()):
        found.append({partition: end for partition, (_, end) in bounds.items()})
    return tuple(found)
