"""The alerts on live ticks, on the metrics of running services: each fires when its fault is made, and clears."""

import time
from collections.abc import Callable
from typing import Any

from waiting import wait_until

from ticklake import kafka
from ticklake.settings import KafkaSettings, LiveSettings

Environment = Callable[..., dict[str, str]]
NOT_FIRING = ("TicklakeNoTicks", "TicklakeWriteErrors", "TicklakeArchiveLagGrowing", "TicklakeQuarantineRate")


def test_ticks_stop_messages_are_invalid_and_the_store_is_away(
    stage_env: Environment,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    own_store: Any,
    monitoring: Any,
    receiver: Any,
    services: Any,
) -> None:
    environment = stage_env(
        TICKLAKE_ARCHIVE_ROLL_SECONDS="0.5",
        TICKLAKE_STREAM_SOURCE="simulated",
        TICKLAKE_STREAM_RATE="100",
        TICKLAKE_CALENDAR="24/7",
        **own_store.environment(),
    )
    for program in ("archive-ticks", "stream-ticks"):
        services.start(program, environment)
    targets = {f"ticklake-{program}": services.port(program) for program in ("archive-ticks", "stream-ticks")}
    thresholds = {"no_tick_seconds": 3, "lag_messages": 100}
    with monitoring.running(targets, thresholds) as prometheus:
        rate = "sum(rate(ticklake_archive_ticks_rows_total[5s]))"
        wait_until(lambda: (prometheus.value(rate) or 0) > 50, services.log.read_text)
        receiver.notices.clear()
        time.sleep(8)
        assert not [name for name in NOT_FIRING if "firing" in receiver.states(name)], receiver.notices

        assert services.stop("stream-ticks") == 0
        receiver.expect("firing", "TicklakeNoTicks")
        receiver.expect("firing", "TicklakeTargetDown", job="ticklake-stream-ticks")
        assert receiver.states("TicklakeWriteErrors") == []
        services.start("stream-ticks", environment)
        receiver.expect("resolved", "TicklakeNoTicks")
        receiver.expect("resolved", "TicklakeTargetDown", job="ticklake-stream-ticks")

        with kafka.ConfirmedProducer(kafka_settings, "test") as producer:
            for _ in range(200):
                producer.send(live.names.topic, key=b"AAPL", value=b"no tick")
        receiver.expect("firing", "TicklakeQuarantineRate")
        receiver.expect("resolved", "TicklakeQuarantineRate")

        # What fails is the ledger object or, where it was just written, its copy: whichever was due.
        own_store.kill()
        receiver.expect("firing", "TicklakeWriteErrors")
        receiver.expect("firing", "TicklakeArchiveLagGrowing")
        own_store.start()
        receiver.expect("resolved", "TicklakeWriteErrors")
        receiver.expect("resolved", "TicklakeArchiveLagGrowing")
        wait_until(lambda: not prometheus.value("max(ticklake_archive_ticks_paused)"), services.log.read_text)
