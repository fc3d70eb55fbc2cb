"""Child processes against the real operating system."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from waiting import SECONDS, wait_until

from ticklake_local.processes import (
    UNKNOWN_EXIT,
    Child,
    ChildFailed,
    ChildTimeout,
    Part,
    PartError,
    ProcessIdentity,
    free_port,
    port_in_use,
)

# Starts a grandchild that ignores SIGTERM, writes both process ids, and waits.
FAMILY = """
import os, signal, subprocess, sys, time
kid = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('kid', flush=True); time.sleep(600)"])
print("pids", os.getpid(), kid.pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(log: Path) -> list[int]:
    wait_until(lambda: log.exists() and {"pids", "kid"} <= set(log.read_text().split()))
    line = next(line for line in log.read_text().splitlines() if line.startswith("pids"))
    return [int(word) for word in line.split()[1:]]


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    for text in ("one", "two"):
        child = Child("x", ["sh", "-c", f"echo {text}; echo err >&2; exit 3"], log)
        wait_until(lambda child=child: child.poll() is not None)  # type: ignore[misc]
        assert child.poll() == 3
        assert child.tail() == f"{text}\nerr"
    assert log.read_text() == "one\nerr\ntwo\nerr\n"
    assert child.tail(1) == "err"


def test_words_reach_the_program_as_they_are_and_standard_input_is_empty(tmp_path: Path) -> None:
    words = ["a b", "$HOME", "'", "*"]
    code = "import sys; print(sys.argv[1:], repr(sys.stdin.read()))"
    child = Child("x", [sys.executable, "-c", code, *words], tmp_path / "x.log")
    wait_until(lambda: child.poll() == 0)
    assert child.tail() == f"{words} ''"


def test_environment_and_folder_are_given(tmp_path: Path) -> None:
    child = Child("x", ["/bin/sh", "-c", "echo $COLOUR; pwd"], tmp_path / "x.log", env={"COLOUR": "red"}, cwd=tmp_path)
    wait_until(lambda: child.poll() == 0)
    assert child.tail() == f"red\n{tmp_path}"


def test_missing_program_is_a_failed_child(tmp_path: Path) -> None:
    child = Child("x", ["no-such-program"], tmp_path / "x.log")
    with pytest.raises(ChildFailed) as caught:
        child.wait_ready(lambda: False, 10)
    assert caught.value.child_exit_code == 127
    assert "no-such-program" in caught.value.details


def test_wait_ready(tmp_path: Path) -> None:
    log = tmp_path / "x.log"

    def refused() -> bool:
        raise ConnectionRefusedError

    failing = Child("bad", ["sh", "-c", "echo why; exit 5"], log)
    with pytest.raises(ChildFailed, match=r"bad ended with exit code 5.*x\.log") as caught:
        failing.wait_ready(refused, 10)
    assert caught.value.details == "why"
    slow = Child("slow", ["sleep", "60"], log)
    with pytest.raises(ChildTimeout, match=r"slow was not ready after 0\.2 s"):
        slow.wait_ready(refused, 0.2)
    slow.wait_ready(lambda: True, 1)
    slow.stop()


def test_stop_asks_first_then_forces_the_whole_group(tmp_path: Path) -> None:
    polite = Child("polite", ["sh", "-c", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"], tmp_path / "p")
    time.sleep(0.3)
    assert polite.stop() == 0
    assert polite.tail(1) == "bye"
    assert polite.stop() == 0

    stubborn = Child("stubborn", ["sh", "-c", "trap '' TERM; echo on; while :; do sleep 0.1; done"], tmp_path / "s")
    wait_until(lambda: stubborn.tail() == "on")
    begun = time.monotonic()
    assert stubborn.stop(grace_seconds=0.5) == -signal.SIGKILL
    assert time.monotonic() - begun < 8

    parent = Child("family", [sys.executable, "-c", FAMILY], tmp_path / "f")
    pids = family(tmp_path / "f")
    parent.stop(grace_seconds=5)
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_nothing_of_the_group_is_left_when_the_child_ends_by_itself(tmp_path: Path) -> None:
    child = Child("x", ["sh", "-c", "sleep 600 & echo pids $!"], tmp_path / "x.log")
    wait_until(lambda: child.poll() == 0)
    left = int(child.tail().split()[1])
    wait_until(lambda: not alive(left))


def runner(tmp_path: Path, *, detached: bool) -> tuple["subprocess.Popen[bytes]", list[int]]:
    """A runner process that starts a family from a thread which ends at once, then waits."""
    code = (
        "import sys, threading, time; from pathlib import Path; from ticklake_local.processes import Child\n"
        f"def go(): global child; child = Child('x', [sys.executable, '-c', sys.argv[1]], Path(sys.argv[2]), "
        f"detached={detached})\n"
        "thread = threading.Thread(target=go); thread.start(); thread.join(); time.sleep(600)"
    )
    log = tmp_path / "x.log"
    process = subprocess.Popen([sys.executable, "-c", code, FAMILY, str(log)])
    return process, family(log)


def test_children_die_with_a_killed_runner(tmp_path: Path) -> None:
    process, pids = runner(tmp_path, detached=False)
    time.sleep(0.3)
    assert all(alive(pid) for pid in pids)  # the end of the starting thread does them no harm
    process.kill()
    process.wait()
    # The grandchild ignores SIGTERM: the guard's SIGKILL gets it.
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_children_die_with_a_runner_that_simply_ends(tmp_path: Path) -> None:
    process, pids = runner(tmp_path, detached=False)
    process.terminate()
    process.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_detached_child_outlives_its_runner_and_can_be_adopted(tmp_path: Path) -> None:
    process, pids = runner(tmp_path, detached=True)
    identity = ProcessIdentity(pids[0], psutil.Process(pids[0]).create_time())
    process.kill()
    process.wait()
    time.sleep(0.5)
    assert all(alive(pid) for pid in pids)
    child = Child.adopt("x", identity, tmp_path / "x.log")
    assert child.poll() is None
    assert "pids" in child.tail()
    child.stop(grace_seconds=2)
    assert child.poll() == UNKNOWN_EXIT
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_adopting_a_process_that_is_another_one_by_now_does_it_no_harm(tmp_path: Path) -> None:
    other = Child("other", ["sleep", "60"], tmp_path / "o.log")
    stale = Child.adopt("x", ProcessIdentity(other.pid, other.identity.created - 100), tmp_path / "x.log")
    assert stale.poll() == UNKNOWN_EXIT
    stale.stop()
    assert other.poll() is None
    other.stop()


def test_stop_from_another_thread(tmp_path: Path) -> None:
    child = Child("x", ["sleep", "60"], tmp_path / "x.log")
    threads = [threading.Thread(target=child.stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert child.poll() == -signal.SIGTERM


class WebServer(Part):
    name = "web"

    def prepare(self) -> list[str | Path]:
        return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(self.port)]

    def ready(self) -> bool:
        return port_in_use(self.port)


def test_part_starts_is_ready_stops_and_rejects_a_taken_port(tmp_path: Path) -> None:
    part = WebServer(free_port(), tmp_path)
    part.stop()
    with pytest.raises(PartError, match="web was not started"):
        part.wait_ready()
    part.start()
    part.wait_ready(SECONDS)
    with pytest.raises(PartError, match=f"web: port {part.port} is already in use"):
        WebServer(part.port, tmp_path).start()
    part.stop()
    assert not port_in_use(part.port)
