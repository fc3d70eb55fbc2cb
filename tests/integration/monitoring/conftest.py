"""What the tests of alerts share: the servers that raise them, and the programs and the store that cause them."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from monitoring_servers import RULES, Monitoring, Receiver, quick
from pydantic import SecretStr
from waiting import ENDS_SECONDS

from ticklake.objects import ObjectStore
from ticklake.settings import StoreSettings
from ticklake_local import platform
from ticklake_local.processes import free_port
from ticklake_local.store import Store

PROGRAMS = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}
"""Debian calls Alertmanager's program differently."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where the alerts go."""
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()


@pytest.fixture
def monitoring(tmp_path: Path, receiver: Receiver) -> Monitoring:
    """Prometheus and Alertmanager, not started yet."""
    found = {}
    for name, programs in PROGRAMS.items():
        path = next(filter(None, map(shutil.which, programs)), None)
        if path is None and os.environ.get("TICKLAKE_REQUIRE_PROMETHEUS"):
            pytest.fail(f"TICKLAKE_REQUIRE_PROMETHEUS is set, and there is no {programs[0]} on the PATH")
        if path is None:
            pytest.skip(f"there is no {programs[0]} on the PATH (Debian: apt-get install {programs[0]})")
        found[name] = path
    return Monitoring(tmp_path / "monitoring", receiver, found)


@dataclass
class OwnStore:
    """A store of a test's own, which it may kill."""

    part: Store
    settings: StoreSettings

    def kill(self) -> None:
        """End it at once."""
        assert self.part.child is not None
        os.killpg(self.part.child.pid, signal.SIGKILL)
        while self.part.child.poll() is None:
            time.sleep(0.05)

    def start(self) -> None:
        """Start it again, with what it held."""
        self.part.start()
        self.part.wait_ready()

    def environment(self) -> dict[str, str]:
        """How programs reach it; not to wait for it long where it is away."""
        return {
            "TICKLAKE_STORE_ENDPOINT": self.part.endpoint,
            "TICKLAKE_STORE_ACCESS_KEY": "key",
            "TICKLAKE_STORE_SECRET_KEY": "secret-key",
            "TICKLAKE_STORE_BUCKET": "bucket",
            "TICKLAKE_STORE_TIMEOUT_SECONDS": "2",
        }


@pytest.fixture
def own_store(local_tools: platform.Tools, tmp_path: Path) -> Iterator[OwnStore]:
    """A running store with an empty bucket."""
    store = Store(
        local_tools.java, local_tools.jars["s3proxy"], tmp_path / "data", tmp_path, free_port(), "key", "secret-key"
    )
    store.start()
    try:
        store.wait_ready()
        settings = StoreSettings(
            endpoint=store.endpoint, access_key=SecretStr("key"), secret_key=SecretStr("secret-key"), bucket="bucket"
        )
        ObjectStore(settings).create_bucket()
        yield OwnStore(store, settings)
    finally:
        store.stop()


class Services:
    """The platform's programs as processes, each with a port for its metrics that it keeps when started again."""

    def __init__(self, programs: Path, log: Path) -> None:
        self._programs, self.log = programs, log
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}

    def port(self, program: str) -> int:
        return self._ports.setdefault(program, free_port())

    def start(self, program: str, environment: Mapping[str, str]) -> None:
        with self.log.open("ab") as output:
            self._running[program] = subprocess.Popen(
                [self._programs / program],
                stdout=output,
                stderr=output,
                env={**environment, "TICKLAKE_METRICS_PORT": str(self.port(program))},
            )

    def stop(self, program: str) -> int:
        process = self._running.pop(program)
        process.send_signal(signal.SIGTERM)
        return process.wait(ENDS_SECONDS)

    def kill_all(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


@pytest.fixture
def services(programs: Path, tmp_path: Path) -> Iterator[Services]:
    """The platform's programs; what still runs at the end is killed."""
    services = Services(programs, tmp_path / "services.log")
    yield services
    services.kill_all()


@pytest.fixture
def quick_rules(tmp_path: Path) -> Path:
    """The rules' folder with minutes cut to seconds."""
    folder = tmp_path / "rules"
    folder.mkdir()
    for path in RULES.glob("*.yaml"):
        (folder / path.name).write_text(quick(path.read_text()))
    return folder
