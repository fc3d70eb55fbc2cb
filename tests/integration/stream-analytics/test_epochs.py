"""Records of one checkpoint after another, on a real store."""

import hashlib
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stream_analytics.epochs import Epoch, Epochs, new_epoch
from ticklake.lineage import ObjectRef
from ticklake.manifests import WindowManifest, write_windows
from ticklake.names import live_names
from ticklake.objects import ObjectStore

LIVE = live_names("epochs")
NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)
WHOLE = {0: (0, 10), 1: (0, 0)}


def closed(store: ObjectStore, query: str, batch: int, *ends: datetime) -> None:
    sink = io.BytesIO()
    times = pa.array(ends, pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"window_end": times, "price": pa.nulls(len(ends))}), sink)
    body, key = sink.getvalue(), f"{LIVE.processed_prefix}/{query}-{batch}"
    store.put(key, body)
    reference = ObjectRef(key=key, rows=len(ends), size=len(body), sha256=hashlib.sha256(body).hexdigest())
    write_windows(store, LIVE, WindowManifest(query=query, batch=batch, objects=(reference,)))


def another(store: ObjectStore, query_id: str, topic_id: str, bounds: Any = WHOLE) -> Epoch:
    epochs = Epochs(store, LIVE)
    epoch = new_epoch(store, LIVE, epochs.of_closed_windows(), topic_id, bounds)
    epochs.write(query_id, epoch)
    assert epochs.read(query_id) == epoch
    return epoch


def test_each_checkpoint_has_numbers_of_its_own(store: ObjectStore) -> None:
    assert another(store, "a", "topic-1").first_batch == 0
    closed(store, "15m", 7, NOON)
    closed(store, "1h", 5, NOON)
    assert another(store, "b", "topic-1").first_batch == 8
    # Though the second has written nothing.
    assert another(store, "c", "topic-1").first_batch == 9
    Epochs(store, LIVE).write("d", Epoch(query="running", topic_id="topic-1", first_batch=100))
    assert another(store, "e", "topic-1").first_batch == 10


def test_a_later_checkpoint_knows_what_was_written(store: ObjectStore) -> None:
    minute = timedelta(minutes=1)
    first = another(store, "a", "topic-1")
    assert (first.written_until, first.gaps, first.starts) == ({}, (), {0: 0, 1: 0})
    closed(store, "15m", 6, NOON - minute)
    closed(store, "15m", 10, NOON, NOON + minute, NOON)
    second = another(store, "b", "topic-1")
    assert (second.written_until, second.gaps) == ({"15m": NOON + minute}, ())
    # A batch that wrote again what was there, as an earlier version did, hides nothing.
    closed(store, "15m", 11, NOON)
    closed(store, "1h", 12, NOON)
    assert another(store, "c", "topic-1").written_until == {"15m": NOON + minute, "1h": NOON}


def test_a_flow_that_had_another_topic_misses_ticks_before_the_new_one(store: ObjectStore) -> None:
    another(store, "a", "topic-1")
    bounds = {0: (0, 4), 1: (0, 0)}
    assert another(store, "b", "topic-2", bounds).gaps == ({0: 0, 1: 0},)
    # A checkpoint that is lost later on finds the new topic as whole, and the old one as gone, as before.
    assert another(store, "c", "topic-2", bounds).gaps == ({0: 0, 1: 0},)


def test_windows_without_a_record_may_be_of_another_topic(store: ObjectStore) -> None:
    closed(store, "1h", 3, NOON)
    assert another(store, "a", "topic-1").gaps == ({0: 0, 1: 0},)


def test_a_record_of_an_earlier_version_is_read(store: ObjectStore) -> None:
    old = b'{"schema_version":1,"first_batch":8,"topic_id":"topic-1"}'
    store.put(f"{LIVE.processed_prefix}/_epochs/a.json", old)
    assert Epochs(store, LIVE).read("a") == Epoch(topic_id="topic-1", first_batch=8)
    assert another(store, "b", "topic-1").first_batch == 9
