"""`onebox run` when something dies in the middle: it says so, nothing is left running, and the next run is whole."""

import csv
import io
import os
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.xdist_group("onebox-run-faults")

SYMBOLS = ("AAPL", "MSFT", "V")
DATE = "2024-06-28"
SESSIONS = 252
"""Sessions in New York from 2023-06-29 to 2024-06-28: 262 weekdays without the ten holidays that fall on one."""


class Box:
    """A data folder, what runs on it, and all processes that came of that (told by a variable in their environment)."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder, self._program, self._mark = folder, programs / "onebox", uuid.uuid4().hex
        self._output = folder.parent / "output"

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        command = [self._program, *arguments, "--data", self.folder]
        with self._output.open("w") as output:
            return subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                env={**os.environ, "BOX_OF_THE_TEST": self._mark, **environment},
            )  # fmt: skip

    def run(self, *arguments: str) -> "subprocess.Popen[str]":
        return self.start(
            "run", "--source", "simulated", "--date", DATE, "--symbols", ",".join(SYMBOLS), "--no-live", *arguments
        )

    def said(self) -> str:
        return self._output.read_text()

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("BOX_OF_THE_TEST") == self._mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def process(self, *words: str) -> psutil.Process:
        """The one process with these words in its command, its guard apart."""
        (found,) = (
            process for process in self.processes()
            if process.name() != "sh" and all(any(word in part for part in process.cmdline()) for word in words)
        )  # fmt: skip
        return found

    def wait_for_stage(self, program: str, running: "subprocess.Popen[str]") -> None:
        log = self.folder / "logs" / f"{program}.log"
        eventually(lambda: log.exists() or running.poll() is not None, 60)
        assert running.poll() is None, self.said()

    def check_next_run(self) -> None:
        """A further run completes, and the warehouse holds every row exactly once."""
        assert self.run().wait(60) == 0, self.said()
        self.check_rows()

    def check_rows(self) -> None:
        """The warehouse holds every row exactly once, and nothing runs."""
        assert self.start("sql", "--csv", "select symbol, session_date from MARKET_TEST.DAILY_ANALYTICS").wait(30) == 0
        rows = [(row["SYMBOL"], row["SESSION_DATE"]) for row in csv.DictReader(io.StringIO(self.said()))]
        assert len(set(rows)) == len(rows)
        assert Counter(symbol for symbol, _ in rows) == dict.fromkeys(SYMBOLS, SESSIONS)
        assert self.processes() == []


def eventually(check: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def box(programs: Path, tmp_path: Path) -> Iterator[Box]:
    box = Box(programs, tmp_path / "data")
    yield box
    for process in box.processes():
        process.kill()


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
    assert running.wait(60) == 0, box.said()
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
    eventually(lambda: not box.processes(), 10)
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
