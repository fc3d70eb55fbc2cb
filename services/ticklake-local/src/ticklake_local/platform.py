"""Broker, store and warehouse of one machine, started together, and the settings by which stages reach them."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from ticklake.errors import StageError
from ticklake.kafka import ensure_topics
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, KafkaSettings, StoreSettings, WarehouseSettings, load
from ticklake.topics import batch_topics, live_names, live_topics
from ticklake_local.broker import Broker
from ticklake_local.data_folder import DataFolder, Ports, Running
from ticklake_local.environment import java_home
from ticklake_local.jars import ensure_jars
from ticklake_local.java import Java, find_java
from ticklake_local.processes import ChildFailed, Part, free_port, port_in_use
from ticklake_local.store import Store
from ticklake_local.warehouse import Warehouse, local_settings

OWN_ACCOUNT = "TICKLAKE_WAREHOUSE_ACCOUNT"
"""Set by a user who wants a Snowflake account in place of the local warehouse."""

_LET_GO_SECONDS = 10
"""A killed runner's servers are made to end within some five seconds."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Tools:
    """What the platform's processes are started with."""

    java: Java
    jars: dict[str, Path]
    """Folder of jars per set: kafka, s3proxy, spark."""


@dataclass(frozen=True)
class Platform:
    """A running broker, store and warehouse."""

    folder: DataFolder
    tools: Tools
    ports: Ports
    parts: list[Part] = field(default_factory=list, compare=False, repr=False)
    """The servers that `started` runs; none where another process runs them."""
    background: Running | None = None
    """The process that runs them where that is not this one."""

    def check(self) -> None:
        """Check that the servers have not ended.

        Raises:
            ChildFailed: one did, or the process that runs them; the message has the tail of its log.
        """
        if self.background is not None:
            server = self.folder.background(self.background)
            if (code := server.poll()) is not None:
                raise ChildFailed("the background platform", code, server.log_path, server.tail())
        for part in self.parts:
            if part.child is not None and (code := part.child.poll()) is not None:
                raise ChildFailed(part.name, code, part.log_path, part.child.tail())

    @property
    def kafka(self) -> KafkaSettings:
        """How to reach the broker."""
        return KafkaSettings(bootstrap_servers=f"127.0.0.1:{self.ports.kafka}")

    @property
    def store(self) -> StoreSettings:
        """How to reach the store."""
        return local_store(self.folder, self.ports.store)

    @property
    def catalog(self) -> CatalogSettings:
        """How to reach the catalog of the lake's tables."""
        return local_catalog(self.folder)

    @property
    def warehouse(self) -> WarehouseSettings:
        """How to reach the warehouse: an account of the user's own where one is set, else the local server."""
        if os.environ.get(OWN_ACCOUNT):
            return load(WarehouseSettings)
        return local_settings(self.ports.warehouse)

    def stage_env(self) -> dict[str, str]:
        """The `TICKLAKE_…` variables, and JAVA_HOME, by which a stage program reaches this platform.

        What the user set for a stage is kept; what the platform decides overrides it, but for the warehouse: an
        account of the user's own takes the place of the local one.
        """
        own = {name: value for name, value in os.environ.items() if name.startswith("TICKLAKE_")}
        store, warehouse = self.store, self.warehouse
        local_warehouse = {
            "TICKLAKE_WAREHOUSE_HOST": warehouse.host or "",
            "TICKLAKE_WAREHOUSE_PORT": str(warehouse.port),
            "TICKLAKE_WAREHOUSE_PROTOCOL": warehouse.protocol,
            "TICKLAKE_WAREHOUSE_PASSWORD": _secret(warehouse.password),
        }
        return {
            **own,
            "JAVA_HOME": str(self.tools.java.home),
            "TICKLAKE_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "TICKLAKE_STORE_ENDPOINT": store.endpoint or "",
            "TICKLAKE_STORE_ACCESS_KEY": _secret(store.access_key),
            "TICKLAKE_STORE_SECRET_KEY": _secret(store.secret_key),
            "TICKLAKE_CATALOG_URI": self.catalog.uri,
            "TICKLAKE_SPARK_MASTER": "local[2]",
            "TICKLAKE_SPARK_JARS_DIR": str(self.tools.jars["spark"]),
            "TICKLAKE_SPARK_CLASS_ARCHIVE_DIR": str(self.tools.jars["spark"].parent),
            "TICKLAKE_CODE_VERSION": code_version(),
            "TICKLAKE_LOG_FORMAT": "json",
            **({} if own.get(OWN_ACCOUNT) else local_warehouse),
        }

    def ensure_live_topics(self, namespace: str = "") -> None:
        """Create the topics of the live flow called `namespace` where missing."""
        ensure_topics(self.kafka, live_topics(live_names(namespace)))


def local_store(folder: DataFolder, port: int) -> StoreSettings:
    """How to reach the folder's store where its server listens on `port`."""
    keys = folder.credentials()
    return StoreSettings(
        endpoint=f"http://127.0.0.1:{port}", access_key=SecretStr(keys.access_key), secret_key=keys.secret_key
    )


def local_catalog(folder: DataFolder) -> CatalogSettings:
    """How to reach the folder's catalog, which needs no server."""
    return CatalogSettings(uri=f"sqlite:///{folder.catalog_file}")


