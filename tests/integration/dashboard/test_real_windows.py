"""The windows of the real streaming application, through the topic and the lake, as the API shows them."""

import json
import subprocess
from contextlib import closing

import pytest
from kafka import TopicPartition
from waiting import SECONDS

from ticklake.catalog import LakeTables, matching
from ticklake.kafka import make_consumer
from ticklake.records import iso_ms
from ticklake.tables import WINDOWS


def messages(kafka_settings, topic: str) -> list[dict]:
    """Everything in the topic of windows."""
    with closing(make_consumer(kafka_settings, "test")) as consumer:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends, found = consumer.end_offsets(places), []
        while any(consumer.position(place) < ends[place] for place in places):
            for records in consumer.poll(timeout_ms=500).values():
                found += [json.loads(record.value) for record in records]
    return found


def test_windows_of_the_streaming_application(
    serve, stage_env, programs, catalog_settings, store_settings, kafka_settings, live, tmp_path
):
    environment = stage_env(
        TICKLAKE_METRICS_PORT="0",
        TICKLAKE_STREAM_SOURCE="simulated",
        TICKLAKE_STREAM_SPEED_UP="60",
        TICKLAKE_STREAM_SYMBOLS="AAPL",
        TICKLAKE_STREAM_START_FROM_LAKE="false",
        TICKLAKE_WINDOWS_TRIGGER_SECONDS="0",
        TICKLAKE_WINDOWS_UNTIL_CLOSED_WINDOWS="1",
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
    newest = {}
    for window in sorted(messages(kafka_settings, live.names.analytics_topic), key=lambda window: window["version"]):
        newest[window["window_length"], window["window_start"]] = window["final"]
    tables = LakeTables(catalog_settings, store_settings)
    for length in ("15m", "1h"):
        rows = tables.read("market_test", WINDOWS, matching(flow=[live.namespace], window_length=[length]))
        stored = {iso_ms(row["window_start"]): row for row in rows.to_pylist()}
        # How far the query of running windows was as the other one ended is a matter of luck.
        due = {start for (of, start), is_final in newest.items() if of == length and not is_final} | stored.keys()
        # The page may still be reading the topic.
        shown = server.wait(
            f"/symbols/AAPL/windows?length={length}&limit=2000",
            lambda answer, due=due: {window["window_start"] for window in answer["items"]} == due,
        )["items"]
        final = {window["window_start"]: window for window in shown if window["final"]}
        assert final.keys() == stored.keys()
        for start, row in stored.items():
            window = final[start]
            for name in ("open", "high", "low", "close", "vwap", "volume", "tick_count", "moving_average", "source"):
                assert window[name] == row[name], name
            # A window of a single tick has no deviation, hence no band.
            wide = row["volatility"]
            assert window["upper_band"] == (wide and pytest.approx(row["moving_average"] + 2 * wide))
        running = {window["window_start"] for window in shown if not window["final"]}
        assert not running or min(running) > max(final)
