"""Checkpoints of all queries, looked at before any query reads: on a real broker and store, with Spark's own files."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from onebox import platform
from onebox.platform import Platform
from stream_analytics.checkpoints import Checkpoint
from stream_analytics.epochs import Epochs, open_epochs
from stream_analytics.failures import RESET, CheckpointError
from stream_analytics.queries import session_options
from stream_analytics.settings import StreamAnalyticsSettings, StreamSettings
from ticklake.kafka import topic_id
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, LiveSettings, StoreSettings
from ticklake.spark import SparkSettings, build_session, close_session, start_jvm
from ticklake.spark_jvm import ONE_SHOT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

QUERIES = ("closed", "running", "future")

Settings = Callable[..., StreamAnalyticsSettings]


@pytest.fixture(scope="module")
def spark(onebox_tools: platform.Tools, onebox_platform: Platform) -> "Iterator[SparkSession]":
    settings = SparkSettings(master="local[1]", java_home=onebox_tools.java.home, jars_dir=onebox_tools.jars["spark"])
    start_jvm("stream-analytics-tests", settings, ONE_SHOT)
    session = build_session("tests", settings, onebox_platform.store)
    yield session
    close_session(session)


@pytest.fixture
def settings(kafka_settings: KafkaSettings, store_settings: StoreSettings, live: LiveSettings) -> Settings:
    def with_(checkpoint: str | None) -> StreamAnalyticsSettings:
        stream = StreamSettings(checkpoint=checkpoint, future_tolerance_seconds=60)
        return StreamAnalyticsSettings(kafka=kafka_settings, store=store_settings, live=live, stream=stream)

    return with_


@pytest.mark.parametrize("left", QUERIES)
def test_every_query_is_known_to_be_of_another_topic(
    spark: "SparkSession", settings: Settings, store: ObjectStore, tmp_path: Path, left: str
) -> None:
    chosen = settings(str(tmp_path))
    opened = open_epochs(chosen, spark, store, "topic-a")
    assert open_epochs(chosen, spark, store, "topic-a") == opened
    ids = {query: Checkpoint(spark, chosen.checkpoint(query)).id() for query in QUERIES}
    assert (ids["closed"], len(set(ids.values()))) == (opened[0], 3)
    others = [Path(chosen.checkpoint(query)) for query in QUERIES if query != left]
    for folder in others:
        shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match=r"recreated \(topic id topic-a, now topic-b\)") as raised:
        open_epochs(chosen, spark, store, "topic-b")
    assert RESET in str(raised.value)
    assert not any(folder.exists() for folder in others)


def test_checkpoints_in_the_lake_by_name(
    spark: "SparkSession", settings: Settings, store: ObjectStore, kafka_settings: KafkaSettings, live: LiveSettings,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    found = topic_id(kafka_settings, live.names.topic)
    first, reset = settings(None), settings("reset-1")
    # How Spark writes a checkpoint into a store, which does not fit a folder.
    (option,) = ((name.replace("_", "."), v) for name, v in session_options(first).items() if "FileManager" in name)
    spark.conf.set(*option)
    request.addfinalizer(lambda: spark.conf.unset(option[0]))
    query_id, epoch = open_epochs(first, spark, store, found)
    assert (epoch.topic_id, epoch.starts, epoch.gaps) == (found, dict.fromkeys(range(4), 0), ())
    assert Checkpoint(spark, first.checkpoint("closed")).id() == query_id
    kept = {each.key for each in store.list_objects(f"{live.names.checkpoint_prefix}/")}
    new_id, new_epoch = open_epochs(reset, spark, store, found)
    assert (new_id != query_id, new_epoch.first_batch) == (True, epoch.first_batch + 1)
    assert kept < {each.key for each in store.list_objects(f"{live.names.checkpoint_prefix}/")}
    # The one before would go on with numbers that are the new one's.
    with pytest.raises(CheckpointError, match="is not the flow's latest") as raised:
        open_epochs(first, spark, store, found)
    assert RESET in str(raised.value)


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


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(
    spark: "SparkSession", settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    chosen = settings(str(tmp_path))
    for number, query in enumerate(QUERIES):
        Checkpoint(spark, chosen.checkpoint(query)).create(f"old-{number}")
    epochs = Epochs(store, chosen.live.names)
    store.put(
        f"{chosen.live.names.processed_prefix}/_epochs/old-0.json",
        b'{"schema_version":1,"first_batch":8,"topic_id":"topic-a"}',
    )
    query_id, epoch = open_epochs(chosen, spark, store, "topic-a")
    assert (query_id, epoch.first_batch) == ("old-0", 8)
    assert {query: epochs.read(f"old-{number}").topic_id for number, query in enumerate(QUERIES)} == dict.fromkeys(
        QUERIES, "topic-a"
    )
    with pytest.raises(CheckpointError, match="recreated"):
        open_epochs(chosen, spark, store, "topic-b")
