"""The runner's side of stage hosts: start them, hand them stages, stop them."""

import contextlib
import hashlib
import json
import os
import select
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ticklake.errors import StageError
from ticklake.pipeline import Kind, Stage
from ticklake_local.data_folder import DataFolder
from ticklake_local.platform import Platform
from ticklake_local.processes import UNKNOWN_EXIT, Child
from ticklake_local.stage_host import FINISH, Request

_START_SECONDS = 120
_FINISH_SECONDS = 90
"""Of which the first Spark host on a machine takes some to write an archive of its classes."""
_CHECK_SECONDS = 0.2


def _nothing() -> None:
    pass


class Host:
    """The runner's side of a host process."""

    def __init__(self, kind: str, path: Path, scratch: Path, log: Path, environment: dict[str, str]) -> None:
        """Name a host of `kind` (`python`, `spark` or `warm-spark`) with its socket at `path`; nothing starts yet.

        Args:
            scratch: folder for the temporary files of the host and its stages, emptied at each start and removed at
                the end: a stage that is killed cannot do so itself.
        """
        self.kind, self._log, self._environment = kind, log, environment
        self._socket, self._scratch = path, scratch
        self._closed = False
        self.child: Child | None = None

    def start(self) -> None:
        """Start the process and return at once."""
        self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        command: list[str | Path] = [sys.executable, "-m", "ticklake_local.stage_host", self.kind, self._socket]
        environment = {**os.environ, **self._environment, "TMPDIR": str(self._scratch)}
        self.child = Child(f"{self.kind}-host", command, self._log, env=environment)

    def wait_ready(self, timeout: float = _START_SECONDS) -> None:
        """Wait until the host takes requests; for one that another process started, only check that it does.

        Raises:
            PartError: it ended, or was not ready within `timeout` seconds.
        """
        if self.child is not None:
            self.child.wait_ready(self._answers, timeout)

    def run(self, request: Request, check: Callable[[], None] = _nothing) -> int:
        """Run one stage and return its exit code; 255 where the host itself ended meanwhile.

        Args:
            check: called repeatedly while the stage runs; what it raises ends the call, not the stage.
        """
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self._socket))
                client.sendall(json.dumps(request).encode() + b"\n")
                answer = b""
                while not answer.endswith(b"\n"):
                    if select.select([client], [], [], _CHECK_SECONDS)[0]:
                        if not (part := client.recv(4096)):
                            return UNKNOWN_EXIT
                        answer += part
                    elif self.child is not None and self.child.poll() is not None:
                        return UNKNOWN_EXIT
                    check()
            except OSError:
                return UNKNOWN_EXIT
        return int(json.loads(answer)["code"])

    def tail(self) -> str:
        """The last lines that the host itself wrote; none for one that another process started."""
        return self.child.tail() if self.child is not None else ""

    def restart(self, check: Callable[[], None] = _nothing) -> None:
        """Start the host again after it ended; one that another process started is started again there.

        Raises:
            StageError: it does not come back, or was stopped on purpose.
        """
        if self._closed:
            raise StageError(f"the {self.kind} host was stopped")
        if self.child is not None:
            self.child.stop()
            self.start()
            self.wait_ready()
            return
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            check()
            if time.monotonic() > deadline:
                raise StageError(f"the {self.kind} host of the background platform ended: see {self._log}")
            time.sleep(_CHECK_SECONDS)

    def finish(self) -> None:
        """Let the process end in its own time, as nothing is left to run; see `hosts.FINISH`.

        The first Spark host on a machine then writes the archive by which later ones start in half the time.
        """
        if self.child is None:
            return
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(str(self._socket))
            client.sendall(FINISH)
        deadline = time.monotonic() + _FINISH_SECONDS
        while self.child.poll() is None and time.monotonic() < deadline:
            time.sleep(_CHECK_SECONDS)
        self.stop()

    def stop(self) -> None:
        """Stop the process, and with it the stage that it runs; nothing happens if this object did not start it."""
        self._closed = True
        if self.child is not None:
            self.child.stop()
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._socket.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._socket.parent.rmdir()  # unless another host's lies there too

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self._socket)) == 0


@dataclass(frozen=True)
class Hosts:
    """The two stage hosts."""

    python: Host
    spark: Host

    def stop(self) -> None:
        """Stop both, and whatever stage they run."""
        self.python.stop()
        self.spark.stop()

    def of(self, stage: Stage) -> Host:
        """The host that `stage` runs in."""
        return self.spark if stage.kind is Kind.SPARK else self.python


def make_hosts(platform: Platform, *, warm: bool = False, label: str = "") -> Hosts:
    """The hosts of `platform`; nothing starts yet, and those that run in the background can be used at once.

    Args:
        warm: whether the Spark host does some work before it takes requests.
        label: distinguishes several pairs of hosts on one platform.
    """
    sockets, environment = socket_folder(platform.folder), platform.stage_env()

    def host(name: str, kind: str) -> Host:
        log, scratch = platform.folder.log(f"{name}-host{label}"), platform.folder.scratch / f"{name}{label}"
        return Host(kind, sockets / f"{name}{label}.sock", scratch, log, environment)

    return Hosts(host("python", "python"), host("spark", "warm-spark" if warm else "spark"))


def socket_folder(folder: DataFolder) -> Path:
    """Where the hosts' sockets lie: a socket's path has a length limit that a data folder's may exceed."""
    name = hashlib.sha256(str(folder.root).encode()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"ticklake-{os.getuid()}-{name}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(13, "belongs to another user", str(path))
    return path
