"""A broker and a store whose keys a test may change, and the services that sign in to them."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from keyed_stores import ADMINISTRATOR, KeyedStore, MinioUser
from keyed_stores import settings as store_of
from pydantic import SecretStr
from running_service import RunningService, running
from secured_servers import SecuredBroker

from provision_store.retries import until_done
from ticklake.kafka import ensure_topics
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, LiveSettings, StoreSettings
from ticklake.topics import batch_topics, live_topics
from ticklake_local import platform
from ticklake_local.processes import free_port

Environment = Callable[..., dict[str, str]]
Start = Callable[..., AbstractContextManager[RunningService]]


@pytest.fixture(scope="module")
def secured(
    local_tools: platform.Tools, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredBroker]:
    """A broker of its own users, without topics."""
    folder = tmp_path_factory.mktemp("kafka")
    broker = SecuredBroker(
        local_tools.java, local_tools.jars["kafka"], folder / "data", folder, free_port(), certificate=certificate
    )
    broker.start()
    try:
        broker.wait_ready()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def user(secured: SecuredBroker) -> KafkaSettings:
    """A user of this test's own who may do everything, with the password `first`."""
    name = f"user-{uuid.uuid4().hex[:8]}"
    secured.add_user(name, "first")
    return KafkaSettings(
        bootstrap_servers=f"127.0.0.1:{secured.secured_port}",
        security_protocol="SASL_PLAINTEXT",
        username=name,
        password=SecretStr("first"),
    )


@pytest.fixture
def flow(secured: SecuredBroker) -> LiveSettings:
    """A live flow of this test's own on that broker, its topics created."""
    settings = LiveSettings(namespace=f"test-{uuid.uuid4().hex[:8]}")
    ensure_topics(
        KafkaSettings(bootstrap_servers=secured.bootstrap_servers), [*batch_topics(), *live_topics(settings.names)]
    )
    return settings


@pytest.fixture
def keyed_store(local_tools: platform.Tools, tmp_path: Path) -> Iterator[KeyedStore]:
    """A store with the bucket and the secret key `first-key`."""
    found = KeyedStore(local_tools, tmp_path)
    try:
        ObjectStore(found.start("first-key")).create_bucket()
        yield found
    finally:
        found.stop()


@pytest.fixture
def minio_user(
    minio_server: Callable[[Path, dict[str, str]], AbstractContextManager[str]], tmp_path: Path
) -> Iterator[MinioUser]:
    """A user of a MinIO server that has the bucket."""
    with minio_server(tmp_path, ADMINISTRATOR) as endpoint:
        lake = ObjectStore(store_of(endpoint, *ADMINISTRATOR.values()))
        until_done("store", lake.create_bucket, 60, threading.Event())
        yield MinioUser(endpoint)


@pytest.fixture
def start(programs: Path, tmp_path: Path, stage_env: Environment) -> Start:
    """Starts a service by its name with these settings; keywords are further variables without TICKLAKE_."""
    count = iter(range(1000))

    def service(
        name: str, store: StoreSettings | None = None, kafka: KafkaSettings | None = None, **more: str
    ) -> AbstractContextManager[RunningService]:
        variables = {
            "DASHBOARD_PORT": "0",
            "ARCHIVE_ROLL_SECONDS": "0.5",
            "BATCH_REFRESH_SECONDS": "0.5",
            "STREAM_SOURCE": "simulated",
            "STREAM_START_FROM_LAKE": "false",
        }
        if store is not None:
            variables |= {"STORE_ENDPOINT": str(store.endpoint), "STORE_BUCKET": store.bucket} | {
                f"STORE_{name.upper()}": _text(getattr(store, name)) for name in ("access_key", "secret_key")
            }
        if kafka is not None:
            variables |= {
                "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "KAFKA_SECURITY_PROTOCOL": kafka.security_protocol,
                "KAFKA_USERNAME": str(kafka.username),
                "KAFKA_PASSWORD": _text(kafka.password),
            }
        environment = stage_env(**{f"TICKLAKE_{name}": value for name, value in (variables | more).items()})
        return running(programs / name, environment, tmp_path / f"{name}-{next(count)}.log")

    return service


def _text(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
