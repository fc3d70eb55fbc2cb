"""The runner's side of stage hosts: start them, hand them stages, stop them."""

import hashlib
import json
import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from onebox.folder import DataFolder
from onebox.hosts import Request
from onebox.platform import Platform
from onebox.processes import UNKNOWN_EXIT, Child
from ticklake.errors import StageError
from ticklake.pipeline import Kind, Stage


class Host:
    """The runner's side of a host process."""

    def __init__(self, kind: str, sockets: Path, log: Path, environment: dict[str, str]) -> None:
        """Name a host of `kind` (`python` or `spark`) with its socket in the folder `sockets`; nothing starts yet."""
        self.kind, self._log, self._environment = kind, log, environment
        self._socket = sockets / f"{kind}.sock"
        self.child: Child | None = None

    def start(self) -> None:
        """Start the process and return at once."""
        self._socket.unlink(missing_ok=True)
        command: list[str | Path] = [sys.executable, "-m", "onebox.hosts", self.kind, self._socket]
        self.child = Child(f"{self.kind}-host", command, self._log, env={**os.environ, **self._environment})

    def wait_ready(self, timeout: float = 120) -> None:
        """Wait until the host takes requests; for one that another process started, only check that it does.

        Raises:
            PartError: it ended, or was not ready within `timeout` seconds.
        """
        if self.child is not None:
            self.child.wait_ready(self._socket.exists, timeout)

    def run(self, request: Request) -> int:
        """Run one stage and return its exit code; 255 where the host itself ended meanwhile."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self._socket))
                with client.makefile("rw") as peer:
                    print(json.dumps(request), file=peer, flush=True)
                    answer = peer.readline()
            except OSError:
                answer = ""
        return int(json.loads(answer)["code"]) if answer else UNKNOWN_EXIT

    def restart(self) -> None:
        """Start the host again after it ended.

        Raises:
            StageError: another process started it, which must do so.
        """
        if self.child is None:
            raise StageError(f"the {self.kind} host of the background platform ended: `onebox down`, then `onebox up`")
        self.child.stop()
        self.start()
        self.wait_ready()

    def stop(self) -> None:
        """Stop the process; nothing happens if this object did not start it."""
        if self.child is not None:
            self.child.stop()


@dataclass(frozen=True)
class Hosts:
    """The two stage hosts."""

    python: Host
    spark: Host

    def of(self, stage: Stage) -> Host:
        """The host that `stage` runs in."""
        return self.spark if stage.kind is Kind.SPARK else self.python


def make_hosts(platform: Platform) -> Hosts:
    """The hosts of `platform`; nothing starts yet, and those that run in the background can be used at once."""
    sockets, environment = socket_folder(platform.folder), platform.stage_env()

    def host(kind: str) -> Host:
        return Host(kind, sockets, platform.folder.log(f"{kind}-host"), environment)

    return Hosts(host("python"), host("spark"))


def socket_folder(folder: DataFolder) -> Path:
    """Where the hosts' sockets lie: a socket's path has a length limit that a data folder's may exceed."""
    name = hashlib.sha256(str(folder.root).encode()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"onebox-{os.getuid()}-{name}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(13, "belongs to another user", str(path))
    return path
