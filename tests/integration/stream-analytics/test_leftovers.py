"""What starts of the queries leave behind in their process: no more with each one."""

import gc
import threading
import time
from collections import Counter
from typing import Any

import pytest
from in_this_process import InThisProcess
from plain_windows import minutely
from waiting import SECONDS

from stream_analytics import supervisor
from stream_analytics.settings import StreamAnalyticsSettings, StreamSettings
from ticklake.settings import CatalogSettings, LiveSettings, StoreSettings
from ticklake.spark import SparkSettings, start_jvm
from ticklake.spark_jvm import ONE_SHOT
from ticklake_local import platform

CALLS = 2
"""What Java can call here: a query's function, and a listener."""


def counted(running: InThisProcess) -> Counter[str]:
    """Threads by name, listeners, and calls from Java once there are as few as one start needs."""
    spark, deadline = running.supervisor._spark, time.monotonic() + SECONDS
    calls = spark.sparkContext._gateway.gateway_property.pool
    while len(calls) > CALLS and time.monotonic() < deadline:
        gc.collect()
        spark._jvm.System.gc()  # which is when Java lets go of what it calls here
        time.sleep(0.3)
    names = (thread.name.partition("-")[0] + thread.name.partition("(")[2] for thread in threading.enumerate())
    found = Counter(name for name in names if name not in ("ThreadPoolExecutor", "kafka"))  # of one request
    return found + Counter(calls=len(calls), listeners=len(spark.streams._jsqm.listListeners()))


@pytest.mark.timeout(900)
def test_restarts_leave_no_more_behind_each_time(
    monkeypatch: pytest.MonkeyPatch,
    bench: Any,
    local_tools: platform.Tools,
    store_settings: StoreSettings,
    catalog_settings: CatalogSettings,
    live: LiveSettings,
) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_SECONDS", 0.1)
    spark = SparkSettings(master="local[2]", java_home=local_tools.java.home, jars_dir=local_tools.jars["spark"])
    start_jvm("stream-analytics-tests", spark, ONE_SHOT)
    settings = StreamAnalyticsSettings(
        kafka=bench.kafka,
        store=store_settings,
        catalog=catalog_settings,
        live=live,
        spark=spark,
        metrics_port=0,
        stream=StreamSettings(trigger_seconds=0, checkpoint=f"{bench.logs}/checkpoints"),
    )
    counts: list[Counter[str]] = []
    with InThisProcess(settings, monkeypatch) as running:
        for number in range(5):
            before = len(bench.windows())
            bench.send(minutely(range(number * 90, number * 90 + 90)))
            running.until(lambda: (app := running.app) and app.progressed)
            running.until(lambda before=before: len(bench.windows()) > before)
            counts.append(counted(running))
            running.fail()
    assert counts[-1]["listeners"] == 1
    assert [each["calls"] for each in counts] == [CALLS] * 5
    # With the first garbage Java's finalizer gets a thread here, for good.
    assert counts[2:] == [counts[1]] * 3
