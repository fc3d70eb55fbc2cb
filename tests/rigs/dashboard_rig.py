"""What tests of the dashboard share: a lake filled by the real batch programs, ticks for the topic, the real server."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from waiting import ENDS_SECONDS, SECONDS, wait_until

from ticklake.catalog import LakeTables
from ticklake.kafka import ConfirmedProducer
from ticklake.objects import ObjectStore
from ticklake.pipeline import BATCH_STAGES
from ticklake.records import Source, Tick
from ticklake.settings import CatalogSettings, KafkaSettings, StoreSettings
from ticklake_local.platform import Platform
from ticklake_local.processes import free_port

REPLAY_DATE = date(2013, 3, 1)
"""The last session of the recorded bars."""


@dataclass(frozen=True)
class Lake:
    """A bucket and the catalog of the tables in it."""

    store: StoreSettings
    catalog: CatalogSettings

    @property
    def env(self) -> dict[str, str]:
        """The variables by which a program finds it."""
        return {"TICKLAKE_STORE_BUCKET": self.store.bucket, "TICKLAKE_CATALOG_URI": self.catalog.uri}

    @property
    def tables(self) -> LakeTables:
        """Its tables."""
        return LakeTables(self.catalog, self.store)


@dataclass(frozen=True)
class FilledLake(Lake):
    """One in which a batch ran through every stage."""

    run_id: str
    batch_date: date
    symbols: tuple[str, ...]


def fill_lake(
    platform: Platform, programs: Path, symbols: Sequence[str] = ("AAPL", "IBM", "MSFT"), stages: int | None = None
) -> FilledLake:
    """Run the batch pipeline's programs on recorded real bars, one year up to `REPLAY_DATE`, in a new lake."""
    settings = platform.store.model_copy(update={"bucket": f"dash-{uuid.uuid4().hex[:12]}"})
    ObjectStore(settings).create_bucket()
    catalog = CatalogSettings(uri=f"sqlite:///{platform.folder.catalog}/{settings.bucket}.db")
    lake = FilledLake(settings, catalog, f"run-{uuid.uuid4().hex[:8]}", REPLAY_DATE, tuple(symbols))
    run_batch(platform, programs, lake, symbols, REPLAY_DATE, lake.run_id, stages)
    return lake


def run_batch(
    platform: Platform,
    programs: Path,
    lake: Lake,
    symbols: Sequence[str],
    day: date,
    run_id: str,
    stages: int | None = None,
) -> None:
    """Run the batch pipeline's programs on recorded real bars, one year up to `day`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TICKLAKE_")}
    environment = (
        kept
        | platform.stage_env()
        | lake.env
        | {
            "TICKLAKE_SOURCE": "replay",
            "TICKLAKE_SYMBOLS": ",".join(symbols),
            "TICKLAKE_WAREHOUSE_DATABASE": f"TEST_{uuid.uuid4().hex[:12].upper()}",
        }
    )
    for stage in BATCH_STAGES[:stages]:
        command = [programs / stage.program, "--date", str(day), "--run-id", run_id]
        subprocess.run(command, env=environment, check=True, timeout=300, stdout=subprocess.DEVNULL)


@dataclass
class Dashboard:
    """The dashboard as a process."""

    process: subprocess.Popen[bytes]
    url: str
    metrics_url: str
    log: Path

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of a GET."""
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def json(self, path: str) -> Any:
        """The body of a GET of the API that succeeds."""
        status, _, body = self.get(f"/api/v1{path}")
        assert status == 200, body.decode()
        return json.loads(body)

    def wait(self, path: str, good: Callable[[Any], bool]) -> Any:
        """The answer of the API once it is as wanted."""

        def wanted() -> tuple[Any] | None:
            status, _, body = self.get(f"/api/v1{path}")
            return (answer,) if status == 200 and good(answer := json.loads(body)) else None

        return wait_until(wanted, lambda: self.get(f"/api/v1{path}"))[0]

    def ready(self) -> bool:
        """Whether it serves."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.metrics_url}/readyz", timeout=2):
            return True
        return False

    def metrics(self) -> str:
        """What /metrics says."""
        with urllib.request.urlopen(self.metrics_url + "/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def stop(self) -> float:
        """SIGTERM; it has to end with 0. Returns how long it took."""
        asked = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(ENDS_SECONDS) == 0, self.log.read_text()
        return time.monotonic() - asked


@contextlib.contextmanager
def dashboard_running(programs: Path, environment: dict[str, str], folder: Path, **more: str) -> Iterator[Dashboard]:
    """The server of `environment` on free ports while the block runs; keywords are variables without TICKLAKE_."""
    port, metrics_port = free_port(), free_port()
    log = folder / f"dashboard-{port}.log"
    own = {"DASHBOARD_PORT": str(port), "METRICS_PORT": str(metrics_port), "DASHBOARD_REFRESH_SECONDS": "1"} | more
    with log.open("wb") as target:
        process = subprocess.Popen(
            [programs / "dashboard"],
            stdout=target,
            stderr=subprocess.STDOUT,
            env=environment | {f"TICKLAKE_{name}": value for name, value in own.items()},
        )
    server = Dashboard(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}", log)
    try:
        wait_until(server.ready, log.read_text, alive=lambda: process.poll() is None)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


@dataclass
class TickSender:
    """Sends ticks whose event time is now."""

    kafka: KafkaSettings
    topic: str
    source: Source = Source.SIMULATED
    producer_run: str = field(default_factory=lambda: uuid.uuid4().hex)
    sequence: int = 0

    def send(self, *prices: tuple[str, float], volume: int = 100, at: datetime | None = None) -> list[Tick]:
        """One tick for each (symbol, price), delivered when this returns."""
        sent = []
        with ConfirmedProducer(self.kafka, "test", linger_ms=0) as producer:
            for symbol, price in prices:
                tick = Tick(
                    symbol=symbol,
                    price=price,
                    volume=volume,
                    event_time=at or datetime.now(UTC),
                    sequence=self.sequence,
                    producer_run=self.producer_run,
                    source=self.source,
                )
                self.sequence += 1
                producer.send(self.topic, key=symbol.encode(), value=tick.model_dump_json().encode())
                sent.append(tick)
        return sent
