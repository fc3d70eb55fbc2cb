"""Checkpoints of all queries, looked at before any query reads: on a real broker and store, with Spark's own files."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stream_analytics.checkpoint_records import open_checkpoints
from stream_analytics.checkpoints import Checkpoint
from stream_analytics.queries import session_options
from stream_analytics.query_failures import RESET, CheckpointError
from stream_analytics.settings import StreamAnalyticsSettings, StreamSettings
from ticklake.kafka import topic_id
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, KafkaSettings, LiveSettings, StoreSettings
from ticklake.spark import SparkSettings, build_session, close_session, start_jvm
from ticklake.spark_jvm import ONE_SHOT
from ticklake_local import platform
from ticklake_local.platform import Platform

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

QUERIES = ("closed", "running")

Settings = Callable[..., StreamAnalyticsSettings]


@pytest.fixture(scope="module")
def spark(local_tools: platform.Tools, local_platform: Platform) -> "Iterator[SparkSession]":
    settings = SparkSettings(master="local[1]", java_home=local_tools.java.home, jars_dir=local_tools.jars["spark"])
    start_jvm("stream-analytics-tests", settings, ONE_SHOT)
    session = build_session("tests", settings, local_platform.store)
    yield session
    close_session(session)


@pytest.fixture
def settings(
    kafka_settings: KafkaSettings, store_settings: StoreSettings, catalog_settings: CatalogSettings, live: LiveSettings
) -> Settings:
    def with_(checkpoint: str | None, **more: Any) -> StreamAnalyticsSettings:
        return StreamAnalyticsSettings(
            kafka=kafka_settings,
            store=store_settings,
            catalog=catalog_settings,
            live=live,
            stream=StreamSettings(checkpoint=checkpoint, **more),
        )

    return with_


@pytest.mark.parametrize("left", QUERIES)
def test_every_query_is_known_to_be_of_another_topic(
    spark: "SparkSession", settings: Settings, store: ObjectStore, tmp_path: Path, left: str
) -> None:
    chosen = settings(str(tmp_path))
    opened = open_checkpoints(chosen, spark, store, "topic-a", written=False)
    assert open_checkpoints(chosen, spark, store, "topic-a", written=False) == opened
    ids = {query: Checkpoint(spark, chosen.checkpoint(query)).id() for query in QUERIES}
    assert (ids["closed"], len(set(ids.values()))) == (opened[0], 2)
    others = [Path(chosen.checkpoint(query)) for query in QUERIES if query != left]
    for folder in others:
        shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match=r"recreated \(topic id topic-a, now topic-b\)") as raised:
        open_checkpoints(chosen, spark, store, "topic-b", written=False)
    assert RESET in str(raised.value)
    assert not any(folder.exists() for folder in others)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"heartbeat": True}, "closed was made with TICKLAKE_WINDOWS_HEARTBEAT=false (now true)"),
        ({"slide_1h_seconds": 60}, "closed was made with TICKLAKE_WINDOWS_SLIDE_1H_SECONDS=300 (now 60)"),
        ({"state_store": "rocksdb"}, "closed was made with TICKLAKE_WINDOWS_STATE_STORE=memory (now rocksdb)"),
    ],
)
def test_a_checkpoint_of_other_settings_is_not_gone_on_from(
    spark: "SparkSession", settings: Settings, store: ObjectStore, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    opened = open_checkpoints(settings(str(tmp_path)), spark, store, "topic-a", written=False)
    with pytest.raises(CheckpointError, match=re.escape(said)) as raised:
        open_checkpoints(settings(str(tmp_path), **change), spark, store, "topic-a", written=False)
    assert RESET in str(raised.value)
    same = settings(str(tmp_path), watermark_seconds=60, shuffle_partitions=7, trigger_seconds=1)
    assert open_checkpoints(same, spark, store, "topic-a", written=False) == opened


def test_checkpoints_in_the_lake_by_name(
    spark: "SparkSession",
    settings: Settings,
    store: ObjectStore,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    request: pytest.FixtureRequest,
) -> None:
    found = topic_id(kafka_settings, live.names.topic)
    first, reset = settings(None), settings("reset-1")
    # How Spark writes a checkpoint into a store, which does not fit a folder.
    (option,) = ((name.replace("_", "."), v) for name, v in session_options(first).items() if "FileManager" in name)
    spark.conf.set(*option)
    request.addfinalizer(lambda: spark.conf.unset(option[0]))
    query_id, record = open_checkpoints(first, spark, store, found, written=False)
    assert (record.topic_id, record.starts, record.gaps) == (found, dict.fromkeys(range(4), 0), ())
    assert Checkpoint(spark, first.checkpoint("closed")).id() == query_id
    kept = {each.key for each in store.list_objects(f"{live.names.checkpoint_prefix}/")}
    new_id, _ = open_checkpoints(reset, spark, store, found, written=False)
    assert new_id != query_id
    assert kept < {each.key for each in store.list_objects(f"{live.names.checkpoint_prefix}/")}
    assert open_checkpoints(first, spark, store, found, written=False) == (query_id, record)


def test_a_query_takes_over_the_id_of_its_checkpoint(spark: "SparkSession", tmp_path: Path) -> None:
    location = f"{tmp_path}/some/query"
    checkpoint = Checkpoint(spark, location)
    assert checkpoint.id() is None
    checkpoint.create("0f3c2d1b-aaaa-bbbb-cccc-000000000000")
    stream = spark.readStream.format("rate").load().writeStream.format("noop")
    query: Any = stream.option("checkpointLocation", location).start()
    assert query.id == checkpoint.id() == "0f3c2d1b-aaaa-bbbb-cccc-000000000000"
    query.processAllAvailable()
    query.stop()
    assert checkpoint.id() == "0f3c2d1b-aaaa-bbbb-cccc-000000000000"


def test_a_flow_that_had_another_topic_misses_ticks_before_the_new_one(
    spark: "SparkSession", settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    everywhere = ({0: 0, 1: 0, 2: 0, 3: 0},)

    def gaps_of(folder: str, topic: str, *, written: bool = False) -> Any:
        return open_checkpoints(settings(f"{tmp_path}/{folder}"), spark, store, topic, written=written)[1].gaps

    assert gaps_of("a", "topic-1") == ()
    # Of windows that are there without any record nobody knows the topic, so it may have been another.
    assert gaps_of("b", "topic-2") == everywhere
    # A checkpoint that is lost later on finds the new topic as whole, and the old one as gone, as before.
    assert gaps_of("c", "topic-2") == everywhere
    store.delete_all([found.key for found in store.list_objects("accelerated/") if "/_checkpoints/" in found.key])
    assert gaps_of("d", "topic-3", written=True) == everywhere
