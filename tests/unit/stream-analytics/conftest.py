"""One local Spark for all tests of column expressions; no server is needed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from ticklake.settings import StoreSettings
from ticklake.spark import SparkSettings, build_session, close_session, start_jvm
from ticklake.spark_jvm import ONE_SHOT
from ticklake_local.platform import Tools

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="package")
def spark(local_tools: Tools) -> "Iterator[SparkSession]":
    settings = SparkSettings(master="local[1]", java_home=local_tools.java.home, jars_dir=local_tools.jars["spark"])
    start_jvm("stream-analytics-tests", settings, ONE_SHOT)
    session = build_session("tests", settings, StoreSettings(), spark_sql_shuffle_partitions="1")
    yield session
    close_session(session)
