"""Waiting until store, catalog, Kafka and warehouse accept connections.

On Kubernetes the network policies that let a new pod out are in force only some seconds after its start, and until then
its connections are refused: https://kubernetes.io/docs/concepts/services-networking/network-policies/#pod-lifecycle
"""

import socket
import threading
import time
from urllib.parse import urlsplit

from pydantic_settings import BaseSettings

from ticklake import logs
from ticklake.settings import CatalogSettings, KafkaSettings, StoreSettings, WarehouseSettings

log = logs.get(__name__)

_PAUSE_SECONDS = 0.5
_PORTS = {"http": 80, "postgresql": 5432}
_CONNECT_SECONDS = 3.0


def wait(settings: BaseSettings, seconds: float, stop: threading.Event | None = None) -> None:
    """Wait at most `seconds`, or until `stop` is set, for every server in `settings`: of several brokers for one.

    Nothing is raised: who uses a server that stays away reports it more clearly than a connection can.
    """
    stop = stop or threading.Event()
    deadline = time.monotonic() + seconds
    missing = [servers for each in settings.__dict__.values() if seconds and (servers := _servers(each))]
    while missing := [servers for servers in missing if not any(map(_accepts, servers))]:
        if time.monotonic() + _PAUSE_SECONDS > deadline:
            return
        log.debug("not reachable yet", servers=[f"{host}:{port}" for servers in missing for host, port in servers])
        if stop.wait(_PAUSE_SECONDS):
            return


def _servers(settings: object) -> list[tuple[str, int]]:
    match settings:
        case StoreSettings(endpoint=str(endpoint)):
            addresses = [urlsplit(endpoint)]
        case CatalogSettings():
            addresses = [urlsplit(settings.uri)]
        case KafkaSettings():
            addresses = [urlsplit(f"//{server}") for server in settings.bootstrap_servers.split(",")]
        case WarehouseSettings(host=str(host)):
            return [(host, settings.port)]
        case _:
            return []
    return [(each.hostname, each.port or _PORTS.get(each.scheme, 443)) for each in addresses if each.hostname]


def _accepts(server: tuple[str, int]) -> bool:
    try:
        socket.create_connection(server, _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
