"""`onebox run` when something dies in the middle: it says so, nothing is left running, and the next run is whole."""

import signal
import time
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("onebox-run-faults")

Box = Any  # the fixture's class: conftest.py cannot be imported by name


@pytest.mark.parametrize(
    ("part", "words", "stage"),
    [
        ("kafka", ("kafka.Kafka",), "consume-historical"),
        ("s3proxy", ("org.gaul.s3proxy.Main",), "daily-analytics"),
        ("fakesnow", ("onebox.warehouse",), "load-warehouse"),
    ],
)
def test_a_server_that_is_killed_ends_the_run_with_its_name(
    box: Box, part: str, words: tuple[str, ...], stage: str
) -> None:
    running = box.run()
    box.wait_for_stage(stage, running)
    box.process(*words).kill()
    killed = time.monotonic()
    assert running.wait(30) == 1
    print(f"ended after {time.monotonic() - killed:.1f} s:\n{box.said()}")
    assert f"onebox: {part} ended with exit code -9; its log is {box.folder}/logs/{part}.log" in box.said()
    assert "Traceback" not in box.said()
    assert box.processes() == []
    box.check_next_run()


@pytest.mark.parametrize(
    ("kind", "stage"), [("python", "consume-historical"), ("spark", "daily-analytics"), ("python", "load-warehouse")]
)
def test_a_host_that_is_killed_is_started_again_and_the_run_completes(box: Box, kind: str, stage: str) -> None:
    running = box.run()
    box.wait_for_stage(stage, running)
    host = next(p for p in box.processes() if {"onebox.hosts", kind} <= set(p.cmdline()) and p.name() != "sh")
    while (parent := host.parent()) and parent.cmdline() == host.cmdline():
        host = parent  # a forked stage has its host's command
    host.kill()
    assert running.wait(120) == 0, box.said()
    assert box.processes() == []
    box.check_rows()


def test_nothing_is_left_of_a_killed_run_and_the_next_one_works_at_once(box: Box) -> None:
    running = box.run()
    box.wait_for_stage("consume-historical", running)
    running.kill()
    running.wait()
    assert len(box.processes()) > 3
    killed = time.monotonic()
    box.check_next_run()  # which waits for what is about to end
    print(f"whole after {time.monotonic() - killed:.1f} s")


def test_a_killed_run_leaves_no_process(box: Box) -> None:
    running = box.run()
    box.wait_for_stage("daily-analytics", running)
    running.kill()
    running.wait()
    killed = time.monotonic()
    box.eventually(lambda: not box.processes(), 10)
    print(f"nothing runs after {time.monotonic() - killed:.1f} s")


@pytest.mark.parametrize("stage", ["fetch-historical", "daily-analytics"])
def test_an_interrupt_ends_everything_with_one_line(box: Box, stage: str) -> None:
    running = box.run()
    box.wait_for_stage(stage, running)
    running.send_signal(signal.SIGINT)
    asked = time.monotonic()
    assert running.wait(20) == 1
    print(f"ended after {time.monotonic() - asked:.1f} s:\n{box.said()}")
    assert box.said().splitlines()[-1] == "onebox: interrupted"
    assert "Traceback" not in box.said()
    assert box.processes() == []
    box.check_next_run()
