"""One live flow of the platform's own programs and servers, reached through relays; what ends is started again."""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr
from relay import LOOPBACK, Relay

from ticklake.kafka import ensure_topics
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, LiveSettings, StoreSettings
from ticklake.topics import batch_topics, live_topics
from ticklake_local.broker import Broker
from ticklake_local.data_folder import DataFolder, Ports
from ticklake_local.live_services import ARCHIVE_TICKS, MARKET_ALERTS, STREAM_ANALYTICS, STREAM_TICKS, Service
from ticklake_local.platform import Platform, Tools, local_store
from ticklake_local.postgres import Postgres
from ticklake_local.processes import ChildFailed, Part, free_port
from ticklake_local.store import Store

SPEED_UP = 20
"""How many times as fast as the clock event time runs."""
WATERMARK_SECONDS = 3600
"""Of event time, three minutes of the clock: longer than a fault holds ticks up."""
SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "NVDA", "INTC")
FIRST_EVENT_TIME = datetime(2026, 1, 30, 15, tzinfo=UTC)
_RESTART_SECONDS = 0.5
_ENDS = re.compile(r"^(?:[a-z-]+|[A-Za-z.]*Error): .*$", re.MULTILINE)
"""A program's own last line, or that of a traceback."""
_STORE_BYTES = 2 * 1024**3


class _RelayedBroker(Broker):
    """A broker that clients reach through a relay only: what it advertises is the relay's address."""

    def __init__(self, tools: Tools, folder: DataFolder, port: int, advertised_port: int) -> None:
        super().__init__(tools.java, tools.jars["kafka"], folder.kafka, folder.logs, port)
        self._advertised_port = advertised_port

    def _write_properties(self, file_name: str, storage: Path) -> Path:
        path = super()._write_properties(file_name, storage)
        own, relayed = f"{LOOPBACK}:{self.port}\n", f"{LOOPBACK}:{self._advertised_port}\n"
        text = path.read_text()
        path.write_text(
            text.replace(f"advertised.listeners=PLAINTEXT://{own}", f"advertised.listeners=PLAINTEXT://{relayed}")
        )
        return path


@dataclass
class Program:
    """A service that is started again whenever it ends, as an orchestrator does."""

    name: str
    make: Callable[[], Service]
    service: Service | None = None
    expected_end: bool = False
    """Whether a fault ended it."""
    ends: list[str] = field(default_factory=list)
    """How it ended where no fault killed it: the last line of its log."""
    _start_at: float = 0.0

    def tend(self) -> None:
        """Start it, or start it again where it has ended."""
        if self.service is not None and (code := self.service.ended()) is not None:
            if not self.expected_end:
                # Another replica may write into the same log, so that the last line need not be its own.
                errors = _ENDS.findall(self.service.log.read_text())
                self.ends.append(f"{self.name} ended with {code}: {errors[-1][:300] if errors else ''}")
            self.service, self.expected_end = None, False
            self._start_at = time.monotonic() + _RESTART_SECONDS
        if self.service is None and time.monotonic() >= self._start_at:
            self.service = self.make()
            self.service.start()

    def kill(self) -> None:
        """End all its processes at once."""
        assert self.service is not None
        assert self.service.child is not None
        self.expected_end = True
        os.killpg(self.service.child.pid, signal.SIGKILL)


