"""Batch numbers that no two checkpoints share.

Spark numbers its micro-batches from 0 in every new checkpoint. Were those numbers taken as they are, a checkpoint made
anew (the old one lost, or another number of state partitions wanted) would overwrite the windows of the old one. So
each checkpoint gets a first number, after all that are in use, and keeps it in the lake.
"""

from pydantic import BaseModel, ConfigDict

from ticklake.errors import IntegrityError
from ticklake.manifests import all_windows
from ticklake.names import LiveNames
from ticklake.objects import ObjectStore


class Epoch(BaseModel):
    """What belongs to one checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    first_batch: int
    topic_id: str
    """The topic whose offsets the checkpoint holds; one made anew under the same name has another id."""


def first_batch(store: ObjectStore, live: LiveNames, query_id: str, topic_id: str) -> int:
    """The number of batch 0 of the checkpoint whose query id (kept in it by Spark) is `query_id`.

    Raises:
        IntegrityError: the checkpoint's offsets are of another topic than today's.
    """
    key = f"{live.processed_prefix}/_epochs/{query_id}.json"
    try:
        epoch = Epoch.model_validate_json(store.get(key))
    except KeyError:
        used = max((manifest.batch for manifest in all_windows(store, live)), default=-1)
        epoch = Epoch(first_batch=used + 1, topic_id=topic_id)
        store.put(key, epoch.model_dump_json().encode())
    if epoch.topic_id != topic_id:
        raise IntegrityError(
            f"the checkpoint holds offsets of an earlier topic {live.topic} ({epoch.topic_id}), which was made anew "
            f"since ({topic_id}): set TICKLAKE_WINDOWS_CHECKPOINT to a new folder to start with the new topic"
        )
    return epoch.first_batch
