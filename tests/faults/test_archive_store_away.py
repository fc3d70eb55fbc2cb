"""The store killed in the middle of the stream, and a stop while it is away: nothing lost, nothing twice."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from waiting import ENDS_SECONDS, SECONDS, wait_until

from ticklake import kafka
from ticklake.ledger import verify_chain
from ticklake.ledger_table import read_object
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, LiveSettings, StoreSettings
from ticklake_local import platform
from ticklake_local.processes import free_port
from ticklake_local.store import Store

Environment = Callable[..., dict[str, str]]


@pytest.fixture
def own_store(local_tools: platform.Tools, tmp_path: Path) -> Iterator[Store]:
    store = Store(
        local_tools.java, local_tools.jars["s3proxy"], tmp_path / "data", tmp_path, free_port(), "key", "secret-key"
    )
    store.start()
    try:
        store.wait_ready()
        yield store
    finally:
        store.stop()


def kill(store: Store) -> None:
    assert store.child is not None
    os.killpg(store.child.pid, signal.SIGKILL)
    while store.child.poll() is None:
        time.sleep(0.05)


def test_the_store_killed_in_the_middle_of_the_stream(
    stage_env: Environment,
    programs: Path,
    tmp_path: Path,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    own_store: Store,
) -> None:
    settings = StoreSettings(
        endpoint=own_store.endpoint, access_key=SecretStr("key"), secret_key=SecretStr("secret-key"), bucket="bucket"
    )
    store = ObjectStore(settings)
    store.create_bucket()
    topic_id = kafka.topic_id(kafka_settings, live.names.topic)
    environment = stage_env(
        TICKLAKE_STORE_ENDPOINT=own_store.endpoint,
        TICKLAKE_STORE_ACCESS_KEY="key",
        TICKLAKE_STORE_SECRET_KEY="secret-key",
        TICKLAKE_STORE_BUCKET="bucket",
        TICKLAKE_METRICS_PORT="0",
        TICKLAKE_ARCHIVE_ROLL_SECONDS="0.2",
        TICKLAKE_ARCHIVE_BUFFER_BYTES="200000",
        TICKLAKE_STREAM_SOURCE="simulated",
        TICKLAKE_STREAM_MAX_TICKS="4000",
        TICKLAKE_STREAM_RATE="1000",
    )
    log = tmp_path / "log"

    def archived() -> int:
        return sum(r.rows for ranges in verify_chain(store, live.names, topic_id).values() for r in ranges)

    def start(program: str) -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            return subprocess.Popen([programs / program], env=environment, stdout=output, stderr=output)

    archive, stream = start("archive-ticks"), start("stream-ticks")
    try:
        wait_until(lambda: archived() > 300, log.read_text)
        kill(own_store)
        assert stream.wait(SECONDS) == 0, log.read_text()
        wait_until(lambda: "reading pauses" in log.read_text(), log.read_text)
        own_store.start()
        own_store.wait_ready()
        wait_until(lambda: archived() == 4000, log.read_text)

        # A stop while the store is away ends in time, says so, and the next start reads again what was held.
        kill(own_store)
        again = start("stream-ticks")
        assert again.wait(SECONDS) == 0, log.read_text()
        time.sleep(1)
        asked = time.monotonic()
        archive.send_signal(signal.SIGTERM)
        assert archive.wait(ENDS_SECONDS) == 1, log.read_text()
        assert time.monotonic() - asked < 20
        own_store.start()
        own_store.wait_ready()
        archive = start("archive-ticks")
        wait_until(lambda: archived() == 8000, log.read_text)
        archive.send_signal(signal.SIGTERM)
        assert archive.wait(ENDS_SECONDS) == 0, log.read_text()
    finally:
        for process in (archive, stream):
            process.kill()
            process.wait()
    rows: set[tuple[int, int]] = set()
    for found in store.list_objects(f"{live.names.raw_prefix}/"):
        if found.key.endswith(".parquet"):
            _, table = read_object(store, found.key)
            rows |= set(zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True))
    assert len(rows) == 8000
