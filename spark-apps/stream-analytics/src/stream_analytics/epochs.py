"""What is known of each checkpoint: a record in the lake, under the id of its query, which Spark keeps in it.

A record is written before its query first starts, so whatever offsets a checkpoint holds, they are of the topic that
its record names.

The record of the query of closed windows is an *epoch*. Spark numbers its micro-batches from 0 in every new checkpoint;
taken as they are, a new checkpoint (the old one lost, or another number of state partitions wanted) would overwrite the
windows of the old one. So each epoch has a first number, after all that are in use and greater than any other's. And it
has what `history` needs to tell complete windows from partial ones.
"""

import io
import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from pyspark.sql import SparkSession

from stream_analytics.checkpoints import Checkpoint
from stream_analytics.failures import RESET, CheckpointError, recreated
from stream_analytics.live_log import offset_bounds
from stream_analytics.settings import CLOSED, WINDOW_LENGTHS, StreamAnalyticsSettings
from ticklake import lineage, logs, manifests
from ticklake.names import LiveNames
from ticklake.objects import ObjectStore
from ticklake.records import UtcMs

Gap = dict[int, int]
"""Offsets by partition, before which messages are missing."""

log = logs.get(__name__)


class Epoch(BaseModel):
    """The record of one checkpoint. All but `query` and `topic_id` is for the query of closed windows only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    query: str = CLOSED
    topic_id: str
    """The topic whose offsets the checkpoint holds; one recreated under the same name has another id."""
    first_batch: int = 0
    """The number of Spark's batch 0."""
    starts: dict[int, int] = {}
    """Per partition the offset at which reading began; empty: not known, from a version that did not keep it."""
    gaps: tuple[Gap, ...] = ()
    written_until: dict[str, UtcMs] = {}
    """Per length the end of the newest window that earlier checkpoints wrote."""
    complete_after: UtcMs | None = None
    """Windows that begin later are complete; None while there is no tick behind every gap."""


class Epochs:
    """The records of one flow's checkpoints, in the lake."""

    def __init__(self, store: ObjectStore, live: LiveNames) -> None:
        self._store = store
        self._prefix = f"{live.processed_prefix}/_epochs/"

    def read(self, query_id: str) -> Epoch | None:
        """The record of the checkpoint whose query has this id."""
        try:
            return Epoch.model_validate_json(self._store.get(f"{self._prefix}{query_id}.json"))
        except KeyError:
            return None

    def write(self, query_id: str, epoch: Epoch) -> None:
        """Keep a record, in place of an earlier one."""
        self._store.put(f"{self._prefix}{query_id}.json", epoch.model_dump_json().encode())

    def of_closed_windows(self) -> list[Epoch]:
        """All records of the query of closed windows."""
        keys = [found.key for found in self._store.list_objects(self._prefix)]
        epochs = [Epoch.model_validate_json(self._store.get(key)) for key in keys]
        return [epoch for epoch in epochs if epoch.query == CLOSED]


def open_epochs(
    settings: StreamAnalyticsSettings, spark: SparkSession, store: ObjectStore, topic_id: str
) -> tuple[str, Epoch]:
    """Look at the checkpoint of every query before any reads; one that is not there is created, with its record.

    Args:
        topic_id: of the live topic, from the broker.

    Returns:
        id of the query of closed windows, and its epoch.

    Raises:
        CheckpointError: a checkpoint's offsets are of another topic, or a later checkpoint took its place.
        StageError: the store or the broker does not answer.
    """
    epochs = Epochs(store, settings.live.names)
    found: dict[str, tuple[Checkpoint, str | None, Epoch | None]] = {}
    for query in settings.queries:
        checkpoint = Checkpoint(spark, settings.checkpoint(query))
        query_id = checkpoint.id()
        epoch = None if query_id is None else epochs.read(query_id)
        if epoch is not None and epoch.topic_id != topic_id:
            raise recreated(settings.live.names.topic, epoch.topic_id, topic_id)
        found[query] = checkpoint, query_id, epoch
    opened = {query: _opened(settings, store, epochs, topic_id, query, *each) for query, each in found.items()}
    query_id, epoch = opened[CLOSED]
    if any(other.first_batch > epoch.first_batch for other in epochs.of_closed_windows()):
        raise CheckpointError(
            f"the checkpoint {settings.checkpoint(CLOSED)} is not the flow's latest: a later one has written windows "
            f"since. Set TICKLAKE_WINDOWS_CHECKPOINT to what it was last; or {RESET}"
        )
    return query_id, epoch


def _opened(
    settings: StreamAnalyticsSettings, store: ObjectStore, epochs: Epochs, topic_id: str,
    query: str, checkpoint: Checkpoint, query_id: str | None, epoch: Epoch | None,
) -> tuple[str, Epoch]:  # fmt: skip
    if query_id is not None and epoch is not None:
        return query_id, epoch
    epoch = Epoch(query=query, topic_id=topic_id)
    if query == CLOSED:
        earlier = epochs.of_closed_windows()
        bounds = offset_bounds(settings.kafka, settings.live.names.topic)
        epoch = new_epoch(store, settings.live.names, earlier, topic_id, bounds)
    # The record first: a crash in between leaves one without a checkpoint, and never a checkpoint without one.
    opened = query_id or str(uuid.uuid4())
    epochs.write(opened, epoch)
    if query_id is None:
        checkpoint.create(opened)
    log.info("new checkpoint", query=query, location=checkpoint.location, topic_id=topic_id)
    return opened, epoch


def new_epoch(
    store: ObjectStore, live: LiveNames, earlier: Iterable[Epoch], topic_id: str,
    bounds: Mapping[int, tuple[int, int]],
) -> Epoch:  # fmt: skip
    """The epoch of a new checkpoint.

    Args:
        earlier: all other epochs of the flow.
        bounds: per partition the offsets of its first message and of the one to come.
    """
    earlier = list(earlier)
    used, ends = [epoch.first_batch for epoch in earlier], [epoch.written_until for epoch in earlier]
    for length in WINDOW_LENGTHS:
        if newest := _newest(store, live, length):
            used.append(newest[0])
            ends.append({length: newest[1]})
    # Windows without an epoch: their topic is not known, so it may have been another.
    had_another = any(epoch.topic_id != topic_id for epoch in earlier) or (bool(used) and not earlier)
    return Epoch(
        topic_id=topic_id, first_batch=max(used, default=-1) + 1,
        starts={partition: begin for partition, (begin, _) in bounds.items()},
        gaps=gaps(bounds, recreated=had_another),
        written_until={
            length: max(each[length] for each in ends if length in each)
            for length in WINDOW_LENGTHS if any(length in each for each in ends)
        },
    )  # fmt: skip


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


def _newest(store: ObjectStore, live: LiveNames, length: str) -> tuple[int, datetime] | None:
    """Number of the last micro-batch that wrote windows of a length, and their latest end."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    last = deque(manifests.list_windows(store, live, length), maxlen=1)
    if not last:
        return None
    manifest = manifests.read_windows(store, last[0].key)
    bodies = (lineage.fetch(store, ref) for ref in manifest.objects)
    ends = [pc.max(pq.read_table(io.BytesIO(body), columns=["window_end"])["window_end"]).as_py() for body in bodies]
    return manifest.batch, max(ends)
