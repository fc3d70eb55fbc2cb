"""`ticklake up`, `status` and `down` as a user calls them."""

import json
import os
import signal
import time
from typing import Any

from waiting import ENDS_SECONDS, SECONDS, wait_until

Box = Any  # the fixture's class: conftest.py cannot be imported by name
COUNT = ("sql", "--csv", "select count(*) as n from MARKET_TEST.DAILY_ANALYTICS")
ROWS = "N\n756\n"


def server(box: Box) -> int:
    return int(json.loads((box.folder / "running.json").read_text())["pid"])


def run(box: Box) -> str:
    running = box.run()
    assert running.wait(SECONDS) == 0, box.output()
    return str(box.output())


def up(box: Box) -> int:
    """Have the background platform run; its process id."""
    done = box.call("up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"process {server(box)}" in done.stdout
    return server(box)


def test_nothing_runs(shared_box: Box) -> None:
    for command in ("status", "down"):
        done = shared_box.call(command)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Nothing runs on {shared_box.folder}")


def test_up_is_there_until_down(shared_box: Box) -> None:
    pid = up(shared_box)
    ports = (shared_box.folder / "ports.json").read_text()
    assert up(shared_box) == pid  # it ran already
    status = shared_box.call("status").stdout
    assert all(str(port) in status for port in json.loads(ports).values())
    assert f"Using the platform that runs in the background (process {pid})" in run(shared_box)
    assert shared_box.call(*COUNT).stdout == ROWS
    assert server(shared_box) == pid
    began = time.monotonic()
    down = shared_box.call("down")
    assert (down.returncode, down.stdout, down.stderr) == (0, "Stopped\n", "")
    print(f"down took {time.monotonic() - began:.1f} s")
    assert shared_box.processes() == []
    assert shared_box.call("down").stdout.startswith("Nothing runs")


def test_a_second_up_finds_the_rows_at_the_same_addresses(shared_box: Box) -> None:
    ports = (shared_box.folder / "ports.json").read_text()
    up(shared_box)
    assert (shared_box.folder / "ports.json").read_text() == ports
    assert shared_box.call(*COUNT).stdout == ROWS


def test_an_interrupted_run_and_a_host_that_dies_do_the_background_no_harm(shared_box: Box) -> None:
    pid = up(shared_box)
    running = shared_box.run()
    shared_box.wait_for_stage("consume-historical", running)
    running.send_signal(signal.SIGINT)
    assert running.wait(ENDS_SECONDS) == 1
    assert shared_box.output().splitlines()[-1] == "ticklake: interrupted"
    shared_box.host("python").kill()
    run(shared_box)
    assert "the python host ended: starting it again" in (shared_box.folder / "logs" / "ticklake.log").read_text()
    assert shared_box.call(*COUNT).stdout == ROWS
    assert server(shared_box) == pid


def test_a_server_that_dies_takes_the_platform_with_it(shared_box: Box) -> None:
    up(shared_box)
    shared_box.process("kafka.Kafka").kill()
    shared_box.nothing_is_left()
    log = (shared_box.folder / "logs" / "ticklake.log").read_text()
    assert f"ticklake: kafka ended with exit code -9; its log is {shared_box.folder}/logs/kafka.log" in log
    assert "Traceback" not in log
    assert shared_box.call("status").stdout.startswith("Nothing runs")


def test_a_killed_platform_leaves_no_child_and_counts_as_stopped(shared_box: Box) -> None:
    os.kill(up(shared_box), signal.SIGKILL)
    assert len(shared_box.processes()) > 5
    assert shared_box.call("status").stdout.startswith("Nothing runs")
    shared_box.nothing_is_left()
    assert shared_box.call("down").stdout.startswith("Nothing runs")
    shared_box.check_rows()


def test_an_interrupted_up_leaves_nothing(box: Box) -> None:
    starting = box.start("up")
    wait_until((box.folder / "logs" / "kafka.log").exists, box.output)
    starting.send_signal(signal.SIGINT)
    assert starting.wait(ENDS_SECONDS) == 1
    assert box.output().splitlines()[-1] == "ticklake: interrupted"
    # A child that was just being started is left to its guard.
    box.nothing_is_left()


def test_up_beside_a_run_is_rejected_and_names_it(box: Box) -> None:
    running = box.run()
    wait_until((box.folder / "logs" / "kafka.log").exists, box.output)
    rejected = box.call("up")
    assert rejected.returncode != 0
    assert f"another ticklake (process {running.pid}) works on {box.folder}" in rejected.stderr
    assert "Traceback" not in rejected.stderr
    running.send_signal(signal.SIGINT)
    box.ends(running, 1)
