"""The alert on a disk that fills, on the metrics of a running node exporter: it fires and clears."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from monitoring_servers import running_program
from waiting import wait_until

from ticklake_local.processes import LOOPBACK, free_port

BYTES = 2 * 1024**3
"""More than what other programs write to the same disk meanwhile."""
_LEFT_OUT = {"tmpfs", "ramfs", "overlay", "squashfs", "iso9660"}
"""File systems that are no disks, as the rule has them."""


def _mounted(path: Path) -> tuple[str, str]:
    """Mount point and type of the file system that holds `path`."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    point, kind = max((each for each in mounts if path.is_relative_to(each[0])), key=lambda each: len(each[0]))
    return point, kind


@pytest.fixture
def exporter() -> str:
    """The program of the node exporter."""
    names = ("prometheus-node-exporter", "node_exporter")
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    if os.environ.get("TICKLAKE_REQUIRE_PROMETHEUS"):
        pytest.fail(f"TICKLAKE_REQUIRE_PROMETHEUS is set, and there is no {names[0]} on the PATH")
    pytest.skip(f"there is no {names[0]} on the PATH (Debian: apt-get install {names[0]})")


def test_a_disk_fills(exporter: str, tmp_path: Path, monitoring: Any, receiver: Any) -> None:
    point, kind = _mounted(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    if kind in _LEFT_OUT or usage.free < 2 * BYTES:
        pytest.skip(f"{tmp_path} is on {kind} with {usage.free} bytes free: that is no disk to fill")
    port = free_port()
    free = f'node_filesystem_avail_bytes{{mountpoint="{point}"}} / node_filesystem_size_bytes{{mountpoint="{point}"}}'
    threshold = (usage.free - BYTES / 2) / usage.total
    with (
        running_program(
            tmp_path,
            "exporter",
            exporter,
            "--collector.disable-defaults",
            "--collector.filesystem",
            f"--web.listen-address={LOOPBACK}:{port}",
        ),
        monitoring.running({"node": port}, {"free_ratio": threshold}) as prometheus,
    ):
        wait_until(lambda: (prometheus.value(free) or 0) > threshold)
        receiver.notices.clear()
        ballast = tmp_path / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, BYTES)
        try:
            receiver.expect("firing", "TicklakeDiskFilling", mountpoint=point)
        finally:
            ballast.unlink()
        receiver.expect("resolved", "TicklakeDiskFilling", mountpoint=point)
