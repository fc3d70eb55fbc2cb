"""Settings that depend on the flow, and Spark's failures as one line."""

import pytest

from stream_analytics.failures import explained_text
from stream_analytics.settings import StreamAnalyticsSettings, StreamSettings
from ticklake.errors import ConfigurationError, IntegrityError, StageError
from ticklake.settings import LiveSettings, load


def test_clock_bound_rules_hold_in_the_real_flow_only() -> None:
    real = StreamAnalyticsSettings(live=LiveSettings(namespace=""))
    fast = StreamAnalyticsSettings(live=LiveSettings(namespace="run-1"))
    assert (real.heartbeat, real.future_tolerance_seconds) == (True, 60)
    assert (fast.heartbeat, fast.future_tolerance_seconds) == (False, None)


def test_checkpoints_of_flows_and_queries_lie_apart() -> None:
    real = StreamAnalyticsSettings(live=LiveSettings(namespace=""))
    assert real.checkpoint("closed") == "s3a://stock-market-data/checkpoints/realtime/closed"
    fast = StreamAnalyticsSettings(live=LiveSettings(namespace="run-1"), stream=StreamSettings(checkpoint="/data/"))
    assert fast.checkpoint("running") == "/data/accelerated/run-1/checkpoints/realtime/running"


def test_a_slide_must_divide_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
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
    ("cause", "kind", "said"),
    [
        ("org.apache.kafka.common.errors.UnknownTopicOrPartitionException: none here", ConfigurationError, "lacks"),
        ("java.lang.IllegalStateException: Partition t-0's offset was changed from 9 to 3. Some data may have been "
         "missed.", IntegrityError, "offset was changed from 9 to 3"),
        ("org.apache.kafka.common.errors.TimeoutException: Timed out waiting", StageError, "does not answer"),
        ("java.io.IOException: No space left on device", StageError, "IOException: No space left on device"),
    ],
)  # fmt: skip
def test_the_root_cause_becomes_one_line(cause: str, kind: type[StageError], said: str) -> None:
    error = explained_text("closed", STACK.format(head="x", cause=cause), StreamAnalyticsSettings())
    assert type(error) is kind
    assert said in str(error)
    assert "\n" not in str(error)
