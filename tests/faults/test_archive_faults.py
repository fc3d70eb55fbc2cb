"""Processes killed and stopped in the middle of the stream: afterwards every tick is archived exactly once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from waiting import ENDS_SECONDS, SECONDS, wait_until

from ticklake import kafka
from ticklake.errors import IntegrityError
from ticklake.ledger import verify_chain
from ticklake.ledger_table import read_object
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, LiveSettings
from ticklake.topics import LiveNames, batch_topics, live_topics
from ticklake_local import platform
from ticklake_local.broker import Broker
from ticklake_local.processes import free_port

Environment = Callable[..., dict[str, str]]
SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "NVDA", "INTC")
HELD = [sys.executable, str(Path(__file__).with_name("held_archive.py"))]


class Processes:
    """Starts programs and ends them all at the end, with their logs in one folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack, self._count = folder, stack, 0
        self._paths: dict[int, Path] = {}

    def start(self, command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        self._count += 1
        output = self._stack.enter_context((self._folder / f"{self._count}.log").open("wb"))
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        self._stack.callback(self._end, process)
        self._paths[process.pid] = Path(output.name)
        return process

    def log(self, process: "subprocess.Popen[bytes]") -> str:
        return self._paths[process.pid].read_text()

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    @staticmethod
    def _end(process: "subprocess.Popen[bytes]") -> None:
        process.kill()
        process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with ExitStack() as stack:
        yield Processes(tmp_path, stack)


def tick(symbol: str, sequence: int, run: str) -> bytes:
    return json.dumps(
        {
            "schema_version": 1,
            "symbol": symbol,
            "price": 100.5,
            "volume": 1,
            "sequence": sequence,
            "event_time": "2026-01-30T15:00:00.000Z",
            "producer_run": run,
            "source": "simulated",
        }
    ).encode()


def archive_env(stage_env: Environment, roll_seconds: float, **more: str) -> dict[str, str]:
    return stage_env(
        TICKLAKE_METRICS_PORT="0",
        TICKLAKE_ARCHIVE_ROLL_SECONDS=str(roll_seconds),
        TICKLAKE_ARCHIVE_SESSION_TIMEOUT_SECONDS="6",
        **more,
    )


def stream_env(stage_env: Environment, run: str, ticks: int, rate: int, **more: str) -> dict[str, str]:
    return stage_env(
        TICKLAKE_METRICS_PORT="0",
        TICKLAKE_STREAM_SOURCE="simulated",
        TICKLAKE_STREAM_PRODUCER_RUN=run,
        TICKLAKE_STREAM_MAX_TICKS=str(ticks),
        TICKLAKE_STREAM_RATE=str(rate),
        **more,
    )


def archived_offsets(store: ObjectStore, live: LiveNames, topic_id: str) -> int:
    chains = verify_chain(store, live, topic_id)
    return sum(r.last_offset - r.first_offset + 1 for ranges in chains.values() for r in ranges)


def check_every_tick_once(store: ObjectStore, live: LiveNames, topic_id: str, expected: dict[str, int]) -> None:
    """Each run's ticks, sequence by sequence and symbol by symbol, are there exactly once, in an unbroken chain."""
    chains = verify_chain(store, live, topic_id)
    for ranges in chains.values():
        assert ranges[0].first_offset == 0
    seen: Counter[tuple[str, str, int]] = Counter()
    for found in store.list_objects(f"{live.raw_prefix}/"):
        if found.key.endswith(".parquet"):
            _, table = read_object(store, found.key)
            seen.update(zip(*(table[name].to_pylist() for name in ("producer_run", "symbol", "sequence")), strict=True))
    assert set(seen.values()) == {1}
    assert seen.keys() == {
        (run, symbol, sequence)
        for run, ticks in expected.items()
        for symbol in SYMBOLS
        for sequence in range(ticks // len(SYMBOLS))
    }


def test_archives_killed_in_the_middle_of_the_stream(
    stage_env: Environment,
    programs: Path,
    processes: Processes,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    store: ObjectStore,
) -> None:
    topic_id = kafka.topic_id(kafka_settings, live.names.topic)
    archive = [str(programs / "archive-ticks")]
    environment = archive_env(stage_env, 0.4)
    stream = processes.start([str(programs / "stream-ticks")], stream_env(stage_env, "run", 8000, 800))
    first, second = (processes.start(archive, environment) for _ in range(2))
    wait_until(lambda: archived_offsets(store, live.names, topic_id) > 800, processes.logs)
    first.kill()
    time.sleep(1)
    second.kill()
    third = processes.start(archive, environment)
    assert stream.wait(SECONDS) == 0, processes.logs()
    wait_until(lambda: archived_offsets(store, live.names, topic_id) == 8000, processes.logs)
    third.send_signal(signal.SIGTERM)
    assert third.wait(ENDS_SECONDS) == 0, processes.logs()
    check_every_tick_once(store, live.names, topic_id, {"run": 8000})


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
def test_an_archive_that_wakes_up_after_another_took_over(
    stage_env: Environment,
    processes: Processes,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    store: ObjectStore,
    conditional: bool,
    tmp_path: Path,
) -> None:
    topic_id = kafka.topic_id(kafka_settings, live.names.topic)
    archive = HELD if conditional else [*HELD, "unconditional"]
    hold = tmp_path / "hold"

    def produce(run: str) -> None:
        with kafka.ConfirmedProducer(kafka_settings, "test") as producer:
            for sequence in range(100):
                for symbol in SYMBOLS:
                    producer.send(live.names.topic, key=symbol.encode(), value=tick(symbol, sequence, run))

    def archived(messages: int) -> None:
        wait_until(lambda: archived_offsets(store, live.names, topic_id) == messages, processes.logs)

    produce("first")
    sleeper = processes.start(archive, archive_env(stage_env, 0.5) | {"HOLD_FILE": str(hold)})
    archived(800)
    hold.touch()
    produce("second")
    wait_until(lambda: "held" in processes.log(sleeper), processes.logs)  # in the middle of a write
    sleeper.send_signal(signal.SIGSTOP)
    produce("third")
    heir = processes.start(archive, archive_env(stage_env, 0.5))
    archived(2400)
    produce("fourth")  # ranges of its own, so whatever the sleeper writes when it wakes up has other bounds
    archived(3200)
    before = processes.log(sleeper).count('"archived"')
    hold.unlink()
    sleeper.send_signal(signal.SIGCONT)
    lost = "another writer was first"
    wait_until(
        lambda: lost in processes.log(sleeper) or processes.log(sleeper).count('"archived"') > before, processes.logs
    )
    time.sleep(1)
    for process in (sleeper, heir):
        process.send_signal(signal.SIGTERM)
    codes = [process.wait(ENDS_SECONDS) for process in (sleeper, heir)]
    expected = dict.fromkeys(("first", "second", "third", "fourth"), 800)
    if conditional:
        assert codes == [0, 0], processes.logs()
        assert lost in processes.log(sleeper)
        check_every_tick_once(store, live.names, topic_id, expected)
    else:
        with pytest.raises(IntegrityError, match=r"are missing|archived twice"):
            check_every_tick_once(store, live.names, topic_id, expected)


def test_the_broker_killed_in_the_middle_of_the_stream(
    stage_env: Environment,
    programs: Path,
    processes: Processes,
    tmp_path: Path,
    local_tools: platform.Tools,
    store: ObjectStore,
) -> None:
    live = LiveSettings(namespace="broker-killed")
    broker = Broker(
        local_tools.java, local_tools.jars["kafka"], tmp_path / "data", tmp_path / "broker-log", free_port()
    )
    broker.start()
    try:
        broker.wait_ready()
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
        kafka.ensure_topics(settings, (*batch_topics(), *live_topics(live.names)))
        topic_id = kafka.topic_id(settings, live.names.topic)
        own = {
            "TICKLAKE_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "TICKLAKE_LIVE_NAMESPACE": live.namespace,
        }
        archive = processes.start([str(programs / "archive-ticks")], archive_env(stage_env, 0.5, **own))
        stream = processes.start([str(programs / "stream-ticks")], stream_env(stage_env, "run", 6400, 800, **own))
        wait_until(lambda: archived_offsets(store, live.names, topic_id) > 1000, processes.logs)
        assert broker.child is not None
        os.killpg(broker.child.pid, signal.SIGKILL)
        while broker.child.poll() is None:
            time.sleep(0.05)
        time.sleep(2)
        broker.start()
        broker.wait_ready()
        assert stream.wait(SECONDS) == 0, processes.logs()
        wait_until(lambda: archived_offsets(store, live.names, topic_id) == 6400, processes.logs)
        archive.send_signal(signal.SIGTERM)
        assert archive.wait(ENDS_SECONDS) == 0, processes.logs()
        check_every_tick_once(store, live.names, topic_id, {"run": 6400})
    finally:
        broker.stop()
