"""`local-server`: each server alone as one process, as in a pod."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import snowflake.connector
from pydantic import SecretStr
from waiting import ENDS_SECONDS, wait_until

from load_warehouse.session import Session, connection_arguments
from ticklake.errors import ConfigurationError
from ticklake.kafka import topic_id
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, StoreSettings
from ticklake_local.jars import JarsError, ensure_jars
from ticklake_local.java import find_java
from ticklake_local.processes import free_port
from ticklake_local.warehouse import local_settings

PROGRAM = Path(sys.executable).with_name("local-server")
KEYS = {"TICKLAKE_STORE_ACCESS_KEY": "a-key", "TICKLAKE_STORE_SECRET_KEY": "a-secret"}


@pytest.fixture(scope="module")
def jars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as in the image."""
    try:
        folders = ensure_jars(find_java(), Path.home() / ".cache" / "ticklake" / "jars")
    except JarsError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("jars")
    for name in ("kafka", "s3proxy"):
        (folder / name).symlink_to(folders[name])
    return folder


def environment(folder: Path, jars: Path | None, port: int) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TICKLAKE_")}
    return (
        own
        | KEYS
        | {
            "TICKLAKE_PART_DATA": str(folder),
            "TICKLAKE_PART_JARS": str(jars or folder),
            "TICKLAKE_PART_PORT": str(port),
            "TICKLAKE_PART_HOST": "127.0.0.1",
        }
    )


def ask(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *words], env=env, capture_output=True, text=True, timeout=300, check=False)


@contextmanager
def running(part: str, env: dict[str, str]) -> Iterator[None]:
    """The part, ready; stopped by SIGTERM to that one process, which must suffice."""

    def ready() -> bool:
        code = ask(part, "--ready", env=env).returncode
        assert code in (0, 1)
        return code == 0

    assert not ready()
    process = subprocess.Popen([PROGRAM, part], env=env)
    try:
        wait_until(ready, alive=lambda: process.poll() is None, pause=0.5)
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDS_SECONDS) in (0, 143, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


def other_address() -> str | None:
    """An address of this machine besides the loopback's, by which a pod's neighbours would come."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        return str(probe.getsockname()[0])


def test_kafka_and_store_from_outside(jars: Path, tmp_path: Path) -> None:
    host = other_address() or "127.0.0.1"
    kafka, store = free_port(), free_port()
    kafka_env = environment(tmp_path, jars, kafka) | {"TICKLAKE_PART_HOST": host}
    settings = KafkaSettings(bootstrap_servers=f"{host}:{kafka}")
    lake = StoreSettings(
        endpoint=f"http://{host}:{store}", access_key=SecretStr("a-key"), secret_key=SecretStr("a-secret")
    )
    with running("kafka", kafka_env), running("store", environment(tmp_path, jars, store)):
        client = (
            os.environ
            | KEYS
            | {
                "TICKLAKE_KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
                "TICKLAKE_STORE_ENDPOINT": f"http://{host}:{store}",
            }
        )
        for _ in range(2):  # the second finds everything there
            for part in ("kafka", "store"):
                done = ask(part, "--prepare", env=client)
                assert (done.returncode, done.stderr) == (0, "")
        first = topic_id(settings, "stock_market_batch")
        ObjectStore(lake).put("a/b", b"kept")
    with running("kafka", kafka_env), running("store", environment(tmp_path, jars, store)):
        assert topic_id(settings, "stock_market_batch") == first
        assert ObjectStore(lake).get("a/b") == b"kept"


def test_warehouse(tmp_path: Path) -> None:
    port = free_port()
    env = environment(tmp_path, None, port) | {"TICKLAKE_WAREHOUSE_PASSWORD": "a-password"}
    settings = local_settings(port).model_copy(update={"password": SecretStr("a-password")})
    arguments = connection_arguments(settings, "test") | {"validate_default_parameters": False}
    arguments |= {"database": "TICKLAKE", "schema": "MARKET"}
    for expected in (1, 2):
        with (
            running("warehouse", env),
            snowflake.connector.connect(**arguments) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("CREATE TABLE IF NOT EXISTS KEPT (N INT)")
            cursor.execute("INSERT INTO KEPT VALUES (1)")
            assert cursor.execute("SELECT COUNT(*) FROM KEPT").fetchall() == [(expected,)]


@pytest.mark.parametrize("password", ["another", "A-PASSWORD", ""])
def test_the_warehouse_rejects_another_password(tmp_path: Path, password: str) -> None:
    port = free_port()
    env = environment(tmp_path, None, port) | {"TICKLAKE_WAREHOUSE_PASSWORD": "a-password"}
    settings = local_settings(port).model_copy(update={"password": SecretStr(password or " ")})
    with running("warehouse", env):
        with pytest.raises(ConfigurationError) as rejected, Session(settings, "test"):
            pass
        assert "check TICKLAKE_WAREHOUSE_USER and TICKLAKE_WAREHOUSE_PASSWORD" in str(rejected.value)
        unsigned = httpx.post(f"http://127.0.0.1:{port}/queries/v1/query-request", json={"sqlText": "SELECT 1"})
        assert unsigned.status_code == 401
        empty = httpx.post(f"http://127.0.0.1:{port}/session/v1/login-request", json={})
        assert (empty.status_code, empty.json()["success"]) == (200, False)


def test_wrong_settings_are_named(jars: Path, tmp_path: Path) -> None:
    env = environment(tmp_path, jars, 9000)
    del env["TICKLAKE_STORE_SECRET_KEY"]
    done = ask("store", env=env)
    assert done.returncode == 2
    assert done.stderr == (
        "local-server store: set TICKLAKE_STORE_ACCESS_KEY and TICKLAKE_STORE_SECRET_KEY: the store's one key pair\n"
    )
    done = ask("warehouse", env=env)
    assert done.returncode == 2
    assert "set TICKLAKE_WAREHOUSE_PASSWORD" in done.stderr
    assert ask("kafka", env=env | {"TICKLAKE_PART_PORT": "0"}).returncode == 2
    assert ask("kafka", "--prepare", "--ready", env=env).returncode == 2
    assert ask("warehouse", "--prepare", env=env).returncode == 2
