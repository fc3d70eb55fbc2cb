"""Stage hosts as real processes, running real stage programs."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import ENDS_SECONDS, SECONDS, wait_until

from ticklake.errors import StageError
from ticklake.pipeline import SUCCESS
from ticklake_local.batch import StageFailed, run_stage
from ticklake_local.data_folder import DataFolder
from ticklake_local.platform import Platform
from ticklake_local.processes import UNKNOWN_EXIT, ChildFailed, free_port
from ticklake_local.stage_host import Request
from ticklake_local.stage_host_client import Host, make_hosts

PROGRAM = SUCCESS.program
ARGUMENTS = ["--date", "2024-06-28", "--run-id", "no-such-run"]
WRONG = {"TICKLAKE_LOG_LEVEL": "LOUD"}
"""A setting that every stage rejects."""


@pytest.fixture(scope="module")
def platform(local_platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The servers of all tests, with a data folder of this module's own for logs and hosts."""
    folder = DataFolder.at(tmp_path_factory.mktemp("hosts"))
    folder.credentials()
    keys = local_platform.folder.root / "credentials.json"
    (folder.root / "credentials.json").write_bytes(keys.read_bytes())
    return replace(local_platform, folder=folder)


@pytest.fixture(scope="module")
def hosts(platform: Platform) -> Iterator[dict[str, Host]]:
    made = make_hosts(platform)
    try:
        made.spark.start()
        made.python.start()
        made.python.wait_ready()
        made.spark.wait_ready()
        yield {"python": made.python, "spark": made.spark}
    finally:
        made.stop()


def request(platform: Platform, log: Path, **environment: str) -> Request:
    return Request(
        package=SUCCESS.image,
        program=PROGRAM,
        arguments=ARGUMENTS,
        environment=platform.stage_env() | environment,
        log=str(log),
    )


@pytest.mark.parametrize("kind", ["python", "spark"])
def test_settings_of_one_stage_do_not_reach_the_next(
    hosts: dict[str, Host], platform: Platform, tmp_path: Path, kind: str
) -> None:
    host = hosts[kind]
    assert host.run(request(platform, tmp_path / "one", **WRONG)) == 2
    assert "TICKLAKE_LOG_LEVEL" in (tmp_path / "one").read_text()
    assert host.run(request(platform, tmp_path / "two")) == 2
    text = (tmp_path / "two").read_text()
    assert "TICKLAKE_LOG_LEVEL" not in text
    assert "run no-such-run has no result of fetch-historical" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("kind", ["python", "spark"])
def test_output_goes_to_the_log_of_the_stage_alone(
    hosts: dict[str, Host], platform: Platform, tmp_path: Path, kind: str
) -> None:
    own = platform.folder.log(f"{kind}-host")
    before = own.read_text()
    for _ in range(2):
        hosts[kind].run(request(platform, tmp_path / "log"))
    assert (tmp_path / "log").read_text().count("has no result of fetch-historical") == 2
    assert own.read_text() == before


@pytest.mark.parametrize("kind", ["python", "spark"])
def test_a_wrong_request_is_an_exit_code_and_the_host_lives_on(
    hosts: dict[str, Host], platform: Platform, tmp_path: Path, kind: str
) -> None:
    wrong = request(platform, tmp_path / "log")
    assert hosts[kind].run({**wrong, "program": "no-such-program"}) == 1
    assert hosts[kind].run({**wrong, "arguments": ["--colour", "red"]}) == 2
    assert hosts[kind].run({**wrong, "arguments": ["--help"]}) == 0


@pytest.mark.parametrize("kind", ["python", "spark"])
def test_a_runner_that_hangs_up_does_the_host_no_harm(
    hosts: dict[str, Host], platform: Platform, tmp_path: Path, kind: str
) -> None:
    host = hosts[kind]
    assert host.child is not None
    before = host.child.pid
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(host._socket))
    for _ in range(40 if kind == "python" else 2):  # often enough that a stage is stopped at each point of its start
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(host._socket))
            hasty.sendall(json.dumps(request(platform, tmp_path / "hasty")).encode() + b"\n")
    assert host.run(request(platform, tmp_path / "log")) == 2
    assert (host.child.pid, host.child.poll()) == (before, None)


def slow_store() -> Iterator[int]:
    """The port of a store that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


silent_port = pytest.fixture(slow_store)


def stages(host: Host) -> list[psutil.Process]:
    """The host's forked stages: they have its command, other than the guard beside it."""
    assert host.child is not None
    own = psutil.Process(host.child.pid)
    return [child for child in own.children() if child.cmdline() == own.cmdline()]


