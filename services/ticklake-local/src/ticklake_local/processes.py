"""Child processes that never outlive the runner unless they are meant to, and the base of the platform's parts."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ticklake.errors import StageError

LOOPBACK = "127.0.0.1"
UNKNOWN_EXIT = 255

_POLL_SECONDS = 0.03
_TAIL_BYTES = 64 * 1024

# The shell becomes the program; a second shell in the same process group waits on a pipe that the runner holds open.
# However the runner ends, SIGKILL included, the pipe closes and the group is asked to stop, then killed. Unlike
# Linux's parent-death signal this does not depend on which thread started the child, and it works on macOS.
_GUARDED = """
exec 3<&0 0</dev/null
( trap '' TERM INT HUP
  read -r _ <&3
  kill -TERM 0
  for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $$ || break; sleep 0.5; done
  kill -KILL 0 ) >/dev/null 2>&1 &
exec "$@" 3<&-
"""


class PartError(StageError):
    """A part cannot be started. The message is one line for a person."""


class ChildFailed(PartError):
    """The process ended while it was waited for. Carries its name, exit code, log path and last log lines."""

    def __init__(self, name: str, exit_code: int, log_path: Path, tail: str) -> None:
        super().__init__(f"{name} ended with exit code {exit_code}; its log is {log_path}")
        self.name, self.child_exit_code, self.log_path, self.details = name, exit_code, log_path, tail


class ChildTimeout(PartError):
    """The process runs, but was not ready in time."""

    def __init__(self, name: str, seconds: float, log_path: Path, tail: str) -> None:
        super().__init__(f"{name} was not ready after {seconds:g} s; its log is {log_path}")
        self.name, self.seconds, self.log_path, self.details = name, seconds, log_path, tail


@dataclass(frozen=True)
class ProcessIdentity:
    """A process id with its start time (Unix seconds), which together are never given to another process."""

    pid: int
    created: float


class Child:
    """A started process in a session of its own, standard output and error appended to a log file.

    It ends with the runner, however that ends. With `detached` it outlives the runner; `identity` then lets another
    run take hold of it by `Child.adopt`. `env` replaces the whole environment where given.
    A command that does not exist shows itself as exit code 127.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log_path: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        detached: bool = False,
    ) -> None:
        self.name, self.log_path = name, log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        self._exit_code: int | None = None
        self._guard: int | None = None
        script = 'exec "$@"' if detached else _GUARDED
        words = ["/bin/sh", "-c", script, "sh", *(str(word) for word in command)]
        if detached:
            stdin = os.open(os.devnull, os.O_RDONLY)
        else:
            stdin, self._guard = os.pipe()
        try:
            with log_path.open("ab") as log:
                self._popen: subprocess.Popen[bytes] | None = subprocess.Popen(
                    words, stdin=stdin, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=cwd, start_new_session=True
                )
        except OSError:
            self._release_guard()
            raise
        finally:
            os.close(stdin)
        self.identity = ProcessIdentity(self._popen.pid, psutil.Process(self._popen.pid).create_time())

    @classmethod
    def adopt(cls, name: str, identity: ProcessIdentity, log_path: Path) -> "Child":
        """Take hold of a detached child that another run started. Its exit code is never known (255)."""
        child = cls.__new__(cls)
        child.name, child.log_path, child.identity = name, log_path, identity
        child._popen, child._guard, child._exit_code, child._log_start = None, None, None, 0
        return child

    @property
    def pid(self) -> int:
        """The process id, which is also the process group's."""
        return self.identity.pid

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        if self._exit_code is None:
            code = self._popen.poll() if self._popen else self._poll_adopted()
            if code is not None:
                self._exit_code = code
                if self._popen:
                    self._signal_group(signal.SIGKILL)  # what it left behind, and the guard
                self._release_guard()
        return self._exit_code

    def stop(self, grace_seconds: float = 10) -> int:
        """Ask the whole group to end (SIGTERM), end it by force after `grace_seconds`, return the exit code."""
        if (code := self.poll()) is not None:
            return code
        for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
            self._signal_group(number)
            deadline = time.monotonic() + seconds
            while (code := self.poll()) is None and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            if code is not None:
                break
        self._signal_group(signal.SIGKILL)  # what an adopted child left behind
        return UNKNOWN_EXIT if code is None else code

    def tail(self, lines: int = 20) -> str:
        """The last lines that this process wrote to its log."""
        try:
            with self.log_path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def wait_ready(self, check: Callable[[], bool], timeout: float) -> None:
        """Return once `check` says so. An OSError from it means not yet.

        Raises ChildFailed if the process ends first, ChildTimeout after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            if (code := self.poll()) is not None:
                raise ChildFailed(self.name, code, self.log_path, self.tail())
            with contextlib.suppress(OSError):
                if check():
                    return
            if time.monotonic() >= deadline:
                raise ChildTimeout(self.name, timeout, self.log_path, self.tail())
            time.sleep(_POLL_SECONDS)

    def _poll_adopted(self) -> int | None:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.identity.created) < 1
            return None if same and process.status() != psutil.STATUS_ZOMBIE else UNKNOWN_EXIT
        except psutil.NoSuchProcess:
            return UNKNOWN_EXIT

    def _signal_group(self, number: signal.Signals) -> None:
        # macOS answers EPERM for a group of which only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _release_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            os.close(guard)


class Part(ABC):
    """A server of the platform that runs as one child on a given loopback port.

    `start` launches it and returns at once, so that several can start side by side; `wait_ready` waits for it.
    """

    name: str

    def __init__(self, port: int, log_dir: Path) -> None:
        self.port, self.log_dir = port, log_dir
        self.child: Child | None = None

    @property
    def log_path(self) -> Path:
        """Where the server's output goes."""
        return self.log_dir / f"{self.name}.log"

    @abstractmethod
    def prepare(self) -> list[str | Path]:
        """Write what the server needs and return its command."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server answers a real request now."""

    def environment(self) -> Mapping[str, str] | None:
        """The server's environment, or None for the runner's own."""
        return None

    def start(self) -> None:
        """Launch the server. Raises PartError if the port is taken or the part cannot run here."""
        if port_in_use(self.port):
            raise PartError(f"{self.name}: port {self.port} is already in use on this machine")
        command = self.prepare()
        self.child = Child(self.name, command, self.log_path, env=self.environment())

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until the server answers. Raises ChildFailed or ChildTimeout (`timeout` in seconds)."""
        if self.child is None:
            raise PartError(f"{self.name} was not started")
        self.child.wait_ready(self.ready, timeout)

    def stop(self, grace_seconds: float = 10) -> None:
        """Stop the server; nothing happens if it does not run."""
        if self.child is not None:
            self.child.stop(grace_seconds)


def free_port() -> int:
    """A loopback TCP port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def port_in_use(port: int) -> bool:
    """Whether something answers on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
