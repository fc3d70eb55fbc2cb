"""A micro-batch whose commit got through, but whose end did not: Spark repeats it, and each window stays there once."""

from collections.abc import Callable
from typing import Any

import pytest
from in_this_process import InThisProcess
from plain_windows import closed_by, minutely

from stream_analytics import supervisor
from stream_analytics.settings import StreamAnalyticsSettings, StreamSettings
from stream_analytics.windows_table import WindowLake
from ticklake.errors import StageError
from ticklake.settings import CatalogSettings, LiveSettings, StoreSettings
from ticklake.spark import SparkSettings, start_jvm
from ticklake.spark_jvm import ONE_SHOT
from ticklake_local import platform


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    bench: Any,
    local_tools: platform.Tools,
    store_settings: StoreSettings,
    catalog_settings: CatalogSettings,
    live: LiveSettings,
) -> Callable[[], InThisProcess]:
    monkeypatch.setattr(supervisor, "_FIRST_SECONDS", 0.1)
    spark = SparkSettings(master="local[2]", java_home=local_tools.java.home, jars_dir=local_tools.jars["spark"])
    settings = StreamAnalyticsSettings(
        kafka=bench.kafka,
        store=store_settings,
        catalog=catalog_settings,
        live=live,
        spark=spark,
        metrics_port=0,
        stream=StreamSettings(trigger_seconds=0, running=False, checkpoint=f"{bench.logs}/checkpoints"),
    )

    def started() -> InThisProcess:
        start_jvm("stream-analytics-tests", spark, ONE_SHOT)
        return InThisProcess(settings, monkeypatch)

    return started


@pytest.mark.timeout(900)
@pytest.mark.parametrize("planted", [False, True])
def test_a_repeated_micro_batch_writes_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
    bench: Any,
    run: Callable[[], InThisProcess],
    reference: Any,
    compare: Any,
    planted: bool,
) -> None:
    append, failures = WindowLake.append, []

    def committed_but_not_reported(self: WindowLake, *arguments: Any) -> None:
        append(self, *arguments)
        if not failures:
            failures.append("once")
            raise StageError("the answer was lost")

    monkeypatch.setattr(WindowLake, "append", committed_but_not_reported)
    if planted:
        # What the table has is not asked for.
        monkeypatch.setattr(WindowLake, "written_until", lambda _: {})
    first, more = minutely(range(90)), minutely(range(90, 120))
    bench.send(first)
    with run() as running:
        running.until(lambda: failures and (app := running.app) and app.progressed)
        bench.send(more)
        due = closed_by(reference([*first, *more]), more[-1])
        newest = max(key[3] for key in due)
        running.until(lambda: newest in bench.starts())
    if planted:
        with pytest.raises(AssertionError, match="was written twice"):
            bench.windows()
    else:
        compare(bench.windows(), due)
