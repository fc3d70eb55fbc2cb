"""The windows of the real streaming application, through the topic and the lake, as the API shows them."""

import subprocess
import time

import pytest
from waiting import SECONDS

from ticklake.catalog import LakeTables, matching
from ticklake.records import iso_ms
from ticklake.tables import WINDOWS


def test_windows_of_the_streaming_application(
    serve, stage_env, programs, catalog_settings, store_settings, live, tmp_path
):
    environment = stage_env(
        TICKLAKE_METRICS_PORT="0",
        TICKLAKE_STREAM_SOURCE="simulated",
        TICKLAKE_STREAM_SPEED_UP="60",
        TICKLAKE_STREAM_SYMBOLS="AAPL",
        TICKLAKE_STREAM_START_FROM_LAKE="false",
        TICKLAKE_WINDOWS_TRIGGER_SECONDS="0",
        # Some, as on a busy machine the query of running windows can be behind by the time the first ones close.
        TICKLAKE_WINDOWS_UNTIL_CLOSED_WINDOWS="4",
        TICKLAKE_WINDOWS_UNTIL_SECONDS="280",
        TICKLAKE_WINDOWS_CHECKPOINT=(tmp_path / "checkpoints").as_uri(),
    )
    with (tmp_path / "log").open("wb") as log:
        ticks = subprocess.Popen([programs / "stream-ticks"], env=environment, stdout=log, stderr=log)
        analytics = subprocess.Popen([programs / "stream-analytics"], env=environment, stdout=log, stderr=log)
    try:
        assert analytics.wait(SECONDS) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        for process in (ticks, analytics):
            process.kill()
            process.wait(10)
    server = serve()
    server.wait("/symbols/AAPL/windows?length=1h&limit=2000", lambda answer: len(answer["items"]) > 1)
    tables = LakeTables(catalog_settings, store_settings)
    for length in ("15m", "1h"):
        rows = tables.read("market_test", WINDOWS, matching(flow=[live.namespace], window_length=[length]))
        stored = {iso_ms(row["window_start"]): row for row in rows.to_pylist()}
        time.sleep(1.5)  # longer than an answer is held
        shown = server.json(f"/symbols/AAPL/windows?length={length}&limit=2000")["items"]
        final = {window["window_start"]: window for window in shown if window["final"]}
        assert final.keys() == stored.keys()
        for start, row in stored.items():
            window = final[start]
            for name in ("open", "high", "low", "close", "vwap", "volume", "tick_count", "moving_average", "source"):
                assert window[name] == row[name], name
            # A window of a single tick has no deviation, hence no band.
            wide = row["volatility"]
            assert window["upper_band"] == (wide and pytest.approx(row["moving_average"] + 2 * wide))
        running = [window for window in shown if not window["final"]]
        assert running
        assert min(window["window_start"] for window in running) > max(final)