class Flow:
    """The servers and programs."""

    def __init__(self, folder: DataFolder, tools: Tools, programs: Path, rate: float, seed: int) -> None:
        self.settings = LiveSettings(namespace="faults")
        self.live = self.settings.names
        self._folder, self._stack = folder, ExitStack()
        broker, store, database = free_port(), free_port(), free_port()
        self.relays = {
            "broker": Relay((LOOPBACK, broker), open_=False),
            "store": Relay((LOOPBACK, store), open_=False),
            "catalog": Relay((LOOPBACK, database), open_=False),
        }
        ports = Ports(kafka=self.relays["broker"].port, store=self.relays["store"].port, warehouse=free_port())
        self.platform = Platform(folder, tools, ports)
        keys = folder.credentials()
        self.parts: dict[str, Part] = {
            "broker": _RelayedBroker(tools, folder, broker, ports.kafka),
            "store": Store(
                tools.java,
                tools.jars["s3proxy"],
                folder.store,
                folder.logs,
                store,
                keys.access_key,
                keys.secret_key.get_secret_value(),
            ),
            "catalog": Postgres(programs, folder.root / "database", folder.logs, database, "secret"),
        }
        self.catalog = CatalogSettings(
            uri=f"postgresql://{LOOPBACK}:{self.relays['catalog'].port}/airflow",
            user="airflow",
            password=SecretStr("secret"),
        )
        self.store_is_limited = False
        """Whether the store's disk is one of its own, which a fault can fill."""
        self._rate, self._seed, self._began = rate, seed, time.monotonic()
        self.programs = {
            STREAM_TICKS: Program(STREAM_TICKS, self._ticks),
            "archive-1": Program("archive-1", self._archive),
            "archive-2": Program("archive-2", self._archive),
            MARKET_ALERTS: Program(MARKET_ALERTS, self._alerts),
            STREAM_ANALYTICS: Program(STREAM_ANALYTICS, self._analytics),
        }
        self.incarnations: Counter[str] = Counter()

    def __enter__(self) -> "Flow":
        if os.geteuid() == 0:
            self._mount_store()
        for name, part in self.parts.items():
            self._stack.callback(part.stop)
            part.start()
            self._stack.callback(self.relays[name].cut)
        for part in self.parts.values():
            part.wait_ready()
        return self

    @property
    def direct_store(self) -> StoreSettings:
        """How to reach the store without its relay."""
        return local_store(self._folder, self.parts["store"].port)

    def open(self) -> None:
        """Open the relays, whose threads run from here on, and make what the programs need."""
        for relay in self.relays.values():
            relay.open()
        ensure_topics(self.platform.kafka, [*batch_topics(), *live_topics(self.live)])
        ObjectStore(self.platform.store).create_bucket()

    def __exit__(self, *_: object) -> None:
        for program in self.programs.values():
            if program.service is not None:
                program.service.stop(grace_seconds=1)
        self._stack.close()

    def start(self) -> None:
        """Start the programs, those that read first, and return once all are ready."""
        order = [*reversed(self.programs.values())]
        for program in order[:-1]:
            program.tend()
        for program in order[:-1]:
            assert program.service is not None
            try:
                program.service.wait_ready(300)
            except ChildFailed as error:
                raise TimeoutError(f"{error}\n{error.details}") from error
        self._began = time.monotonic()
        order[-1].tend()

    def tend(self) -> None:
        """Start again what has ended."""
        for program in self.programs.values():
            program.tend()

    @property
    def event_time(self) -> datetime:
        """Where event time is by now; no tick's is later."""
        return FIRST_EVENT_TIME + timedelta(seconds=SPEED_UP * (time.monotonic() - self._began))

    def logs(self) -> str:
        """The ends of all programs' logs."""
        return "\n".join(
            f"--- {name}\n{program.service.failure().details}"
            for name, program in self.programs.items()
            if program.service is not None
        )

    def tracebacks(self) -> list[str]:
        """The programs whose logs have one, a line each: no fault of its surroundings may surprise a program."""
        logs = sorted(self._folder.logs.glob("*.log"))
        return [f"{log.name} has a traceback" for log in logs if "\nTraceback (most recent" in log.read_text()]

    def _mount_store(self) -> None:
        self._folder.store.mkdir(parents=True, exist_ok=True)
        size = f"size={_STORE_BYTES}"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "ticklake", self._folder.store], check=False)
        self.store_is_limited = mounted.returncode == 0
        if self.store_is_limited:
            self._stack.callback(subprocess.run, ["umount", self._folder.store], check=False)

    def _service(self, program: str, **settings: str) -> Service:
        self.incarnations[program] += 1
        return Service(
            program,
            self.platform,
            self.settings.namespace,
            CATALOG_URI=self.catalog.uri,
            CATALOG_USER="airflow",
            CATALOG_PASSWORD="secret",
            STORE_TIMEOUT_SECONDS="5",
            **settings,
        )

    def _ticks(self) -> Service:
        return self._service(
            STREAM_TICKS,
            STREAM_SOURCE="simulated",
            STREAM_SYMBOLS=",".join(SYMBOLS),
            STREAM_RATE=str(self._rate),
            STREAM_SPEED_UP=str(SPEED_UP),
            STREAM_SEED=str(self._seed + self.incarnations[STREAM_TICKS]),
            STREAM_START_EVENT_TIME=self.event_time.isoformat(),
            STREAM_START_FROM_LAKE="false",
        )

    def _archive(self) -> Service:
        return self._service(ARCHIVE_TICKS, ARCHIVE_ROLL_SECONDS="1", ARCHIVE_SESSION_TIMEOUT_SECONDS="6")

    def _alerts(self) -> Service:
        return self._service(MARKET_ALERTS, ALERTS_STATE_SECONDS="1", ALERTS_SESSION_TIMEOUT_SECONDS="6")

    def _analytics(self) -> Service:
        return self._service(
            STREAM_ANALYTICS,
            WINDOWS_TRIGGER_SECONDS="0",
            WINDOWS_WATERMARK_SECONDS=str(WATERMARK_SECONDS),
            WINDOWS_CHECKPOINT=(self._folder.root / "checkpoints").as_uri(),
        )
