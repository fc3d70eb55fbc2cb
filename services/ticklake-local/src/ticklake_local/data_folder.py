"""The data folder of a local platform: what lies where in it, its credentials, and who works on it."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, SecretStr, ValidationError

from ticklake.errors import ConfigurationError, StageError
from ticklake_local.processes import Child, ProcessIdentity

DEFAULT_FOLDER = Path(".ticklake")

_ROOM_TO_START = 64 * 1024 * 1024
_ROOM_TO_GO_ON = 1024 * 1024
"""Bytes free on the folder's disk: with less, broker and store fail in ways that do not name the cause."""


class Ports(BaseModel):
    """TCP ports on 127.0.0.1."""

    kafka: int
    store: int
    warehouse: int


class Running(BaseModel):
    """What a background platform records in `running.json`."""

    pid: int
    created: float
    """When the process started (Unix seconds): the id alone may be another process's by now."""
    ports: Ports


class Credentials(BaseModel):
    """The store's key pair, made once per folder; readable by its owner only."""

    access_key: str
    secret_key: SecretStr


@dataclass(frozen=True)
class DataFolder:
    """Everything that a local platform keeps."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "DataFolder":
        """The folder at `path`, created where missing.

        Raises:
            ConfigurationError: it cannot be created or written.
        """
        folder = cls(path.resolve())
        try:
            for part in (folder.root, folder.logs, folder.kafka, folder.store, folder.catalog, folder.warehouse):
                part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot use the data folder {path}: {error.strerror}; choose another --data"
            ) from error
        if not os.access(folder.root, os.W_OK):
            raise ConfigurationError(f"cannot write to the data folder {path}; choose another --data")
        return folder

    @property
    def kafka(self) -> Path:
        """The broker's log segments."""
        return self.root / "kafka"

    @property
    def store(self) -> Path:
        """The lake: one folder per bucket, one file per object."""
        return self.root / "store"

    @property
    def catalog(self) -> Path:
        """The catalog of the lake's tables: an SQLite file."""
        return self.root / "catalog"

    @property
    def catalog_file(self) -> Path:
        """That file; its first writer makes it."""
        return self.catalog / "catalog.db"

    @property
    def warehouse(self) -> Path:
        """The warehouse's database files."""
        return self.root / "warehouse"

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.root / "logs"

    @property
    def scratch(self) -> Path:
        """Temporary files of the stages that run."""
        return self.root / "scratch"

    def log(self, name: str) -> Path:
        """The log file of the process called `name`."""
        return self.logs / f"{name}.log"

    def credentials(self) -> Credentials:
        """The store's credentials, made at the first call.

        Raises:
            ConfigurationError: their file is damaged.
        """
        path = self.root / "credentials.json"
        if not path.exists():
            made = {"access_key": "ticklake", "secret_key": secrets.token_urlsafe(24)}
            write_private(path, json.dumps(made))
        try:
            return Credentials.model_validate_json(path.read_bytes())
        except ValidationError:
            raise ConfigurationError(f"{path} is damaged: delete it, and new keys are made") from None

    def last_ports(self) -> Ports | None:
        """Ports of the platform that ran here last, so that addresses stay the same where they are free."""
        try:
            return Ports.model_validate_json((self.root / "ports.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def remember_ports(self, ports: Ports) -> None:
        """Keep `ports` for the next start."""
        (self.root / "ports.json").write_text(ports.model_dump_json())

    def running(self) -> Running | None:
        """The background platform on this folder, None where there is none."""
        try:
            found = Running.model_validate_json((self.root / "running.json").read_bytes())
        except (OSError, ValidationError):
            return None
        return found if self.background(found).poll() is None else None

    def background(self, running: Running) -> Child:
        """The process of the background platform."""
        return Child.adopt("ticklake serve", ProcessIdentity(running.pid, running.created), self.log("ticklake"))

    def announce(self, running: Running | None) -> None:
        """Say that a background platform runs here, or (None) that it stopped."""
        path = self.root / "running.json"
        if running is None:
            path.unlink(missing_ok=True)
            return
        draft = path.with_suffix(".new")
        draft.write_text(running.model_dump_json())
        draft.replace(path)

    def check_room(self, least: int = _ROOM_TO_GO_ON) -> None:
        """Check that the folder's disk has `least` bytes free.

        Raises:
            StageError: it has less.
        """
        free = shutil.disk_usage(self.root).free
        if free < least:
            raise StageError(
                f"the disk of {self.root} is full ({free / 2**20:.0f} MB free): make room, or choose another --data"
            )

    def holder(self, name: str) -> str | None:
        """Id of the process that holds the lock called `name`; None where none does."""
        with contextlib.suppress(FileNotFoundError), (self.root / f"{name}.lock").open("r") as file:
            if not _taken(file, fcntl.LOCK_SH):
                return file.read().strip() or "?"
        return None

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold this folder's lock called `name` (`platform` or `run`) while the block runs.

        Raises:
            ConfigurationError: another process holds it.
            StageError: the disk is too full to begin anything.
        """
        self.check_room(_ROOM_TO_START)
        with (self.root / f"{name}.lock").open("a+") as file:
            while not _taken(file):
                # Whoever asks for the holder has the lock for a moment, too.
                if holder := self.holder(name):
                    raise ConfigurationError(
                        f"another ticklake (process {holder}) works on {self.root}: "
                        "wait for it, stop it, or choose another --data"
                    )
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody but its owner may read, not even for a moment."""
    # Under its name only when it is whole: the disk may be full.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _taken(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
