"""A local Spark session without a store."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from ticklake.settings import StoreSettings
from ticklake.spark import SparkSettings, build_session, close_jvm, start_jvm
from ticklake.spark_jvm import ONE_SHOT
from ticklake_local.platform import Tools


@pytest.fixture(scope="module")
def spark(local_tools: Tools) -> Iterator[SparkSession]:
    settings = SparkSettings(
        master="local[2]", java_home=local_tools.java.home, jars_dir=local_tools.jars["spark"], log_level="ERROR"
    )
    start_jvm("daily-analytics-tests", settings, ONE_SHOT)
    session = build_session("tests", settings, StoreSettings())
    session.conf.set("spark.sql.adaptive.enabled", "false")
    session.conf.set("spark.sql.shuffle.partitions", "2")
    yield session
    close_jvm()
