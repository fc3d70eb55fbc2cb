"""A machine on which `ticklake` cannot do as asked: a full disk, a Java that is too old."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import SECONDS

Box = Any  # the fixture's class: conftest.py cannot be imported by name
MB = 2**20


@pytest.fixture
def disk(box: Box) -> Iterator[Callable[[int], None]]:
    """Puts the box's folder on a disk of the given megabytes."""
    if os.getuid() != 0:
        pytest.skip("only root can mount the small disk that this test fills")

    def mount(megabytes: int) -> None:
        box.folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", box.folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()}")
        try:
            os.setxattr(box.folder, "user.ticklake", b"1")
        except OSError as error:
            pytest.skip(f"the small disk (tmpfs) keeps no extended attributes here: {error.strerror}")

    yield mount
    for process in box.processes():
        process.kill()
        process.wait(10)
    if box.folder.is_mount():
        subprocess.run(["umount", box.folder], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(MB))
        except OSError:
            return


def test_a_disk_that_is_full_before_the_start_is_named(box: Box, disk: Callable[[int], None]) -> None:
    disk(16)
    done = box.call("run", "--source", "replay", "--no-live")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert (
        f"ticklake: the disk of {box.folder} is full (16 MB free): make room, or choose another --data" in done.stderr
    )
    assert box.processes() == []


@pytest.mark.parametrize("stage", ["fetch-historical", "daily-analytics"])
def test_a_disk_that_fills_up_within_the_run_is_named(box: Box, disk: Callable[[int], None], stage: str) -> None:
    disk(160)
    running = box.run()
    box.wait_for_stage(stage, running)
    fill(box.folder / "filler")
    assert running.wait(SECONDS) == 1
    print(box.output())
    line = next(line for line in box.output().splitlines() if line.startswith("ticklake: "))
    assert line == f"ticklake: the disk of {box.folder} is full (0 MB free): make room, or choose another --data"
    assert "Traceback" not in box.output()
    assert box.processes() == []
    if stage == "fetch-historical":  # once is enough, and takes its time
        (box.folder / "filler").unlink()
        assert box.run().wait(400) == 0, box.output()
        box.check_rows()


def test_a_java_that_is_too_old_is_passed_over(box: Box, tmp_path: Path) -> None:
    (tmp_path / "jdk-11" / "bin").mkdir(parents=True)
    (tmp_path / "jdk-11" / "release").write_text('IMPLEMENTOR="Somebody"\nJAVA_VERSION="11.0.2"\n')
    java = tmp_path / "jdk-11" / "bin" / "java"
    java.write_text("#!/bin/sh\necho 'the old Java was started' >&2\nexit 1\n")
    java.chmod(0o755)
    running = box.run(JAVA_HOME=str(tmp_path / "jdk-11"))
    box.wait_for_stage("load-warehouse", running)  # broker, store and Spark have run by now
    assert f"JAVA_HOME ({tmp_path}/jdk-11): Java 11, needed is 17 or 21" in box.output().splitlines()[0]
    running.send_signal(signal.SIGINT)
    box.ends(running, 1)
