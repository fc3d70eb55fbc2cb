"""One server of the platform alone, as the main process of a container: for trials on a cluster."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pydantic import Field
from pydantic_settings import BaseSettings

from ticklake.errors import ConfigurationError, ExitCode
from ticklake.kafka import ensure_topics
from ticklake.objects import ObjectStore
from ticklake.program import Arguments, guarded
from ticklake.settings import KafkaSettings, StoreSettings, WarehouseSettings, load, settings_config
from ticklake.topics import batch_topics, check_topics, live_names, live_topics
from ticklake_local.broker import Broker
from ticklake_local.java import find_java
from ticklake_local.processes import Part
from ticklake_local.store import Store
from ticklake_local.warehouse import Warehouse

PORTS = {"kafka": 9092, "store": 9000, "warehouse": 8080}
"""The parts and the port of each unless TICKLAKE_PART_PORT says otherwise."""


class PartSettings(BaseSettings):
    """Where a part listens and keeps its data (`TICKLAKE_PART_…`)."""

    model_config = settings_config("TICKLAKE_PART_")

    address: str = "0.0.0.0"  # noqa: S104 - in a pod, all interfaces are the pod's own
    """Interface to listen on."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Unset means the part's own: kafka 9092, store 9000, warehouse 8080."""
    host: str = Field(default_factory=socket.gethostname)
    """Name under which clients reach Kafka, which advertises it to them: the Service's."""
    data: Path = Path("/data")
    """Folder of all data."""
    jars: Path = Path("/opt/ticklake/jars")
    """Folder with a folder per set of jars, `kafka` and `s3proxy`."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Become the server, ask whether it is ready, or prepare what it is to hold; exit codes as for stages."""
    parser = Arguments(prog="local-server", description=__doc__, epilog="Settings come from TICKLAKE_… variables.")
    parser.add_argument("part", choices=PORTS, help="the server")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--ready", action="store_true", help="only ask whether it is ready, for a probe")
    instead.add_argument(
        "--prepare",
        action="store_true",
        help="as a client of it, create the topics (kafka) or the bucket (store) where they are missing",
    )
    arguments = parser.parse_args(argv)
    if arguments.prepare and arguments.part not in _PREPARE:
        parser.error(f"argument --prepare: {arguments.part} needs no preparation")
    sys.exit(guarded(f"local-server {arguments.part}", lambda: _do(arguments)))


def _do(arguments: argparse.Namespace) -> None:
    if arguments.prepare:
        _PREPARE[arguments.part]()
        return
    part = build(arguments.part, load(PartSettings))
    if arguments.ready:
        if not _answers(part):
            sys.exit(ExitCode.FAILED)
        return
    part.log_dir.mkdir(parents=True, exist_ok=True)
    command = [str(word) for word in part.prepare()]
    # The server takes this process's place, so that it gets the container's signals and its output is the log.
    os.execve(command[0], command, dict(part.environment() or os.environ))  # noqa: S606


def _create_topics() -> None:
    ensure_topics(load(KafkaSettings), [*batch_topics(), *live_topics(live_names()), *check_topics()])


def _create_bucket() -> None:
    ObjectStore(load(StoreSettings)).create_bucket()


_PREPARE = {"kafka": _create_topics, "store": _create_bucket}


def _answers(part: Part) -> bool:
    try:
        return part.ready()
    except OSError:
        return False


def build(name: str, settings: PartSettings) -> Part:
    """The part called `name`. Nothing starts yet.

    Raises:
        ConfigurationError: the store has no key pair, the warehouse no password, or there is no Java for the part.
    """
    port, logs = settings.port or PORTS[name], settings.data / "logs"
    if name == "warehouse":
        password = load(WarehouseSettings).password
        if password is None or not password.get_secret_value():
            raise ConfigurationError("set TICKLAKE_WAREHOUSE_PASSWORD: what the warehouse asks of its clients")
        return Warehouse(settings.data / name, logs, port, address=settings.address, password=password)
    java = find_java()
    if name == "kafka":
        return Broker(
            java,
            settings.jars / "kafka",
            settings.data / name,
            logs,
            port,
            address=settings.address,
            advertised=settings.host,
        )
    keys = load(StoreSettings)
    if keys.access_key is None or keys.secret_key is None:
        raise ConfigurationError(
            "set TICKLAKE_STORE_ACCESS_KEY and TICKLAKE_STORE_SECRET_KEY: the store's one key pair"
        )
    return Store(
        java,
        settings.jars / "s3proxy",
        settings.data / name,
        logs,
        port,
        keys.access_key.get_secret_value(),
        keys.secret_key.get_secret_value(),
        address=settings.address,
    )
