"""Real servers for the tests: one broker, store and warehouse per test process; names of its own for each test."""

import logging
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import hypothesis
import pytest
import xdist
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from waiting import ENDS_SECONDS
from xdist.scheduler import LoadScopeScheduling

from ticklake.kafka import ensure_topics
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, KafkaSettings, LiveSettings, StoreSettings, WarehouseSettings
from ticklake.topics import live_topics
from ticklake_local import platform
from ticklake_local.data_folder import DataFolder
from ticklake_local.environment import cache_folder
from ticklake_local.platform import Platform
from ticklake_local.processes import LOOPBACK, free_port

# Where a shell runs the tests in the background, SIGINT is ignored, and would be by every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples at every run, so that a red one is never luck; HYPOTHESIS_PROFILE=default looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


FOLDERS = ("e2e", "faults", "integration", "browser", "charts", "unit")
"""Of the tests, those first whose files take longest: at the end only short ones are left for processes to share."""
_ONE_PROCESS = ("integration/dashboard", "browser", "unit/airflow-dags", "unit/stream-analytics")
"""Folders whose files share what takes long: filling a lake, importing Airflow, starting Spark."""


class _Scheduling(LoadScopeScheduling):
    """Gives a test process a file at a time, or all of a folder whose files share something."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in _ONE_PROCESS if file.startswith(f"tests/{folder}/")), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: xdist.remote.Producer) -> _Scheduling:
    """Replace the scheduling that comes with xdist, which knows files but not folders, and takes the largest first."""
    config.option.loadscopereorder = False
    return _Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the items into the order of `FOLDERS`."""
    folders = Path(__file__).parent
    items.sort(key=lambda item: FOLDERS.index(item.path.relative_to(folders).parts[0]))


@pytest.fixture(autouse=True)
def logging_of_one_test() -> Iterator[None]:
    """Take away what a program's main function, called in a test, has logs go to: it is closed with that test."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def local_tools() -> platform.Tools:
    """Java and the jars, fetched where missing."""
    return platform.prepare_tools(cache_folder(), None, print)


@pytest.fixture(scope="session")
def local_platform(local_tools: platform.Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A broker, store and warehouse in a folder of their own, with all topics of the real flow."""
    folder = DataFolder.at(tmp_path_factory.mktemp("ticklake"))
    running = platform.prepare(folder, local_tools)
    with platform.started(running, print):
        yield running


@pytest.fixture
def kafka_settings(local_platform: Platform) -> KafkaSettings:
    """A real broker with the batch topics."""
    return local_platform.kafka


@pytest.fixture
def store_settings(local_platform: Platform) -> StoreSettings:
    """A real store with an empty bucket of this test's own."""
    settings = local_platform.store.model_copy(update={"bucket": f"test-{uuid.uuid4().hex[:12]}"})
    ObjectStore(settings).create_bucket()
    return settings


@pytest.fixture
def store(store_settings: StoreSettings) -> ObjectStore:
    """The test's bucket."""
    return ObjectStore(store_settings)


@pytest.fixture
def warehouse_settings(local_platform: Platform) -> WarehouseSettings:
    """A real warehouse server with a database name of this test's own."""
    return local_platform.warehouse.model_copy(update={"database": f"TEST_{uuid.uuid4().hex[:12].upper()}"})


@pytest.fixture
def catalog_settings(tmp_path_factory: pytest.TempPathFactory) -> CatalogSettings:
    """A catalog of this test's own: its tables lie in the test's bucket."""
    return CatalogSettings(uri=f"sqlite:///{tmp_path_factory.mktemp('catalog')}/catalog.db")


@pytest.fixture
def live(kafka_settings: KafkaSettings) -> LiveSettings:
    """A live flow of this test's own, its topics created."""
    settings = LiveSettings(namespace=f"test-{uuid.uuid4().hex[:8]}")
    ensure_topics(kafka_settings, live_topics(settings.names))
    return settings


@pytest.fixture
def stage_env(
    local_platform: Platform,
    store_settings: StoreSettings,
    warehouse_settings: WarehouseSettings,
    catalog_settings: CatalogSettings,
    request: pytest.FixtureRequest,
) -> Callable[..., dict[str, str]]:
    """A function that gives the whole environment for a stage program run as a process; keywords add variables."""

    def environment(**more: str) -> dict[str, str]:
        own = {
            "TICKLAKE_STORE_BUCKET": store_settings.bucket,
            "TICKLAKE_CATALOG_URI": catalog_settings.uri,
            "TICKLAKE_WAREHOUSE_DATABASE": warehouse_settings.database,
        }
        if "live" in request.fixturenames:
            own["TICKLAKE_LIVE_NAMESPACE"] = request.getfixturevalue("live").namespace
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TICKLAKE_")}
        return kept | local_platform.stage_env() | own | more

    return environment


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the console scripts."""
    return Path(__file__).parents[1] / ".venv" / "bin"


@pytest.fixture(scope="session")
def minio_server() -> Callable[[Path, dict[str, str]], AbstractContextManager[str]]:
    """Starts a MinIO server on a folder, with an environment, while a block runs; the block gets its address.

    No package brings the program: `go install github.com/minio/minio@latest`.
    """
    program = shutil.which("minio") or shutil.which("minio", path=Path.home() / "go" / "bin")
    if program is None:
        pytest.skip("there is no program minio on the PATH")

    @contextmanager
    def server(folder: Path, environment: dict[str, str]) -> Iterator[str]:
        address = f"{LOOPBACK}:{free_port()}"
        command = [program, "server", folder / "data", "--address", address, "--console-address", f"{LOOPBACK}:0"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, env={**environment, "HOME": str(folder)}, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(ENDS_SECONDS)

    return server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, LOOPBACK)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    file = tmp_path_factory.mktemp("tls") / "certificate"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file
