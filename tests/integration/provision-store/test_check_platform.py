"""check-platform against the real broker and store."""

import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from ticklake.kafka import delete_topics, ensure_topics
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, StoreSettings
from ticklake.topics import TopicSpec
from ticklake_local.processes import free_port

Check = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def check(
    programs: Path,
    stage_env: Callable[..., dict[str, str]],
    store_settings: StoreSettings,
    kafka_settings: KafkaSettings,
) -> Check:
    topic = f"check-{uuid.uuid4().hex[:8]}"
    ensure_topics(kafka_settings, [TopicSpec(topic, 1, {})])
    env = stage_env(
        TICKLAKE_STORE_BUCKET=store_settings.bucket,
        TICKLAKE_CHECK_TOPIC=topic,
        TICKLAKE_CHECK_WAIT_SECONDS="5",
        TICKLAKE_KAFKA_TIMEOUT_SECONDS="2",
        TICKLAKE_STORE_TIMEOUT_SECONDS="1",
    )

    def run(**more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [programs / "check-platform"], env=env | more, capture_output=True, text=True, timeout=300, check=False
        )

    run.topic = topic  # type: ignore[attr-defined]
    return run


def test_both_places_give_back_what_was_written(check: Check, store: ObjectStore) -> None:
    done = check()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("written and read back") == 2
    assert list(store.list_objects("")) == []


def test_what_is_wrong_is_named(check: Check, kafka_settings: KafkaSettings) -> None:
    done = check(TICKLAKE_STORE_BUCKET="no-such-bucket")
    assert (done.returncode, "has no bucket no-such-bucket" in done.stderr) == (2, True)
    done = check(TICKLAKE_STORE_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, "does not answer" in done.stderr, "waiting" in done.stdout) == (1, True, True)
    delete_topics(kafka_settings, [check.topic])  # type: ignore[attr-defined]
    done = check()
    assert done.returncode != 0
    assert "Kafka at" in done.stderr
    assert "Traceback" not in done.stderr
