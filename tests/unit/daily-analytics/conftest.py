"""A local Spark session without a store."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from onebox.platform import Tools
from ticklake.settings import StoreSettings
from ticklake.spark import SparkSettings, build_session, close_jvm


@pytest.fixture(scope="module")
def spark(onebox_tools: Tools) -> Iterator[SparkSession]:
    settings = SparkSettings(
        master="local[2]", java_home=onebox_tools.java.home, jars_dir=onebox_tools.jars["spark"], log_level="ERROR"
    )
    session = build_session("tests", settings, StoreSettings())
    session.conf.set("spark.sql.adaptive.enabled", "false")
    session.conf.set("spark.sql.shuffle.partitions", "2")
    yield session
    close_jvm()
