"""Failures that end the program, on a real broker and store: another try in the same process cannot help."""

import dataclasses
from typing import Any

import psutil
import pytest
from plain_windows import closed_by, minutely

from ticklake_local.processes import LOOPBACK

AGAIN = "the queries are started again"


@pytest.mark.timeout(900)
def test_a_password_that_kafka_rejects_ends_the_program(bench: Any, own_broker: Any, reference: Any) -> None:
    bench = dataclasses.replace(bench, kafka=own_broker.settings)
    settings = {
        "TICKLAKE_KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{own_broker.secured_port}",
        "TICKLAKE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "TICKLAKE_KAFKA_USERNAME": "reader",
        "TICKLAKE_KAFKA_PASSWORD": "first",
        "TICKLAKE_KAFKA_TIMEOUT_SECONDS": "5",
        "TICKLAKE_WINDOWS_CHECKPOINT": str(bench.logs / "checkpoints"),
        "TICKLAKE_WINDOWS_RUNNING": "false",
    }
    line = f"stream-analytics: Kafka at {LOOPBACK}:{own_broker.secured_port} rejects the credentials of user reader: "
    ticks = minutely(range(90))
    bench.send(ticks)
    running = bench.start(**settings)
    bench.until(lambda: len(bench.windows()) == len(closed_by(reference(ticks), ticks[-1])))
    own_broker.set_password("second")
    own_broker.stop()  # connections that are open stay signed in
    own_broker.start_again()
    assert running.wait(300) == 1, bench.output()
    assert bench.errors().startswith(line)
    # From the start on.
    assert bench.start(**settings).wait(300) == 1, bench.output()
    assert bench.errors().startswith(line)
    assert len(bench.errors().splitlines()) == 1
    bench.start(**settings | {"TICKLAKE_KAFKA_PASSWORD": "second"})
    bench.until(bench.ready)
    bench.terminate()


def test_a_key_that_the_store_rejects_ends_the_program(on_own_store: Any, own_store: Any, reference: Any) -> None:
    bench, settings = on_own_store
    ticks = minutely(range(90))
    bench.send(ticks)
    running = bench.start(**settings)
    bench.until(lambda: len(bench.windows()) == len(closed_by(reference(ticks), ticks[-1])))
    own_store.stop()
    own_store.set_secret_key("second")
    own_store.start_again()
    bench.send(minutely(range(90, 120)))
    assert running.wait(300) == 1, bench.output()
    (line,) = bench.errors().splitlines()
    assert "SignatureDoesNotMatch" in line
    assert "TICKLAKE_STORE_SECRET_KEY" in line


def test_a_dead_jvm_ends_the_program(bench: Any) -> None:
    bench.send(minutely(range(3)))
    running = bench.start(TICKLAKE_WINDOWS_CHECKPOINT=str(bench.logs / "checkpoints"))
    bench.until(lambda: bench.metric("rows_total") > 0)
    (java,) = (child for child in psutil.Process(running.pid).children() if "java" in child.name())
    java.kill()
    assert running.wait(60) == 1, bench.output()
    (line,) = bench.errors().splitlines()
    assert "Spark's JVM ended" in line
    assert AGAIN not in bench.output()


def test_a_run_that_ends_by_itself_does_not_wait(on_own_store: Any, own_store: Any) -> None:
    bench, settings = on_own_store
    running = bench.start(**settings, TICKLAKE_WINDOWS_UNTIL_CLOSED_WINDOWS="1", TICKLAKE_WINDOWS_UNTIL_SECONDS="600")
    bench.until(bench.ready)
    own_store.kill()
    bench.send(minutely(range(90)))
    assert running.wait(300) == 1, bench.output()
    assert "the store at" in bench.errors()
    assert AGAIN not in bench.output()
