"""A PostgreSQL server on a folder, for Airflow's own records.

Airflow's processes write at the same time, which its SQLite cannot do: "database is locked".
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil

from ticklake_local.data_folder import write_private
from ticklake_local.processes import LOOPBACK, Part, PartError

ROLE = DATABASE = "airflow"

_UNPRIVILEGED = "nobody"
_LEFT_SECONDS = 30.0


class Postgres(Part):
    """The server, with one role and one database, both `airflow`. `programs` is the folder of PostgreSQL's programs.

    PostgreSQL does not run as root. Where root runs this, the server is nobody's and its data belongs to nobody; it
    keeps the one capability without which it could not reach a folder below root's own.
    """

    name = "postgres"

    def __init__(self, programs: Path, data_dir: Path, log_dir: Path, port: int, password: str) -> None:
        super().__init__(port, log_dir)
        self._programs, self._data, self._password = programs, data_dir, password

    @property
    def address(self) -> str:
        """User, password, host, port and database, as every driver's address has them after `postgresql://`."""
        return f"{ROLE}:{self._password}@{LOOPBACK}:{self.port}/{DATABASE}"

    def prepare(self) -> list[str | Path]:
        """Make the database where there is none and return the server's command.

        Raises PartError where that fails, or root cannot lay down its rights.
        """
        prefix: list[str | Path] = [*as_another_user()] if os.geteuid() == 0 else []
        if not self._data.exists():
            self._initialise(prefix)
        self._wait_for_left_processes()
        where: list[str | Path] = ["-D", self._data, "-p", str(self.port), "-c", f"listen_addresses={LOOPBACK}"]
        return [*prefix, self._programs / "postgres", *where, "-c", "unix_socket_directories="]

    def ready(self) -> bool:
        """Whether the server takes connections."""
        command = f"{self._programs}/pg_isready", "--quiet", "--host", LOOPBACK, "--port", str(self.port)
        return subprocess.run(command, check=False).returncode == 0

    def stop(self, grace_seconds: float = 10) -> None:
        """Stop the server without waiting for its clients; what they have not committed has not happened."""
        if self.child is not None and self.child.poll() is None:
            # https://www.postgresql.org/docs/16/server-shutdown.html: SIGTERM alone would wait for them.
            os.kill(self.child.pid, signal.SIGINT)
        super().stop(grace_seconds)

    def _wait_for_left_processes(self) -> None:
        # Those of a killed server end a moment after it. Beside them PostgreSQL does not start ("pre-existing shared
        # memory block is still in use"). They all work in the data's folder.
        folder, deadline = str(self._data.resolve()), time.monotonic() + _LEFT_SECONDS
        while time.monotonic() < deadline and any(each.info["cwd"] == folder for each in psutil.process_iter(["cwd"])):
            time.sleep(0.1)

    def _initialise(self, prefix: list[str | Path]) -> None:
        draft, password = self._data.with_suffix(".new"), self._data.with_suffix(".password")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        try:
            write_private(password, self._password)
            if prefix:
                shutil.chown(draft, _UNPRIVILEGED)
            self._made(
                [
                    *prefix,
                    self._programs / "initdb",
                    "--pgdata",
                    draft,
                    "--username",
                    ROLE,
                    "--pwfile",
                    password,
                    "--auth",
                    "scram-sha-256",
                    "--encoding",
                    "UTF8",
                    "--no-locale",
                ]
            )
            self._made(
                [*prefix, self._programs / "postgres", "--single", "-D", draft, "postgres"],
                f"CREATE DATABASE {DATABASE}\n",
            )
        finally:
            password.unlink(missing_ok=True)
        draft.rename(self._data)

    def _made(self, command: list[str | Path], statement: str = "") -> None:
        done = subprocess.run(
            command, input=statement, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        self.log_dir.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("a") as log:
            log.write(done.stdout)
        if done.returncode != 0:
            last = (done.stdout.strip().splitlines() or ["no output"])[-1]
            raise PartError(f"{self.name}: the database cannot be made ({last}); the log is {self.log_path}")


def as_another_user() -> list[str]:
    """What root puts before a command of PostgreSQL's. Raises PartError where there is no way to do so."""
    if (program := shutil.which("setpriv")) is None:
        raise PartError(
            "PostgreSQL does not run as root, and there is no setpriv (package util-linux) to become nobody"
        )
    user = pwd.getpwnam(_UNPRIVILEGED)
    return [
        program,
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
    ]
