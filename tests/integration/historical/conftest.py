"""Both ends of the batch topic against the real broker and store, and the recording read on its own."""

import csv
import dataclasses
import gzip
import subprocess
import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bokeh_sampledata import package_path
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from consume_historical.settings import ConsumeSettings
from consume_historical.stage import run_stage as consume_stage
from fetch_historical.answer_store import ROWS, AnswerStore, request_header
from fetch_historical.batch_period import Period
from fetch_historical.replay import replay_settings
from fetch_historical.settings import FetchSettings, YahooSettings
from fetch_historical.stage import run_stage as fetch_stage
from fetch_historical.yahoo import YahooSource
from ticklake import lineage
from ticklake.batch_stage import Run
from ticklake.lineage import OffsetRange, StageRecord
from ticklake.objects import ObjectStore
from ticklake.records import Source
from ticklake.settings import CatalogSettings, KafkaSettings, StoreSettings

LAST = date(2013, 3, 1)
"""The recording's last session, as its publisher states it."""

Stage = Callable[..., StageRecord]


@pytest.fixture
def run_id() -> str:
    return f"manual__2013-03-01T22:00:00+00:00,{uuid.uuid4().hex[:8]}"


@pytest.fixture
def fetch(
    kafka_settings: KafkaSettings, store_settings: StoreSettings, catalog_settings: CatalogSettings, run_id: str
) -> Stage:
    """Runs fetch-historical in this process; keywords are settings."""

    def run(day: date = LAST, source: Source = Source.REPLAY, the_run: str = run_id, **more: Any) -> StageRecord:
        servers = {"kafka": kafka_settings, "store": store_settings, "catalog": catalog_settings}
        settings = FetchSettings(**(servers | {"source": source} | more))
        record, store = fetch_stage(settings, Run(the_run, day))
        lineage.write(store, record)
        return record

    return run


@pytest.fixture
def consume(kafka_settings: KafkaSettings, store_settings: StoreSettings, run_id: str) -> Stage:
    """Runs consume-historical in this process; keywords are settings."""

    def run(day: date = LAST, the_run: str = run_id, **more: Any) -> StageRecord:
        settings = ConsumeSettings(**({"kafka": kafka_settings, "store": store_settings} | more))
        record, store = consume_stage(settings, Run(the_run, day))
        lineage.write(store, record)
        return record

    return run


@pytest.fixture
def program(programs: Path, stage_env: Callable[..., dict[str, str]]) -> Callable[..., Any]:
    """Runs a stage as the process that it is in production; keywords are variables."""

    def run(name: str, run_id: str, day: str = "2013-03-01", **more: str) -> subprocess.CompletedProcess[str]:
        command = [str(programs / name), "--date", day, "--run-id", run_id]
        return subprocess.run(command, env=stage_env(**more), capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture
def program_of(programs: Path, stage_env: Callable[..., dict[str, str]]) -> Callable[..., Any]:
    """Runs a program with these arguments."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(programs / words[0]), *words[1:]]
        return subprocess.run(command, env=stage_env(), capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture
def messages(kafka_settings: KafkaSettings) -> Callable[..., list[Any]]:
    """The messages in offset ranges, read with a plain consumer."""

    def read(ranges: tuple[OffsetRange, ...]) -> list[Any]:
        consumer = KafkaConsumer(
            bootstrap_servers=kafka_settings.bootstrap_servers, group_id=None, auto_offset_reset="earliest"
        )
        found = []
        for part in ranges:
            place = TopicPartition(part.topic, part.partition)
            consumer.assign([place])
            consumer.seek(place, part.first)
            while consumer.position(place) <= part.last:
                found += [r for r in consumer.poll(200).get(place, []) if r.offset <= part.last]
        consumer.close()
        return found

    return read


@pytest.fixture
def inject(kafka_settings: KafkaSettings) -> Callable[..., Any]:
    """Puts one message into a topic, as a stranger would."""

    def put(topic: str, value: bytes | None, key: bytes | None = None, partition: int | None = None) -> Any:
        producer = KafkaProducer(bootstrap_servers=kafka_settings.bootstrap_servers)
        metadata = producer.send(topic, key=key, value=value, partition=partition).get(timeout=300)
        producer.close()
        return metadata

    return put


def recorded_days(symbol: str, first: date, last: date) -> list[dict[str, Any]]:
    """The recording's own rows of one symbol, read from its file and not through the code under test."""
    with gzip.open(package_path("stocks.csv.gz"), "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Ticker"] == symbol]
    return [row for row in rows if first.isoformat() <= row["Date"] <= last.isoformat()]


@pytest.fixture
def recorded() -> Callable[..., list[dict[str, Any]]]:
    return recorded_days


@pytest.fixture
def inject_row(store: ObjectStore) -> Callable[..., list[int]]:
    """Stores a run's answer for IBM with some values changed, as a source that sends nonsense would leave it."""

    def put(run_id: str, symbol: str, changes: dict[int, dict[str, float]]) -> list[int]:
        period = Period(date(2012, 3, 2), LAST)
        with replay_settings(period, YahooSettings()) as local, YahooSource(local) as source:
            reply = source.ask(symbol, period)
        rows = reply.rows.to_pylist()
        for place, values in changes.items():
            rows[place].update(values)
        spoiled = dataclasses.replace(reply, rows=pa.Table.from_pylist(rows, schema=ROWS))
        request = request_header(Source.REPLAY, period, (symbol,))
        AnswerStore(store, run_id, Source.REPLAY, request).keep(symbol, lambda: spoiled)
        return list(changes)

    return put
