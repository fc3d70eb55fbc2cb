"""What starts of the queries leave behind in their process: no more with each one."""

import gc
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from plain_windows import minutely

from onebox import platform
from stream_analytics import run as program
from stream_analytics import supervisor
from stream_analytics.app import App
from stream_analytics.settings import StreamAnalyticsSettings, StreamSettings
from stream_analytics.supervisor import Supervisor
from ticklake.objects import ObjectStore
from ticklake.settings import LiveSettings, StoreSettings
from ticklake.spark import SparkSettings, start_jvm
from ticklake.spark_jvm import ONE_SHOT

CALLS = 3
"""What Java can call here: two queries' functions, and a listener."""


class InThisProcess:
    """The program in a thread of this process, whose threads and calls from Java can be counted."""

    def __init__(self, settings: StreamAnalyticsSettings, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[Supervisor] = []

        class Seen(Supervisor):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                made.append(self)

        monkeypatch.setattr(program, "Supervisor", Seen)
        self._made, self._settings = made, settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: program.run(settings, self._stop), name="program")

    def __enter__(self) -> "InThisProcess":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def until(self, true: Callable[[], Any], seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert self._thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def app(self) -> App | None:
        return self._made[0]._app if self._made else None

    def fail(self) -> None:
        """Let a query end, and wait until all were stopped."""
        app = self.app
        assert app is not None
        app._queries["closed"].stop()
        self.until(lambda: self.app is not app)

    def counts(self) -> Counter[str]:
        """Threads by name, listeners, and calls from Java once there are as few as one start needs."""
        spark, deadline = self._made[0]._spark, time.monotonic() + 120
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
    monkeypatch: pytest.MonkeyPatch, bench: Any, onebox_tools: platform.Tools, store_settings: StoreSettings,
    live: LiveSettings, tick: Any,
) -> None:  # fmt: skip
    monkeypatch.setattr(supervisor, "_FIRST_SECONDS", 0.1)
    spark = SparkSettings(master="local[2]", java_home=onebox_tools.java.home, jars_dir=onebox_tools.jars["spark"])
    start_jvm("stream-analytics-tests", spark, ONE_SHOT)
    settings = StreamAnalyticsSettings(
        kafka=bench.kafka, store=store_settings, live=live, spark=spark, metrics_port=0,
        stream=StreamSettings(trigger_seconds=0, checkpoint=f"{bench.logs}/checkpoints", future_tolerance_seconds=60),
    )  # fmt: skip
    counts: list[Counter[str]] = []
    store, quarantine = ObjectStore(store_settings), f"quarantine/topic={live.names.topic}/"
    with InThisProcess(settings, monkeypatch) as running:
        for number in range(5):
            future = tick("AAPL", 1.0, 1, datetime.now(UTC) + timedelta(days=1 + number), number)
            bench.send([*minutely(range(number * 90, number * 90 + 90)), future])
            running.until(lambda: (app := running.app) and app.progressed)
            running.until(lambda wanted=number + 1: len(list(store.list_objects(quarantine))) == wanted)
            counts.append(running.counts())
            running.fail()
    assert counts[-1]["listeners"] == 1
    assert [each["calls"] for each in counts] == [CALLS] * 5
    # With the first garbage Java's finalizer gets a thread here, for good.
    assert counts[2:] == [counts[1]] * 3
