"""`onebox up`, `status` and `down` as a user calls them."""

import json
import os
import signal
import time
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.xdist_group("onebox-background")

Box = Any  # the fixture's class: conftest.py cannot be imported by name
COUNT = ("sql", "--csv", "select count(*) as n from MARKET_TEST.DAILY_ANALYTICS")
ROWS = "N\n756\n"


def server(box: Box) -> int:
    return int(json.loads((box.folder / "running.json").read_text())["pid"])


def run(box: Box) -> str:
    running = box.run()
    assert running.wait(120) == 0, box.said()
    return str(box.said())


def test_nothing_runs(box: Box) -> None:
    for command in ("status", "down"):
        done = box.call(command)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Nothing runs on {box.folder}")


def test_up_run_status_down_and_up_again(box: Box) -> None:
    done = box.call("up")
    assert done.returncode == 0, done.stdout + done.stderr
    pid = server(box)
    assert f"process {pid}" in done.stdout
    ports = (box.folder / "ports.json").read_text()

    again = box.call("up")
    assert again.returncode == 0
    assert server(box) == pid  # it ran already
    assert box.call("status").stdout == again.stdout

    assert f"Using the platform that runs in the background (process {pid})" in run(box)
    assert box.call(*COUNT).stdout == ROWS
    assert psutil.pid_exists(pid)

    began = time.monotonic()
    down = box.call("down")
    assert (down.returncode, down.stdout, down.stderr) == (0, "Stopped\n", "")
    print(f"down took {time.monotonic() - began:.1f} s")
    assert box.processes() == []
    assert box.call("down").stdout.startswith("Nothing runs")

    assert box.call("up").returncode == 0
    assert (box.folder / "ports.json").read_text() == ports
    assert box.call(*COUNT).stdout == ROWS
    assert box.call("down").returncode == 0


def test_a_killed_server_leaves_no_child_and_counts_as_stopped(box: Box) -> None:
    assert box.call("up").returncode == 0
    assert len(box.processes()) > 5
    os.kill(server(box), signal.SIGKILL)
    assert box.call("status").stdout.startswith("Nothing runs")
    box.eventually(lambda: not box.processes(), 10)
    assert box.call("down").stdout.startswith("Nothing runs")


def test_a_part_that_dies_takes_the_platform_with_it_and_a_host_does_not(box: Box) -> None:
    assert box.call("up").returncode == 0
    log = box.folder / "logs" / "onebox.log"
    host = next(p for p in box.processes() if "onebox.hosts" in p.cmdline() and "python" in p.cmdline() and
                p.name() != "sh")  # fmt: skip
    host.kill()
    run(box)
    assert "the python host ended: starting it again" in log.read_text()

    next(p for p in box.processes() if "kafka.Kafka" in p.cmdline() and p.name() != "sh").kill()
    box.eventually(lambda: not box.processes(), 20)
    assert f"onebox: kafka ended with exit code -9; its log is {box.folder}/logs/kafka.log" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert box.call("status").stdout.startswith("Nothing runs")


def test_an_interrupted_run_does_the_background_no_harm(box: Box) -> None:
    assert box.call("up").returncode == 0
    running = box.run()
    stage = box.folder / "logs" / "consume-historical.log"
    box.eventually(stage.exists, 30)
    running.send_signal(signal.SIGINT)
    assert running.wait(5) == 1
    run(box)
    assert box.call(*COUNT).stdout == ROWS
    assert box.call("down").returncode == 0
    assert box.processes() == []


def test_an_interrupted_up_leaves_nothing(box: Box) -> None:
    starting = box.start("up")
    box.eventually((box.folder / "logs" / "kafka.log").exists, 30)
    starting.send_signal(signal.SIGINT)
    assert starting.wait(30) == 1
    assert box.said().splitlines()[-1] == "onebox: interrupted"
    assert box.processes() == []


def test_up_beside_a_run_is_refused_and_names_it(box: Box) -> None:
    running = box.run()
    box.eventually((box.folder / "logs" / "kafka.log").exists, 30)
    refused = box.call("up")
    assert refused.returncode != 0
    assert f"another onebox (process {running.pid}) works on {box.folder}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert running.wait(60) == 0
