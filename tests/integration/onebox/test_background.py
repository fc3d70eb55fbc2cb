"""`onebox up`, `status` and `down` as a user calls them."""

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.xdist_group("onebox-background")

RUN = ("run", "--source", "simulated", "--date", "2024-06-28", "--symbols", "AAPL", "--no-live")


class Box:
    """A data folder and the processes of all commands on it, told by a variable in their environment."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder, self._program, self._mark = folder, programs / "onebox", uuid.uuid4().hex

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self._program, *arguments, "--data", self.folder], capture_output=True, text=True, timeout=90, check=False,
            env={**os.environ, "BOX_OF_THE_TEST": self._mark},
        )  # fmt: skip

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self._program, *arguments, "--data", self.folder], text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "BOX_OF_THE_TEST": self._mark},
        )  # fmt: skip

    def pid(self) -> int:
        return int(json.loads((self.folder / "running.json").read_text())["pid"])

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("BOX_OF_THE_TEST") == self._mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found


def eventually(check: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def box(programs: Path, tmp_path: Path) -> Iterator[Box]:
    box = Box(programs, tmp_path / "data")
    yield box
    for process in box.processes():
        process.kill()


def test_nothing_runs(box: Box) -> None:
    for command in ("status", "down"):
        done = box(command)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Nothing runs on {box.folder}")


def test_up_run_status_down_and_up_again(box: Box) -> None:
    done = box("up")
    assert done.returncode == 0, done.stdout + done.stderr
    pid = box.pid()
    assert f"process {pid}" in done.stdout
    ports = (box.folder / "ports.json").read_text()

    again = box("up")
    assert again.returncode == 0
    assert box.pid() == pid  # it ran already
    assert box("status").stdout == again.stdout

    run = box(*RUN)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"Using the platform that runs in the background (process {pid})" in run.stdout
    assert box("sql", "--csv", "select count(*) as n from MARKET_TEST.DAILY_ANALYTICS").stdout == "N\n252\n"
    assert psutil.pid_exists(pid)

    began = time.monotonic()
    down = box("down")
    assert (down.returncode, down.stdout, down.stderr) == (0, "Stopped\n", "")
    print(f"down took {time.monotonic() - began:.1f} s")
    assert box.processes() == []
    assert box("down").stdout.startswith("Nothing runs")

    assert box("up").returncode == 0
    assert (box.folder / "ports.json").read_text() == ports
    assert box("sql", "--csv", "select count(*) as n from MARKET_TEST.DAILY_ANALYTICS").stdout == "N\n252\n"
    assert box("down").returncode == 0


def test_a_killed_server_leaves_no_child_and_counts_as_stopped(box: Box) -> None:
    assert box("up").returncode == 0
    assert len(box.processes()) > 5
    os.kill(box.pid(), signal.SIGKILL)
    assert box("status").stdout.startswith("Nothing runs")
    eventually(lambda: not box.processes(), 10)
    assert box("down").stdout.startswith("Nothing runs")


def test_a_part_that_dies_takes_the_platform_with_it_and_a_host_does_not(box: Box) -> None:
    assert box("up").returncode == 0
    log = box.folder / "logs" / "onebox.log"
    host = next(p for p in box.processes() if "onebox.hosts" in p.cmdline() and "python" in p.cmdline() and
                p.name() != "sh")  # fmt: skip
    host.kill()
    run = box(*RUN)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "the python host ended: starting it again" in log.read_text()

    next(p for p in box.processes() if "kafka.Kafka" in p.cmdline() and p.name() != "sh").kill()
    eventually(lambda: not box.processes(), 20)
    assert f"onebox: kafka ended with exit code -9; its log is {box.folder}/logs/kafka.log" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert box("status").stdout.startswith("Nothing runs")


def test_an_interrupted_run_does_the_background_no_harm(box: Box) -> None:
    assert box("up").returncode == 0
    running = box.start(*RUN)
    stage = box.folder / "logs" / "consume-historical.log"
    eventually(stage.exists, 30)
    running.send_signal(signal.SIGINT)
    assert running.wait(5) == 1
    run = box(*RUN)
    assert run.returncode == 0, run.stdout + run.stderr
    assert box("sql", "--csv", "select count(*) as n from MARKET_TEST.DAILY_ANALYTICS").stdout == "N\n252\n"
    assert box("down").returncode == 0
    assert box.processes() == []


def test_an_interrupted_up_leaves_nothing(box: Box) -> None:
    starting = box.start("up")
    eventually((box.folder / "logs" / "kafka.log").exists, 30)
    starting.send_signal(signal.SIGINT)
    assert starting.wait(30) == 1
    assert starting.stdout is not None
    assert starting.stdout.read().splitlines()[-1] == "onebox: interrupted"
    assert box.processes() == []


def test_up_beside_a_run_is_refused_and_names_it(box: Box) -> None:
    running = box.start(*RUN)
    eventually((box.folder / "logs" / "kafka.log").exists, 30)
    refused = box("up")
    assert refused.returncode != 0
    assert f"another onebox (process {running.pid}) works on {box.folder}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert running.wait(60) == 0
