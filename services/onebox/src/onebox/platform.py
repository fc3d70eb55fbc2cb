"""Broker, store and warehouse of one machine, started together, and the settings by which stages reach them."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import SecretStr

from onebox.broker import Broker
from onebox.folder import DataFolder, Ports
from onebox.jars import ensure_jars
from onebox.java import Java, find_java
from onebox.processes import free_port, port_in_use
from onebox.store import Store
from onebox.warehouse import Warehouse
from ticklake.kafka import ensure_topics
from ticklake.names import batch_topics, live_names, live_topics
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, StoreSettings, WarehouseSettings, load

OWN_ACCOUNT = "TICKLAKE_WAREHOUSE_ACCOUNT"
"""Set by a user who wants a Snowflake account in place of the local warehouse."""

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

    @property
    def kafka(self) -> KafkaSettings:
        """How to reach the broker."""
        return KafkaSettings(bootstrap_servers=f"127.0.0.1:{self.ports.kafka}")

    @property
    def store(self) -> StoreSettings:
        """How to reach the store."""
        keys = self.folder.credentials()
        return StoreSettings(
            endpoint=f"http://127.0.0.1:{self.ports.store}",
            access_key=SecretStr(keys.access_key),
            secret_key=keys.secret_key,
        )

    @property
    def warehouse(self) -> WarehouseSettings:
        """How to reach the warehouse: an account of the user's own where one is set, else the local server."""
        if OWN_ACCOUNT in os.environ:
            return load(WarehouseSettings)
        return WarehouseSettings(
            host="127.0.0.1", port=self.ports.warehouse, protocol="http", password=SecretStr("onebox")
        )

    def stage_env(self) -> dict[str, str]:
        """The `TICKLAKE_…` variables, and JAVA_HOME, by which a stage program reaches this platform.

        What the user set for a stage is kept; what the platform decides goes before it, but for the warehouse: an
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
            "TICKLAKE_SPARK_MASTER": "local[2]",
            "TICKLAKE_SPARK_JARS_DIR": str(self.tools.jars["spark"]),
            "TICKLAKE_CODE_VERSION": code_version(),
            "TICKLAKE_LOG_FORMAT": "json",
            **({} if OWN_ACCOUNT in own else local_warehouse),
        }

    def ensure_live_topics(self, namespace: str = "") -> None:
        """Create the topics of the live flow called `namespace` where missing."""
        ensure_topics(self.kafka, live_topics(live_names(namespace)))


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
    """A platform on `folder` with its ports chosen: those of the last time where they are free. Nothing starts yet."""
    ports = folder.last_ports()
    if ports is None or any(port_in_use(port) for port in (ports.kafka, ports.store, ports.warehouse)):
        ports = Ports(kafka=free_port(), store=free_port(), warehouse=free_port())
        folder.remember_ports(ports)
    return Platform(folder, tools, ports)


@contextmanager
def started(platform: Platform, say: Say) -> Iterator[None]:
    """Start the three servers, create topics and the bucket, and stop everything at the end.

    Raises:
        PartError: a server ended or was not ready in time; the message has the tail of its log.
    """
    folder, tools, ports = platform.folder, platform.tools, platform.ports
    keys = folder.credentials()
    parts = (
        Broker(tools.java, tools.jars["kafka"], folder.kafka, folder.logs, ports.kafka),
        Store(
            tools.java, tools.jars["s3proxy"], folder.store, folder.logs, ports.store,
            keys.access_key, keys.secret_key.get_secret_value(),
        ),
        Warehouse(folder.warehouse, folder.logs, ports.warehouse),
    )  # fmt: skip
    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.stop)
        say("Starting broker, store and warehouse …")
        for part in parts:
            part.start()
        for part in parts:
            part.wait_ready()
        ensure_topics(platform.kafka, [*batch_topics(), *live_topics(live_names())])
        ObjectStore(platform.store).create_bucket()
        yield


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


@lru_cache
def code_version() -> str:
    """The commit of the code in use, with `+` where it was changed since; `unknown` outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
