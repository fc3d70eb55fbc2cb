"""`ticklake run` when something dies in the middle: it says so, nothing is left running, and the next run is whole.

All on one data folder, in this order: each run starts on what the one before left of itself.
"""

import signal
import time
from typing import Any

import pytest

Box = Any  # the fixture's class: conftest.py cannot be imported by name


@pytest.mark.parametrize(
    ("part", "words", "stage"),
    [
        ("kafka", ("kafka.Kafka",), "consume-historical"),
        ("s3proxy", ("org.gaul.s3proxy.Main",), "daily-analytics"),
        ("fakesnow", ("ticklake_local.warehouse",), "load-warehouse"),
    ],
)
def test_a_server_that_is_killed_ends_the_run_with_its_name(
    shared_box: Box, part: str, words: tuple[str, ...], stage: str
) -> None:
    running = shared_box.run()
    shared_box.wait_for_stage(stage, running)
    shared_box.process(*words).kill()
    shared_box.ends(running, 1)
    assert (
        f"ticklake: {part} ended with exit code -9; its log is {shared_box.folder}/logs/{part}.log"
        in shared_box.output()
    )
    assert "Traceback" not in shared_box.output()


@pytest.mark.parametrize("stage", ["fetch-historical", "daily-analytics"])
def test_an_interrupt_ends_everything_with_one_line(shared_box: Box, stage: str) -> None:
    running = shared_box.run()
    shared_box.wait_for_stage(stage, running)
    running.send_signal(signal.SIGINT)
    shared_box.ends(running, 1)
    assert shared_box.output().splitlines()[-1] == "ticklake: interrupted"
    assert "Traceback" not in shared_box.output()


def test_a_killed_run_leaves_no_process(shared_box: Box) -> None:
    running = shared_box.run()
    shared_box.wait_for_stage("daily-analytics", running)
    running.kill()
    running.wait()
    killed = time.monotonic()
    shared_box.nothing_is_left()
    print(f"nothing runs after {time.monotonic() - killed:.1f} s")


def test_the_next_run_works_at_once_and_starts_its_hosts_again(shared_box: Box) -> None:
    running = shared_box.run()
    shared_box.wait_for_stage("consume-historical", running)
    running.kill()
    running.wait()
    assert len(shared_box.processes()) > 3
    running = shared_box.run()  # which waits for what is about to end
    for kind, stage in (("python", "consume-historical"), ("spark", "daily-analytics"), ("python", "load-warehouse")):
        shared_box.wait_for_stage(stage, running)
        shared_box.host(kind).kill()
    assert running.wait(400) == 0, shared_box.output()
    shared_box.check_rows()
