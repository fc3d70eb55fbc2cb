"""Batch numbers of one checkpoint after another, on a real store."""

import pytest

from stream_analytics.epochs import first_batch
from ticklake.errors import IntegrityError
from ticklake.lineage import ObjectRef
from ticklake.manifests import WindowManifest, write_windows
from ticklake.names import live_names
from ticklake.objects import ObjectStore

LIVE = live_names("epochs")


def closed(store: ObjectStore, query: str, batch: int) -> None:
    reference = ObjectRef(key=f"k-{query}-{batch}", rows=1, size=1, sha256="0")
    write_windows(store, LIVE, WindowManifest(query=query, batch=batch, objects=(reference,)))


def test_a_new_checkpoint_goes_on_after_all_batches_of_the_old(store: ObjectStore) -> None:
    assert first_batch(store, LIVE, "query-a", "topic-1") == 0
    closed(store, "15m", 7)
    closed(store, "1h", 5)
    assert first_batch(store, LIVE, "query-a", "topic-1") == 0
    assert first_batch(store, LIVE, "query-b", "topic-1") == 8
    closed(store, "15m", 9)
    assert first_batch(store, LIVE, "query-b", "topic-1") == 8


def test_a_checkpoint_of_a_topic_made_anew_is_refused(store: ObjectStore) -> None:
    first_batch(store, LIVE, "query-a", "topic-1")
    with pytest.raises(IntegrityError, match=r"topic-1.*made anew.*topic-2.*TICKLAKE_WINDOWS_CHECKPOINT"):
        first_batch(store, LIVE, "query-a", "topic-2")
