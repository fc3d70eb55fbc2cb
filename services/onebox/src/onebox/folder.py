"""The data folder of a one-box platform: what lies where in it, its credentials, and who works on it."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, SecretStr, ValidationError

from ticklake.errors import ConfigurationError

DEFAULT_FOLDER = Path(".onebox")


class Ports(BaseModel):
    """TCP ports on 127.0.0.1."""

    kafka: int
    store: int
    warehouse: int


class Running(BaseModel):
    """What a background platform says of itself in `running.json`."""

    pid: int
    ports: Ports


class Credentials(BaseModel):
    """The store's key pair, made once per folder; readable by its owner only."""

    access_key: str
    secret_key: SecretStr


@dataclass(frozen=True)
class DataFolder:
    """Everything that a one-box platform keeps."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "DataFolder":
        """The folder at `path`, created where missing.

        Raises:
            ConfigurationError: it cannot be created or written.
        """
        folder = cls(path.resolve())
        try:
            for part in (folder.root, folder.logs, folder.kafka, folder.store, folder.warehouse):
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
    def warehouse(self) -> Path:
        """The warehouse's database files."""
        return self.root / "warehouse"

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.root / "logs"

    def log(self, name: str) -> Path:
        """The log file of the process called `name`."""
        return self.logs / f"{name}.log"

    def credentials(self) -> Credentials:
        """The store's credentials, made at the first call."""
        path = self.root / "credentials.json"
        if not path.exists():
            made = {"access_key": "ticklake", "secret_key": secrets.token_urlsafe(24)}
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(made, file)
        return Credentials.model_validate_json(path.read_bytes())

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
            os.kill(found.pid, 0)
        except (OSError, ValidationError):
            return None
        return found

    def announce(self, running: Running | None) -> None:
        """Say that a background platform runs here, or (None) that it stopped."""
        path = self.root / "running.json"
        if running is None:
            path.unlink(missing_ok=True)
            return
        draft = path.with_suffix(".new")
        draft.write_text(running.model_dump_json())
        draft.replace(path)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold this folder's lock called `name` (`platform` or `run`) while the block runs.

        Raises:
            ConfigurationError: another process holds it.
        """
        with (self.root / f"{name}.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise ConfigurationError(
                    f"another onebox (process {file.read().strip() or '?'}) works on {self.root}: "
                    "wait for it, stop it, or choose another --data"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
