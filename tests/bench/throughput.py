"""Producing and archiving, records per second per process: ours, kafka-python's defaults, librdkafka."""

import json
import statistics
import time
import uuid
from collections.abc import Callable

import confluent_kafka
from kafka import KafkaConsumer, KafkaProducer
from rich.console import Console
from rich.table import Table

from ticklake import kafka
from ticklake.objects import ObjectStore
from ticklake.records import Source, Tick
from ticklake.symbols import LIVE_SYMBOLS
from ticklake.topics import LiveNames, TopicSpec, live_names
from ticklake_local.live_services import ARCHIVE_TICKS, Service
from ticklake_local.platform import Platform

_PRODUCED = 100_000
_ARCHIVED = 400_000
_ARCHIVE_SECONDS = 120

Rate = Callable[[], float]


def compare_clients(platform: Platform, rounds: int, console: Console) -> None:
    """Run each contender `rounds` times in turn; print the medians and the ratios to ours."""
    producing: dict[str, Rate] = {
        "ours": lambda: _produce_ours(platform),
        "kafka-python defaults": lambda: _produce_default(platform),
        "librdkafka": lambda: _produce_librdkafka(platform),
    }
    _show(console, f"Producing {_PRODUCED:,} ticks, every delivery confirmed", _in_turn(producing, rounds))
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    live = live_names(namespace)
    platform.ensure_live_topics(namespace)
    _fill(platform, live)
    archiving: dict[str, Rate] = {
        "ours: read, validate, Parquet, CSV": lambda: _archive(platform, namespace),
        "kafka-python defaults: read, parse JSON": lambda: _read_default(platform, live),
        "librdkafka: read, parse JSON": lambda: _read_librdkafka(platform, live),
    }
    _show(console, f"Archiving {_ARCHIVED:,} ticks, the process's start included", _in_turn(archiving, rounds))


def _in_turn(contenders: dict[str, Rate], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            found[name].append(contender())
    return found


def _show(console: Console, title: str, found: dict[str, list[float]]) -> None:
    table = Table("client", "records per second (median)", "ours / this", title=title, title_justify="left")
    ours = next(iter(found.values()))
    for name, rates in found.items():
        ratio = statistics.median(a / b for a, b in zip(ours, rates, strict=True))
        table.add_row(name, f"{statistics.median(rates):,.0f}", f"{ratio:.2f}")
    console.print(table)


def _ticks(count: int) -> list[tuple[bytes, bytes]]:
    """Keys and values of `count` ticks."""
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
    made = []
    for number in range(count):
        symbol = LIVE_SYMBOLS[number % len(LIVE_SYMBOLS)]
        value = tick.model_copy(update={"symbol": symbol, "sequence": number}).model_dump_json().encode()
        made.append((symbol.encode(), value))
    return made


def _new_topic(platform: Platform) -> str:
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    kafka.ensure_topics(platform.kafka, [TopicSpec(topic, 4, {})])
    return topic


def _produce_ours(platform: Platform) -> float:
    topic, ticks = _new_topic(platform), _ticks(_PRODUCED)
    began = time.perf_counter()
    with kafka.ConfirmedProducer(platform.kafka, "bench") as producer:
        for key, value in ticks:
            producer.send(topic, key=key, value=value)
    return _PRODUCED / (time.perf_counter() - began)


def _produce_default(platform: Platform) -> float:
    topic, ticks = _new_topic(platform), _ticks(_PRODUCED)
    began = time.perf_counter()
    producer = KafkaProducer(bootstrap_servers=platform.kafka.bootstrap_servers)
    sent = [producer.send(topic, key=key, value=value) for key, value in ticks]
    producer.flush()
    for each in sent:
        each.get(timeout=10)
    producer.close()
    return _PRODUCED / (time.perf_counter() - began)


def _produce_librdkafka(platform: Platform) -> float:
    topic, ticks = _new_topic(platform), _ticks(_PRODUCED)
    failed: list[object] = []

    def confirmed(error: object, _: object) -> None:
        if error is not None:
            failed.append(error)

    began = time.perf_counter()
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": platform.kafka.bootstrap_servers,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 2 * _PRODUCED,
        }
    )
    for key, value in ticks:
        producer.produce(topic, key=key, value=value, on_delivery=confirmed)
        producer.poll(0)
    producer.flush(60)
    if failed:
        raise RuntimeError(f"{len(failed)} deliveries failed: {failed[0]}")
    return _PRODUCED / (time.perf_counter() - began)


def _fill(platform: Platform, live: LiveNames) -> None:
    with kafka.ConfirmedProducer(platform.kafka, "bench") as producer:
        for key, value in _ticks(_ARCHIVED):
            producer.send(live.topic, key=key, value=value)


def _archive(platform: Platform, namespace: str) -> float:
    """A fresh archive of the topic: each call writes to a bucket of its own."""
    bucket = f"bench-{uuid.uuid4().hex[:8]}"
    ObjectStore(platform.store.model_copy(update={"bucket": bucket})).create_bucket()
    service = Service(
        ARCHIVE_TICKS, platform, namespace, STORE_BUCKET=bucket, ARCHIVE_ROLL_ROWS="50000", ARCHIVE_ROLL_SECONDS="2"
    )
    began = time.perf_counter()
    service.start()
    try:
        while service.metric("ticklake_archive_ticks_rows_total") < _ARCHIVED:
            if time.perf_counter() - began > _ARCHIVE_SECONDS:
                raise RuntimeError(f"not archived within {_ARCHIVE_SECONDS} s; see {service.log}")
            time.sleep(0.1)
        return _ARCHIVED / (time.perf_counter() - began)
    finally:
        service.stop()


def _read_default(platform: Platform, live: LiveNames) -> float:
    began = time.perf_counter()
    consumer = KafkaConsumer(
        live.topic,
        bootstrap_servers=platform.kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        group_id=f"bench-{uuid.uuid4().hex[:8]}",
    )
    for count, message in enumerate(consumer, start=1):
        json.loads(message.value)
        if count == _ARCHIVED:
            break
    consumer.close()
    return _ARCHIVED / (time.perf_counter() - began)


def _read_librdkafka(platform: Platform, live: LiveNames) -> float:
    began = time.perf_counter()
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": platform.kafka.bootstrap_servers,
            "auto.offset.reset": "earliest",
            "group.id": f"bench-{uuid.uuid4().hex[:8]}",
        }
    )
    consumer.subscribe([live.topic])
    count = 0
    while count < _ARCHIVED:
        for message in consumer.consume(5000, timeout=5):
            json.loads(message.value())
            count += 1
    consumer.close()
    return _ARCHIVED / (time.perf_counter() - began)
