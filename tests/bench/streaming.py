"""Running windows: how far behind the ticks they are, and whether the queries keep up, with the archive beside them."""

import json
import multiprocessing
import statistics
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import confluent_kafka
from rich.console import Console
from rich.table import Table

from ticklake.kafka import ConfirmedProducer
from ticklake.records import Source, Tick
from ticklake.settings import KafkaSettings
from ticklake.symbols import LIVE_SYMBOLS
from ticklake.topics import live_names
from ticklake_local.live_services import ARCHIVE_TICKS, STREAM_ANALYTICS, Service
from ticklake_local.platform import Platform

_WARM_SECONDS, _MEASURED_SECONDS = 45.0, 60.0
_SLICES = 50
"""Sends in a second."""


@dataclass(frozen=True)
class Measured:
    """What one rate gave."""

    rate: int
    """Ticks per second that were sent."""
    p50: float
    """Seconds from a tick's event time to the running window that has it as its last."""
    p99: float
    behind: dict[str, float]
    """By query: messages in the log that are in no finished micro-batch, at the end."""
    stop: float
    """Seconds from SIGTERM to the end."""


def compare_streaming(platform: Platform, rates: list[int], console: Console) -> None:
    """Measure each rate, in ticks per second, and print what was seen."""
    table = Table(
        "ticks/s",
        "sent/s",
        "p50 s",
        "p99 s",
        "closed behind",
        "running behind",
        "SIGTERM s",
        title="Running windows behind their ticks",
        title_justify="left",
    )
    for rate in rates:
        found = _measure(platform, rate)
        table.add_row(
            f"{rate:,}",
            f"{found.rate:,}",
            f"{found.p50:.2f}",
            f"{found.p99:.2f}",
            f"{found.behind['closed']:,.0f}",
            f"{found.behind['running']:,.0f}",
            f"{found.stop:.1f}",
        )
    console.print(table)


def _measure(platform: Platform, rate: int) -> Measured:
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    platform.ensure_live_topics(namespace)
    live, checkpoints = live_names(namespace), platform.folder.root / "checkpoints" / namespace
    # As in the real flow, whose topics others may have filled.
    analytics = Service(
        STREAM_ANALYTICS,
        platform,
        namespace,
        WINDOWS_CHECKPOINT=checkpoints.as_uri(),
        WINDOWS_HEARTBEAT="true",
        LIVE_FUTURE_TOLERANCE_SECONDS="60",
    )
    archive = Service(ARCHIVE_TICKS, platform, namespace)
    seconds = _WARM_SECONDS + _MEASURED_SECONDS
    sent = multiprocessing.Value("q", 0)
    producer = multiprocessing.Process(target=_send, args=(platform.kafka, live.topic, rate, seconds, sent))
    with ExitStack() as stack:
        for service in (analytics, archive):
            stack.callback(service.stop)
            service.start()
        for service in (analytics, archive):
            service.wait_ready(check=platform.check)
        began = time.monotonic()
        producer.start()
        stack.callback(producer.join)
        ages = _ages(platform.kafka, live.analytics_topic, began + _WARM_SECONDS, began + seconds)
        behind = {
            query: analytics.metric("ticklake_stream_analytics_lag", query=query) for query in ("closed", "running")
        }
        asked = time.monotonic()
        analytics.stop()
        stop = time.monotonic() - asked
    cuts = statistics.quantiles(ages, n=100)
    return Measured(round(sent.value / seconds), cuts[49], cuts[98], behind, stop)


def _ages(kafka: KafkaSettings, topic: str, first: float, last: float) -> list[float]:
    """Of the running windows that arrive in a span of the clock, seconds since the event time of the last tick."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "latest"}
    )
    consumer.subscribe([topic])
    found: list[float] = []
    while (now := time.monotonic()) < last:
        for message in consumer.consume(500, timeout=0.05):
            if now < first or message.error():
                continue
            window = json.loads(message.value())
            if not window["final"] and window["window_length"] == "1h":
                found.append(time.time() - datetime.fromisoformat(window["last_event_time"]).timestamp())
    consumer.close()
    return found


def _send(
    kafka: KafkaSettings, topic: str, rate: int, seconds: float, sent: "multiprocessing.sharedctypes.Synchronized[int]"
) -> None:
    tick = Tick.model_validate(
        {
            "symbol": "AAPL",
            "price": 187.1234,
            "volume": 1200,
            "event_time": "2026-01-30T14:30:00.123Z",
            "sequence": 0,
            "producer_run": "bench",
            "source": Source.SIMULATED,
        }
    )
    text = tick.model_dump_json()
    before, after = text.split("2026-01-30T14:30:00.123Z")
    began, count = time.monotonic(), 0
    with ConfirmedProducer(kafka, "bench") as producer:
        for number in range(round(seconds * _SLICES)):
            now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
            for _ in range(rate // _SLICES):
                symbol = LIVE_SYMBOLS[count % len(LIVE_SYMBOLS)]
                value = (
                    (before + now + after)
                    .replace('"AAPL"', f'"{symbol}"')
                    .replace('"sequence":0', f'"sequence":{count}')
                )
                producer.send(topic, key=symbol.encode(), value=value.encode())
                count += 1
            sent.value = count
            time.sleep(max(0.0, began + (number + 1) / _SLICES - time.monotonic()))