def prepare_tools(cache: Path, java_home: Path | None, say: Say) -> Tools:
    """Find Java and fetch what is missing of the jars."""
    java = find_java(java_home)
    for reason in java.skipped:
        say(reason)
    if java.bundled:
        say(f"Java: the bundled {java.major}")
    shown: set[str] = set()

    def progress(jar_set: str, done: int, total: int) -> None:
        if done < total and jar_set not in shown:
            shown.add(jar_set)
            say(f"Fetching {total} jars for {jar_set} (once; kept in {cache}) …")

    return Tools(java, ensure_jars(java, cache, progress))


def prepare(folder: DataFolder, tools: Tools) -> Platform:
    """A platform on `folder` with its ports chosen: those of the last time where they are free. Nothing starts yet.

    To be called with the folder's lock `platform` held: a server that still answers then is one of a runner that was
    killed, and about to end, or a stranger's.
    """
    ports = folder.last_ports()
    deadline = time.monotonic() + _LET_GO_SECONDS
    while ports is not None and _in_use(ports) and time.monotonic() < deadline:
        time.sleep(0.2)
    if ports is None or _in_use(ports):
        ports = Ports(kafka=free_port(), store=free_port(), warehouse=free_port())
        folder.remember_ports(ports)
    return Platform(folder, tools, ports)


def _in_use(ports: Ports) -> bool:
    return any(port_in_use(port) for port in (ports.kafka, ports.store, ports.warehouse))


def ports_in_use(folder: DataFolder, server: Literal["kafka", "store", "warehouse"]) -> Ports | None:
    """Where the folder's servers listen while another command runs `server`, in the background or not; else None."""
    running = folder.running()
    if running is not None:
        return running.ports
    ports = folder.last_ports()
    if ports is None or not port_in_use(getattr(ports, server)):
        return None
    # A server of another folder can have the port by now: whoever works on this one holds its lock.
    return ports if folder.holder("platform") else None


@contextmanager
def with_store(folder: DataFolder, cache: Path, say: Say) -> Iterator[Platform]:
    """The folder's platform of which the store runs: another command's, else one for the time of the block."""
    tools = prepare_tools(cache, java_home(), say)
    if (ports := ports_in_use(folder, "store")) is not None:
        yield Platform(folder, tools, ports)
        return
    with folder.locked("platform"), ExitStack() as stack:
        here = prepare(folder, tools)
        store = _store(here)
        stack.callback(store.stop)
        store.start()
        store.wait_ready()
        ObjectStore(here.store).create_bucket()
        yield here


@contextmanager
def with_broker(folder: DataFolder, cache: Path, say: Say) -> Iterator[Platform]:
    """The folder's platform of which broker and store run: another command's, else one for the time of the block."""
    tools = prepare_tools(cache, java_home(), say)
    if (ports := ports_in_use(folder, "kafka")) is not None:
        yield Platform(folder, tools, ports)
        return
    with folder.locked("platform"):
        here = prepare(folder, tools)
        with started(here, say, warehouse=False):
            yield here


@contextmanager
def with_warehouse(folder: DataFolder) -> Iterator[WarehouseSettings]:
    """How to reach the folder's warehouse: another command's, else one that runs for the time of the block."""
    if (ports := ports_in_use(folder, "warehouse")) is not None:
        yield local_settings(ports.warehouse)
        return
    with folder.locked("platform"), ExitStack() as stack:
        server = Warehouse(folder.warehouse, folder.logs, free_port())
        stack.callback(server.stop)
        server.start()
        server.wait_ready()
        yield local_settings(server.port)


def _store(platform: Platform) -> Store:
    tools, folder = platform.tools, platform.folder
    keys = folder.credentials()
    secret = keys.secret_key.get_secret_value()
    return Store(
        tools.java, tools.jars["s3proxy"], folder.store, folder.logs, platform.ports.store, keys.access_key, secret
    )


@contextmanager
def started(platform: Platform, say: Say, *, warehouse: bool = True) -> Iterator[None]:
    """Start the three servers, or broker and store alone, create topics and the bucket, and stop them at the end.

    Raises:
        PartError: a server ended or was not ready in time; the message has the tail of its log.
        StageError: whatever else fails, in the block too, is reported as a full disk where the disk is full.
    """
    folder, tools, ports = platform.folder, platform.tools, platform.ports
    parts: list[Part] = [
        Broker(tools.java, tools.jars["kafka"], folder.kafka, folder.logs, ports.kafka),
        _store(platform),
    ]
    if warehouse:
        parts.append(Warehouse(folder.warehouse, folder.logs, ports.warehouse))
    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.stop)
        stack.callback(platform.parts.clear)
        stack.enter_context(_full_disk_named(folder))
        say(f"Starting {'broker, store and warehouse' if warehouse else 'broker and store'} …")
        for part in parts:
            part.start()
        platform.parts.extend(parts)
        for part in parts:
            part.wait_ready()
        ensure_topics(platform.kafka, [*batch_topics(), *live_topics(live_names())])
        ObjectStore(platform.store).create_bucket()
        yield


@contextmanager
def _full_disk_named(folder: DataFolder) -> Iterator[None]:
    try:
        yield
    except (StageError, OSError):
        folder.check_room()
        raise


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


@lru_cache
def code_version() -> str:
    """The commit of the code in use, with `+` where it was changed since; `unknown` outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
