"""Runs the program against a real broker and store; windows by a plain computation to compare with."""

import contextlib
import io
import json
import math
import signal
import socket
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onebox.environment import cache_folder
from ticklake.kafka import ConfirmedProducer, make_consumer
from ticklake.manifests import all_windows
from ticklake.names import LiveNames
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, LiveSettings
from ticklake.spark_jvm import ONE_SHOT

Key = tuple[str, str, str, datetime]
KINDS = {"15m": (timedelta(minutes=15), timedelta(minutes=1)), "1h": (timedelta(hours=1), timedelta(minutes=5))}


@dataclass(frozen=True)
class Sent:
    """One tick as it was sent."""

    symbol: str
    price: float
    volume: int
    event_time: datetime
    sequence: int

    def message(self) -> bytes:
        value = {
            "schema_version": 1, "symbol": self.symbol, "price": self.price, "volume": self.volume,
            "event_time": f"{self.event_time:%Y-%m-%dT%H:%M:%S}.{self.event_time.microsecond // 1000:03d}Z",
            "sequence": self.sequence, "producer_run": "test", "source": "simulated",
        }  # fmt: skip
        return json.dumps(value).encode()


def earliest_start(moment: datetime, length: timedelta, slide: timedelta) -> datetime:
    """The first multiple of the slide after moment - length."""
    since = moment - length - datetime(1970, 1, 1, tzinfo=UTC)
    return datetime(1970, 1, 1, tzinfo=UTC) + (since // slide + 1) * slide


def plain_windows(
    ticks: Iterable[Sent],
    *,
    kinds: dict[str, tuple[timedelta, timedelta]] = KINDS,
    missed: Callable[[Sent, datetime], bool] = lambda *_: False,
) -> dict[Key, dict[str, Any]]:
    """Every window of the ticks; `missed` says that a tick came too late for the window with that end."""
    groups: dict[Key, list[Sent]] = {}
    for tick in ticks:
        for name, (length, slide) in kinds.items():
            start = earliest_start(tick.event_time, length, slide)
            while start <= tick.event_time:
                if not missed(tick, start + length):
                    groups.setdefault((tick.symbol, "simulated", name, start), []).append(tick)
                start += slide
    return {key: _values(sorted(found, key=lambda t: (t.event_time, t.sequence))) for key, found in groups.items()}


def _values(ticks: list[Sent]) -> dict[str, Any]:
    prices, volume = [tick.price for tick in ticks], sum(tick.volume for tick in ticks)
    return {
        "open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1], "volume": volume,
        "vwap": math.fsum(t.price * t.volume for t in ticks) / volume if volume else statistics.fmean(prices),
        "tick_count": len(ticks), "moving_average": statistics.fmean(prices),
        "volatility": statistics.stdev(prices) if len(prices) > 1 else None,
        "first_event_time": ticks[0].event_time, "last_event_time": ticks[-1].event_time,
    }  # fmt: skip


def assert_windows(seen: dict[Key, dict[str, Any]], expected: dict[Key, dict[str, Any]]) -> None:
    """The same windows with the same values; floats to 1e-12 of their size."""
    assert seen.keys() == expected.keys()
    for key, wanted in expected.items():
        for name, value in wanted.items():
            if isinstance(value, float):
                assert seen[key][name] == pytest.approx(value, rel=1e-12, abs=1e-9 if name == "volatility" else 0)
            else:
                assert seen[key][name] == value, (key, name)


@dataclass
class Bench:
    """One test's flow: its topics, its bucket, and the programs it started."""

    kafka: KafkaSettings
    store: ObjectStore
    names: LiveNames
    environment: Callable[..., dict[str, str]]
    program: Path
    logs: Path
    ports: list[int] = field(default_factory=list)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def send(self, ticks: Iterable[Sent], raw: Iterable[bytes] = ()) -> None:
        with ConfirmedProducer(self.kafka, "test") as producer:
            for tick in ticks:
                producer.send(self.names.topic, key=tick.symbol.encode(), value=tick.message())
            for message in raw:
                producer.send(self.names.topic, key=b"AAPL", value=message)

    def start(self, **settings: str) -> "subprocess.Popen[bytes]":
        """Start the program as fast as it triggers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.ports.append(probe.getsockname()[1])
        env = self.environment(
            TICKLAKE_WINDOWS_TRIGGER_SECONDS="0", TICKLAKE_METRICS_PORT=str(self.ports[-1]), **settings
        )
        number = len(self.started)
        with (self.logs / f"out-{number}").open("wb") as out, (self.logs / f"err-{number}").open("wb") as err:
            self.started.append(subprocess.Popen([self.program], env=env, stdout=out, stderr=err))
        return self.started[-1]

    def until(self, true: Callable[[], bool], seconds: float = 240) -> None:
        """Wait until `true`; the program must not end by itself meanwhile."""
        deadline = time.monotonic() + seconds
        while not true():
            assert self.started[-1].poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.3)

    def said(self) -> str:
        number = len(self.started) - 1
        return (self.logs / f"out-{number}").read_text() + (self.logs / f"err-{number}").read_text()

    def errors(self) -> str:
        return (self.logs / f"err-{len(self.started) - 1}").read_text()

    def terminate(self) -> float:
        """Stop the program with SIGTERM; it must end with 0 within 10 s. Returns the seconds."""
        asked = time.monotonic()
        self.started[-1].send_signal(signal.SIGTERM)
        assert self.started[-1].wait(12) == 0, self.said()
        return time.monotonic() - asked

    def kill(self) -> None:
        self.started[-1].kill()
        self.started[-1].wait(10)

    def windows(self) -> dict[Key, dict[str, Any]]:
        """Closed windows as readers see them, through the manifests; each must be there once."""
        found: dict[Key, dict[str, Any]] = {}
        for manifest in all_windows(self.store, self.names):
            for reference in manifest.objects:
                body = self.store.get(reference.key)
                assert (len(body), self.store.metadata(reference.key)["sha256"]) == (reference.size, reference.sha256)
                rows = pq.read_table(pa.BufferReader(body)).to_pylist()
                assert len(rows) == reference.rows
                for row in rows:
                    assert row["window_length"] == manifest.query
                    key = (row["symbol"], row["source"], row["window_length"], row["window_start"])
                    assert key not in found, f"{key} was written twice"
                    found[key] = row
        return found

    def messages(self, topic: str) -> list[Any]:
        """Everything in a topic."""
        from kafka import TopicPartition

        consumer = make_consumer(self.kafka, "test")
        with contextlib.closing(consumer):
            places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            found: list[Any] = []
            while any(consumer.position(place) < ends[place] for place in places):
                for records in consumer.poll(timeout_ms=500).values():
                    found += records
        return found

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[-1]}{path}", timeout=5) as answer:
            return str(io.TextIOWrapper(answer).read())

    def metric(self, name: str) -> float:
        """A metric's value; 0 while it is not there, e.g. before the program listens."""
        try:
            served = self.get("/metrics")
        except OSError:
            return 0.0
        lines = [line for line in served.splitlines() if line.startswith(f"ticklake_stream_analytics_{name} ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0


@pytest.fixture
def bench(
    kafka_settings: KafkaSettings,
    store: ObjectStore,
    live: LiveSettings,
    stage_env: Callable[..., dict[str, str]],
    programs: Path,
    tmp_path: Path,
) -> Iterator[Bench]:
    archives = cache_folder() / "classes"

    def environment(**more: str) -> dict[str, str]:
        fast = {"TICKLAKE_SPARK_JAVA_OPTIONS": " ".join(ONE_SHOT)}
        # Only a run that ends by itself may write the archive: one that is killed would leave half of one.
        if "TICKLAKE_WINDOWS_UNTIL_CLOSED_WINDOWS" in more or any(archives.glob("stream-analytics-*.jsa")):
            fast["TICKLAKE_SPARK_CLASS_ARCHIVE_DIR"] = str(archives)
        return stage_env(**fast, **more)

    flow = Bench(kafka_settings, store, live.names, environment, programs / "stream-analytics", tmp_path)
    yield flow
    for process in flow.started:
        if process.poll() is None:
            process.kill()
            process.wait(10)


@pytest.fixture
def reference() -> Callable[..., dict[Key, dict[str, Any]]]:
    return plain_windows


@pytest.fixture
def compare() -> Callable[..., None]:
    return assert_windows


@pytest.fixture
def tick() -> type[Sent]:
    return Sent
