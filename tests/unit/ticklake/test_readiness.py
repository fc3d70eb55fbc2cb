"""Waiting for servers at the start: until they listen, not longer than allowed, and not where nothing is allowed."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from waiting import ENDS_SECONDS, SECONDS

from ticklake import readiness
from ticklake.settings import CatalogSettings, KafkaSettings, StageSettings, StoreSettings, WarehouseSettings


class Settings(StageSettings):
    """Of a stage that uses all four."""

    kafka: KafkaSettings
    store: StoreSettings
    catalog: CatalogSettings
    warehouse: WarehouseSettings


@pytest.fixture
def servers() -> Iterator[list[socket.socket]]:
    """Bound, but not listening: connections are refused."""
    bound = [socket.socket() for _ in range(5)]
    for each in bound:
        each.bind(("127.0.0.1", 0))
    yield bound
    for each in bound:
        each.close()


def settings(servers: list[socket.socket]) -> Settings:
    first, second, store, catalog, warehouse = (each.getsockname()[1] for each in servers)
    return Settings(
        kafka=KafkaSettings(bootstrap_servers=f"127.0.0.1:{first},127.0.0.1:{second}"),
        store=StoreSettings(endpoint=f"http://127.0.0.1:{store}"),
        catalog=CatalogSettings(uri=f"postgresql://127.0.0.1:{catalog}/catalog"),
        warehouse=WarehouseSettings(host="127.0.0.1", port=warehouse),
    )


def test_it_waits_until_one_of_each_listens(servers: list[socket.socket]) -> None:
    waiting = threading.Thread(target=readiness.wait, args=(settings(servers), 600), daemon=True)
    waiting.start()
    for each in servers[1:]:
        waiting.join(0.7)
        assert waiting.is_alive()
        each.listen()
    waiting.join(SECONDS)
    assert not waiting.is_alive()


@pytest.mark.parametrize(("allowed", "longest"), [(0, 5), (1, 20)])
def test_it_goes_on_without_them_in_the_end(servers: list[socket.socket], allowed: float, longest: float) -> None:
    began = time.monotonic()
    readiness.wait(settings(servers), allowed)
    assert allowed / 2 <= time.monotonic() - began < longest


WAITING = """
from pydantic import Field
from ticklake import readiness
from ticklake.settings import StageSettings, StoreSettings
from ticklake.service import service_main

class Settings(StageSettings):
    store: StoreSettings = Field(default_factory=StoreSettings)

accepts = readiness._accepts
readiness._accepts = lambda server: print("tried", flush=True) or accepts(server)
service_main("service", Settings, lambda settings, stop: print("stopped" if stop.is_set() else "began"), [])
"""


def test_a_service_that_waits_ends_when_it_is_asked_to(servers: list[socket.socket]) -> None:
    endpoint = f"http://127.0.0.1:{servers[0].getsockname()[1]}"
    variables = os.environ | {"TICKLAKE_START_WAIT_SECONDS": "600", "TICKLAKE_STORE_ENDPOINT": endpoint}
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True, env=variables) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "tried\n"
        service.terminate()
        assert service.wait(ENDS_SECONDS) == 0
        assert "stopped\n" in service.stdout.read()


def test_addresses_of_a_cloud_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("tried"))

    class OfCloud(StageSettings):
        store: StoreSettings
        warehouse: WarehouseSettings

    cloud = OfCloud(store=StoreSettings(), warehouse=WarehouseSettings(account="organisation-account"))
    readiness.wait(cloud, 60)
