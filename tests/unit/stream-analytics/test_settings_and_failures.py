"""Settings that depend on the flow, and Spark's failures as one line."""

import re
from pathlib import Path

import pytest

from stream_analytics.query_failures import RESET, CheckpointError, ProcessError, explained_text, recreated
from stream_analytics.settings import StreamAnalyticsSettings, StreamSettings
from ticklake.errors import ConfigurationError, StageError
from ticklake.settings import CatalogSettings, LiveSettings, load

CATALOG = CatalogSettings(uri="sqlite:////data/catalog.db")


def test_clock_bound_rules_hold_in_the_real_flow_only() -> None:
    real = StreamAnalyticsSettings(catalog=CATALOG, live=LiveSettings(namespace=""))
    fast = StreamAnalyticsSettings(catalog=CATALOG, live=LiveSettings(namespace="run-1"))
    assert (real.heartbeat, real.live.future_tolerance) == (True, 60)
    assert (fast.heartbeat, fast.live.future_tolerance) == (False, None)


def test_checkpoints_of_flows_and_queries_lie_apart() -> None:
    real = StreamAnalyticsSettings(catalog=CATALOG, live=LiveSettings(namespace=""))
    assert real.checkpoint("closed") == "s3a://stock-market-data/checkpoints/realtime/closed"
    fast = StreamAnalyticsSettings(
        catalog=CATALOG, live=LiveSettings(namespace="run-1"), stream=StreamSettings(checkpoint="/data/")
    )
    assert fast.checkpoint("running") == "/data/accelerated/run-1/checkpoints/realtime/running"


@pytest.mark.parametrize(
    ("chosen", "closed"),
    [
        ("reset-1", "s3a://stock-market-data/checkpoints/realtime/reset-1/closed"),
        ("./reset-1", "./reset-1/checkpoints/realtime/closed"),
        ("s3a://other/place/", "s3a://other/place/checkpoints/realtime/closed"),
    ],
)
def test_a_checkpoint_is_a_name_in_the_lake_or_a_place(chosen: str, closed: str) -> None:
    settings = StreamAnalyticsSettings(
        catalog=CATALOG, live=LiveSettings(namespace=""), stream=StreamSettings(checkpoint=chosen)
    )
    assert settings.checkpoint("closed") == closed


def test_each_query_that_runs_has_a_name() -> None:
    real = StreamAnalyticsSettings(catalog=CATALOG, live=LiveSettings(namespace=""))
    fast = StreamAnalyticsSettings(
        catalog=CATALOG, live=LiveSettings(namespace="run-1"), stream=StreamSettings(running=False)
    )
    assert real.queries == ("closed", "running")
    assert fast.queries == ("closed",)


def test_a_slide_must_divide_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLAKE_CATALOG_URI", CATALOG.uri)
    monkeypatch.setenv("TICKLAKE_WINDOWS_SLIDE_15M_SECONDS", "7")
    with pytest.raises(ConfigurationError, match="slide_15m_seconds must divide 900"):
        load(StreamAnalyticsSettings)


STACK = """[STREAM_FAILED] Query [id = 1] terminated with exception: {head} SQLSTATE: XXKST
org.apache.spark.sql.streaming.StreamingQueryException: [STREAM_FAILED] Query
\tat org.apache.spark.sql.execution.streaming.StreamExecution.run(StreamExecution.scala:1)
Caused by: java.util.concurrent.ExecutionException: {cause}
\t... 8 more
Caused by: {cause}
"""


@pytest.mark.parametrize(
    ("cause", "kind", "message"),
    [
        ("org.apache.kafka.common.errors.UnknownTopicOrPartitionException: none here", ConfigurationError, "lacks"),
        (
            "org.apache.spark.sql.kafka010.KafkaIllegalStateException: [KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED] Some "
            "data may have been lost. Reason: Partition t-0 offset was changed from 9 to 3.",
            CheckpointError,
            "offset was changed from 9 to 3",
        ),
        (
            "java.lang.IllegalStateException: Partition t-0's offset was changed from 9 to 3. Some data may have been "
            "missed.",
            CheckpointError,
            RESET,
        ),
        ("org.apache.kafka.common.errors.TimeoutException: Timed out waiting", StageError, "does not answer"),
        (
            "org.apache.kafka.common.errors.SaslAuthenticationException: Authentication failed",
            ProcessError,
            "rejects the credentials of user",
        ),
        (
            "software.amazon.awssdk.services.s3.model.S3Exception: unknown key:InvalidAccessKeyId",
            ProcessError,
            "the store rejects the key",
        ),
        ("java.lang.OutOfMemoryError: Java heap space", ProcessError, "out of memory"),
        (
            "java.lang.IllegalStateException: Failed to read log file s3a://b/sources/0/0. Log file was malformed: "
            "failed to detect the log file version line.",
            CheckpointError,
            RESET,
        ),
        ("java.io.IOException: No space left on device", StageError, "IOException: No space left on device"),
    ],
)
def test_the_root_cause_becomes_one_line(cause: str, kind: type[StageError], message: str) -> None:
    error = explained_text("closed", STACK.format(head="x", cause=cause), StreamAnalyticsSettings(catalog=CATALOG))
    assert type(error) is kind
    assert message in str(error)
    assert "\n" not in str(error)


def test_a_cause_without_a_class_leaves_no_empty_place() -> None:
    error = explained_text("closed", ": the disk is gone", StreamAnalyticsSettings(catalog=CATALOG))
    assert str(error) == "the query closed failed: the disk is gone"


def test_exit_codes() -> None:
    assert recreated("t", "a", "b").exit_code == 2
    assert ProcessError("x").exit_code == 1


def test_the_readme_has_the_same_commands_as_the_errors() -> None:
    readme = (Path(__file__).parents[3] / "spark-apps" / "stream-analytics" / "README.md").read_text()
    setting, command = re.findall(r"TICKLAKE_\w+=[\w-]+|helm upgrade [^)]+", RESET)
    assert f"`{setting}`" in readme
    assert f"\n{command}\n" in readme
