"""The archive's place in its group: ready only when every partition has an owner, and never left without its own."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waiting import ENDS_SECONDS, wait_until

from ticklake import kafka
from ticklake.ledger import verify_chain
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, LiveSettings
from ticklake.topics import LiveNames, live_topics
from ticklake_local.processes import free_port

Environment = Callable[..., dict[str, str]]
SLOW_GROUP = [sys.executable, str(Path(__file__).with_name("slow_group_archive.py"))]
REJOINED = "rejoining the group"


class Process:
    """An archive that runs, with its log and its probes."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._port, self._log = free_port(), log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=environment | {"TICKLAKE_METRICS_PORT": str(self._port)}, stdout=output, stderr=output
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except urllib.error.URLError:
            return False

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(ENDS_SECONDS)


@contextmanager
def archive(command: list[str], environment: dict[str, str], log: Path) -> Iterator[Process]:
    running = Process(command, environment, log)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def owners(settings: KafkaSettings, live: LiveNames) -> dict[str, list[int]]:
    """Partitions by member, as the broker has them."""
    with kafka.admin(settings) as client:
        group: dict[str, Any] = client.describe_groups([live.archive_group])[live.archive_group]
    return {
        member["member_id"]: sorted(
            n for part in member["member_assignment"]["assigned_partitions"] for n in part["partitions"]
        )
        for member in group["members"]
    }


def produce(settings: KafkaSettings, topic: str, partition: int, count: int) -> None:
    with kafka.ConfirmedProducer(settings, "test") as producer:
        for sequence in range(count):
            value = {
                "schema_version": 1,
                "symbol": "AAPL",
                "price": 100.5,
                "volume": 1,
                "sequence": sequence,
                "event_time": "2026-01-30T15:00:00.000Z",
                "producer_run": "run-1",
                "source": "simulated",
            }
            producer.send(topic, key=b"AAPL", value=json.dumps(value).encode(), partition=partition)


def rows(store: ObjectStore, live: LiveNames, topic_id: str) -> dict[int, int]:
    """Archived ticks by partition."""
    chains = verify_chain(store, live, topic_id)
    return {partition: sum(entry.rows for entry in chain) for partition, chain in chains.items()}


@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "unprepared"])
def test_a_slow_broker_leaves_no_partition_without_a_reader(
    stage_env: Environment,
    tmp_path: Path,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    store: ObjectStore,
    prepared: bool,
) -> None:
    """With metadata that comes late and a slow answer to its join, the client library loses its place in the group."""
    command = SLOW_GROUP if prepared else [*SLOW_GROUP, "unprepared"]
    # Unprepared it depends on the moment of the library's next look at the topic, so that takes some tries.
    for number in range(1, 2 if prepared else 21):
        with archive(command, stage_env(TICKLAKE_ARCHIVE_ROLL_SECONDS="0.5"), tmp_path / f"log{number}") as process:
            wait_until(process.ready, lambda: process.log)
            assert list(owners(kafka_settings, live.names).values()) == [[0, 1, 2, 3]], process.log
            for partition in range(4):
                produce(kafka_settings, live.names.topic, partition, 10)
            topic_id = kafka.topic_id(kafka_settings, live.names.topic)
            wanted = dict.fromkeys(range(4), 10 * number)
            wait_until(lambda: rows(store, live.names, topic_id) == wanted, lambda: process.log)  # noqa: B023 - called here
            assert process.stop() == 0, process.log
        if (REJOINED in process.log) is not prepared:
            return
    pytest.fail(process.log)


def test_a_member_to_spare_waits_in_peace_and_an_added_partition_is_read(
    stage_env: Environment, programs: Path, tmp_path: Path, kafka_settings: KafkaSettings, store: ObjectStore
) -> None:
    live = LiveSettings(namespace=f"test-{uuid.uuid4().hex[:8]}")
    names = live.names
    kafka.ensure_topics(kafka_settings, [replace(spec, partitions=1) for spec in live_topics(names)])
    topic_id = kafka.topic_id(kafka_settings, names.topic)
    environment = stage_env(TICKLAKE_LIVE_NAMESPACE=live.namespace, TICKLAKE_ARCHIVE_ROLL_SECONDS="0.5")
    command = [str(programs / "archive-ticks")]
    with (
        archive(command, environment, tmp_path / "one") as one,
        archive(command, environment, tmp_path / "two") as two,
    ):
        logs = lambda: one.log[-2000:] + two.log[-2000:]  # noqa: E731
        wait_until(lambda: one.ready() and two.ready() and len(owners(kafka_settings, names)) == 2, logs)
        before = owners(kafka_settings, names)
        assert sorted(before.values()) == [[], [0]]
        time.sleep(9)  # longer than it takes to find that something is wrong
        assert owners(kafka_settings, names) == before
        assert one.ready()
        assert two.ready()
        assert REJOINED not in one.log + two.log

        with kafka.admin(kafka_settings) as client:
            client.create_partitions({names.topic: 2})
        produce(kafka_settings, names.topic, 1, 10)
        # By itself the client library sees the new partition with its next regular look, after 30 s at most.
        wait_until(lambda: rows(store, names, topic_id).get(1) == 10, logs, seconds=25)
        wait_until(lambda: one.ready() and two.ready(), logs)
        assert sorted(owners(kafka_settings, names).values()) == [[0], [1]]
        assert [one.stop(), two.stop()] == [0, 0], one.log + two.log