def started(host: Host, wanted: Request) -> tuple[threading.Thread, list[Any]]:
    """Run `wanted` in a thread and wait until its stage works; the result, or what was raised, goes to the list."""
    found: list[Any] = []

    def run() -> None:
        found.append(host.run(wanted))

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: stages(host))
    time.sleep(0.5)
    return thread, found


def test_a_stage_whose_runner_hangs_up_is_stopped(
    hosts: dict[str, Host], platform: Platform, tmp_path: Path, silent_port: int
) -> None:
    host = hosts["python"]
    wanted = request(platform, tmp_path / "log", TICKLAKE_STORE_ENDPOINT=f"http://127.0.0.1:{silent_port}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(host._socket))
        client.sendall(json.dumps(wanted).encode() + b"\n")
        time.sleep(1.5)
        (stage,) = stages(host)
    stage.wait(ENDS_SECONDS)
    assert "stopped by SIGTERM" in (tmp_path / "log").read_text()


def test_a_host_killed_within_a_stage_is_noticed_and_nothing_of_it_goes_on(
    hosts: dict[str, Host], platform: Platform, tmp_path: Path, silent_port: int
) -> None:
    host = hosts["python"]
    wanted = request(platform, tmp_path / "log", TICKLAKE_STORE_ENDPOINT=f"http://127.0.0.1:{silent_port}")
    thread, found = started(host, wanted)
    assert host.child is not None
    (stage,) = stages(host)
    psutil.Process(host.child.pid).kill()
    thread.join(ENDS_SECONDS)
    assert found == [UNKNOWN_EXIT]
    stage.wait(ENDS_SECONDS)
    host.restart()
    assert host.run(request(platform, tmp_path / "log")) == 2


def test_what_the_check_raises_ends_the_wait(
    hosts: dict[str, Host], platform: Platform, tmp_path: Path, silent_port: int
) -> None:
    def check() -> None:
        raise StageError("the broker ended")

    wanted = request(platform, tmp_path / "log", TICKLAKE_STORE_ENDPOINT=f"http://127.0.0.1:{silent_port}")
    began = time.monotonic()
    with pytest.raises(StageError, match="the broker ended"):
        hosts["python"].run(wanted, check)
    assert time.monotonic() - began < 15


def attempts(platform: Platform, host: Host, **environment: str) -> tuple[StageFailed, int]:
    """How `run_stage` fails, and how many times the stage printed its line."""
    log = platform.folder.log(PROGRAM)
    log.unlink(missing_ok=True)
    with pytest.raises(StageFailed) as failed:
        run_stage(platform, host, SUCCESS, ARGUMENTS, environment, print)
    return failed.value, sum(line.startswith(f"{PROGRAM}: ") for line in log.read_text().splitlines())


def test_exit_code_1_is_tried_once_more(hosts: dict[str, Host], platform: Platform) -> None:
    failure, count = attempts(
        platform,
        hosts["python"],
        TICKLAKE_STORE_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        TICKLAKE_STORE_TIMEOUT_SECONDS="1",
    )
    assert count == 2
    assert (failure.code, failure.exit_code) == (1, 1)
    assert failure.details.startswith("reconcile-run: ") or "\nreconcile-run: " in failure.details
    assert str(failure) == f"{SUCCESS.task_id} failed with exit code 1; its log is {platform.folder.log(PROGRAM)}"


def test_exit_code_2_is_not(hosts: dict[str, Host], platform: Platform) -> None:
    failure, count = attempts(platform, hosts["python"], **WRONG)
    assert count == 1
    assert (failure.code, failure.exit_code) == (2, 2)
    assert "TICKLAKE_LOG_LEVEL" in failure.details


def test_a_host_that_cannot_start_says_why(platform: Platform, tmp_path: Path) -> None:
    wrong = {"TICKLAKE_CATALOG_URI": platform.catalog.uri, "TICKLAKE_SPARK_MEMORY": "lots"}
    host = Host("spark", tmp_path / "s.sock", tmp_path / "scratch", tmp_path / "log", wrong)
    host.start()
    with pytest.raises(ChildFailed) as failed:
        host.wait_ready(SECONDS)
    assert failed.value.child_exit_code != 0
    assert "TICKLAKE_SPARK_MEMORY" in failed.value.details
    host.stop()


def test_a_stopped_host_is_not_started_again(platform: Platform) -> None:
    host = make_hosts(platform, label="-once").python
    host.start()
    host.wait_ready()
    assert host.child is not None
    scratch = platform.folder.scratch / "python-once"
    assert scratch.is_dir()
    assert host._socket.exists()
    host.stop()
    assert host.child.poll() is not None
    assert not scratch.exists()
    assert not host._socket.exists()
    with pytest.raises(StageError, match="was stopped"):
        host.restart()
