"""The alerts on windows, on the metrics of running streaming analytics: each fires and clears."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from waiting import wait_until

from ticklake import kafka
from ticklake.records import Source, Tick
from ticklake.settings import KafkaSettings, LiveSettings
from ticklake_local.environment import cache_folder

Environment = Callable[..., dict[str, str]]


def test_the_watermark_does_not_advance_ticks_come_late_and_faster_than_they_are_read(
    stage_env: Environment,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    monitoring: Any,
    receiver: Any,
    services: Any,
) -> None:
    environment = stage_env(
        # Windows that do not slide and no running ones: the machine has to keep up with its ticks.
        TICKLAKE_WINDOWS_TRIGGER_SECONDS="0",
        TICKLAKE_WINDOWS_WATERMARK_SECONDS="1",
        TICKLAKE_WINDOWS_RUNNING="false",
        TICKLAKE_WINDOWS_SLIDE_15M_SECONDS="900",
        TICKLAKE_WINDOWS_SLIDE_1H_SECONDS="3600",
        TICKLAKE_WINDOWS_HEARTBEAT="false",
        TICKLAKE_STREAM_SOURCE="simulated",
        TICKLAKE_STREAM_RATE="16",
        TICKLAKE_SPARK_CLASS_ARCHIVE_DIR=str(cache_folder() / "classes"),
    )
    for program in ("stream-analytics", "stream-ticks"):
        services.start(program, environment)
    targets = {f"ticklake-{program}": services.port(program) for program in ("stream-analytics", "stream-ticks")}
    with monitoring.running(targets, {"watermark_age_seconds": 30, "lag_messages": 400}) as prometheus:
        age = 'time() - max(ticklake_stream_analytics_watermark_timestamp_seconds{query="closed"})'
        wait_until(lambda: 0 < (prometheus.value(age) or 0) < 15, services.log.read_text)
        receiver.notices.clear()

        assert services.stop("stream-ticks") == 0
        receiver.expect("firing", "TicklakeWindowsLate")
        services.start("stream-ticks", environment)
        receiver.expect("resolved", "TicklakeWindowsLate")

        assert receiver.states("TicklakeLateTicks") == []
        long_ago = datetime.now(UTC) - timedelta(hours=3)
        with kafka.ConfirmedProducer(kafka_settings, "test") as producer:
            for number in range(300):
                tick = Tick(
                    symbol="AAPL",
                    price=100,
                    volume=1,
                    event_time=long_ago,
                    sequence=number,
                    producer_run="late",
                    source=Source.SIMULATED,
                )
                producer.send(live.names.topic, key=b"AAPL", value=tick.model_dump_json().encode())
        receiver.expect("firing", "TicklakeLateTicks", window="15m")
        receiver.expect("resolved", "TicklakeLateTicks", window="15m")

        # What arrives while a micro-batch runs is its query's lag: more ticks are more lag, which then stays.
        # On a slow machine the late ticks were a lag already.
        wait_until(lambda: receiver.states("TicklakeAnalyticsLagGrowing")[-1:] != ["firing"], services.log.read_text)
        receiver.notices.clear()
        assert services.stop("stream-ticks") == 0
        receiver.expect("firing", "TicklakeTargetDown", job="ticklake-stream-ticks")
        services.start("stream-ticks", environment | {"TICKLAKE_STREAM_RATE": "1000"})
        receiver.expect("firing", "TicklakeAnalyticsLagGrowing")
        receiver.expect("resolved", "TicklakeTargetDown", job="ticklake-stream-ticks")
        assert services.stop("stream-ticks") == 0
        receiver.expect("resolved", "TicklakeAnalyticsLagGrowing")
