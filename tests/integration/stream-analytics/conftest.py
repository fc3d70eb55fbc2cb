"""Runs the program against a real broker and store."""

import contextlib
import dataclasses
import io
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import other_clients
import psutil
import pytest
from own_servers import OwnStore, PasswordBroker
from plain_windows import Key, Sent, assert_windows, plain_windows
from waiting import ENDS_SECONDS, wait_until

from ticklake.catalog import LakeTables, matching
from ticklake.errors import StageError
from ticklake.kafka import ConfirmedProducer, delete_topics, ensure_topics, make_consumer, topic_id
from ticklake.objects import ObjectStore
from ticklake.records import Source
from ticklake.settings import CatalogSettings, KafkaSettings, LiveSettings, StoreSettings
from ticklake.spark_jvm import ONE_SHOT
from ticklake.tables import WINDOWS, namespace_of
from ticklake.topics import LiveNames, batch_topics, live_topics
from ticklake_local import platform
from ticklake_local.environment import cache_folder


@dataclass
class Bench:
    """One test's flow: its topics, its bucket, and the programs it started."""

    kafka: KafkaSettings
    store: ObjectStore
    tables: LakeTables
    names: LiveNames
    flow: str
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

    def transact(self, ticks: Iterable[Sent], *, commit: bool) -> None:
        """Send ticks in one transaction."""
        messages = ((tick.symbol, tick.message()) for tick in ticks)
        other_clients.transact(self.kafka, self.names.topic, messages, commit=commit)

    def start(self, **settings: str) -> "subprocess.Popen[bytes]":
        """Start the program as fast as it triggers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.ports.append(probe.getsockname()[1])
        defaults = {
            "TICKLAKE_WINDOWS_TRIGGER_SECONDS": "0",
            "TICKLAKE_WINDOWS_RUNNING_TRIGGER_SECONDS": "0",
            "TICKLAKE_METRICS_PORT": str(self.ports[-1]),
        }
        env = self.environment(**defaults | settings)
        number = len(self.started)
        with (self.logs / f"out-{number}").open("wb") as out, (self.logs / f"err-{number}").open("wb") as err:
            self.started.append(subprocess.Popen([self.program], env=env, stdout=out, stderr=err))
        return self.started[-1]

    def until(self, true: Callable[[], bool], seconds: float = 480) -> None:
        """Wait until `true`; the program must not end by itself meanwhile."""
        wait_until(true, self.output, alive=lambda: self.started[-1].poll() is None, seconds=seconds, pause=0.3)

    def output(self) -> str:
        number = len(self.started) - 1
        return (self.logs / f"out-{number}").read_text() + (self.logs / f"err-{number}").read_text()

    def errors(self) -> str:
        return (self.logs / f"err-{len(self.started) - 1}").read_text()

    def terminate(self) -> float:
        """Stop the program with SIGTERM; it must end with 0. Returns the seconds."""
        asked = time.monotonic()
        self.started[-1].send_signal(signal.SIGTERM)
        assert self.started[-1].wait(ENDS_SECONDS) == 0, self.output()
        return time.monotonic() - asked

    def kill(self) -> None:
        self.started[-1].kill()
        self.started[-1].wait(10)

    @contextlib.contextmanager
    def asleep(self) -> Iterator[None]:
        """Let nothing of the program run meanwhile."""
        parent = psutil.Process(self.started[-1].pid)
        stopped: list[psutil.Process] = []
        # Python workers come and go until all that start some are stopped.
        while new := [each for each in (parent, *parent.children(recursive=True)) if each not in stopped]:
            for process in new:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
            stopped += new
        try:
            yield
        finally:
            for process in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def recreate_topic(self) -> tuple[str, str]:
        """Delete the live topic and create it under the same name; the ids of the old and the new."""
        old = topic_id(self.kafka, self.names.topic)
        specs = [spec for spec in live_topics(self.names) if spec.name == self.names.topic]
        delete_topics(self.kafka, [self.names.topic])

        def new() -> str | None:  # the broker deletes in the background
            with contextlib.suppress(StageError):
                ensure_topics(self.kafka, specs)
                return found if (found := topic_id(self.kafka, self.names.topic)) != old else None
            return None

        return old, wait_until(new)

    def windows(self) -> dict[Key, dict[str, Any]]:
        """Closed windows as readers see them; each must be there once."""
        found: dict[Key, dict[str, Any]] = {}
        for namespace in ("market", "market_test"):
            for row in self.tables.read(namespace, WINDOWS, matching(flow=[self.flow])).to_pylist():
                assert namespace_of(Source(row["source"])) == namespace
                key = (row["symbol"], row["source"], row["window_length"], row["window_start"])
                assert key not in found, f"{key} was written twice"
                found[key] = row
        return found

    def starts(self) -> set[datetime]:
        """When the closed windows begin, however often each is there."""
        rows = self.tables.read("market_test", WINDOWS, matching(flow=[self.flow]), ("window_start",))
        return set(rows["window_start"].to_pylist())

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

    def ready(self) -> bool:
        try:
            return self.get("/readyz").strip() == "ok"
        except OSError:
            return False

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
    store_settings: StoreSettings,
    catalog_settings: CatalogSettings,
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

    flow = Bench(
        kafka_settings,
        store,
        LakeTables(catalog_settings, store_settings),
        live.names,
        live.namespace,
        environment,
        programs / "stream-analytics",
        tmp_path,
    )
    yield flow
    for process in flow.started:
        if process.poll() is None:
            process.kill()
            process.wait(10)


@pytest.fixture
def own_store(local_tools: platform.Tools, tmp_path: Path) -> Iterator[OwnStore]:
    """A store that a test may end, with a bucket."""
    store = OwnStore(local_tools, tmp_path)
    store.start_again()
    ObjectStore(store.settings).create_bucket()
    yield store
    store.stop()


@pytest.fixture
def on_own_store(bench: Bench, own_store: OwnStore, catalog_settings: CatalogSettings) -> tuple[Bench, dict[str, str]]:
    """The bench with that store, and the program's settings for it."""
    settings = {
        "TICKLAKE_STORE_ENDPOINT": own_store.endpoint,
        "TICKLAKE_STORE_ACCESS_KEY": "key",
        "TICKLAKE_STORE_SECRET_KEY": "first",
        "TICKLAKE_STORE_BUCKET": "bucket",
        "TICKLAKE_STORE_TIMEOUT_SECONDS": "2",
        "TICKLAKE_WINDOWS_RUNNING": "false",  # it needs no store
        "TICKLAKE_WINDOWS_CHECKPOINT": str(bench.logs / "checkpoints"),
    }
    tables = LakeTables(catalog_settings, own_store.settings)
    return dataclasses.replace(bench, store=ObjectStore(own_store.settings), tables=tables), settings


@pytest.fixture
def own_broker(local_tools: platform.Tools, tmp_path: Path, live: LiveSettings) -> Iterator[PasswordBroker]:
    """A broker that a test may end, with the topics and the user `reader`, password `first`."""
    broker = PasswordBroker(local_tools, tmp_path)
    broker.start_again()
    ensure_topics(broker.settings, [*batch_topics(), *live_topics(live.names)])
    broker.set_password("first")
    yield broker
    broker.stop()


@pytest.fixture
def reference() -> Callable[..., dict[Key, dict[str, Any]]]:
    return plain_windows


@pytest.fixture
def compare() -> Callable[..., None]:
    return assert_windows


@pytest.fixture
def tick() -> type[Sent]:
    return Sent
