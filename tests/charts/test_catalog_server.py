"""The script that starts the catalog's server, run on a real PostgreSQL, and PyIceberg as its users."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from chart_objects import Manifest, find
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType
from sqlalchemy.exc import ProgrammingError
from waiting import ENDS_SECONDS, wait_until

from ticklake_local.airflow_parts import postgres_programs
from ticklake_local.postgres import as_another_user
from ticklake_local.processes import free_port

PASSWORDS = {"owner": "owner's 1", "writer": "writer-1", "reader": "reader-1"}
USERS = {"owner": "postgres", "writer": "ticklake-writer", "reader": "ticklake-reader"}
SCHEMA = Schema(NestedField(1, "symbol", StringType()), NestedField(2, "volume", LongType()))
LOOPBACK = "127.0.0.1"


class Server:
    """The pod's container as a process: its script, its probe and its variables, in a folder of its own."""

    def __init__(self, objects: list[Manifest], folder: Path) -> None:
        pod = find(objects, "StatefulSet", "ticklake-catalog")["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        self._probe: list[str] = container["readinessProbe"]["exec"]["command"]
        self._folder, self.port = folder, free_port()
        self._prefix = as_another_user() if os.geteuid() == 0 else []
        self._child: subprocess.Popen[bytes] | None = None
        for name, text in find(objects, "ConfigMap", "ticklake-catalog")["data"].items():
            (folder / name).write_text(text)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    @property
    def data(self) -> Path:
        return self._folder / "catalog"

    def start(self, passwords: dict[str, str]) -> None:
        environment = {
            "PATH": f"{postgres_programs()}{os.pathsep}{os.environ['PATH']}",
            "PGPORT": str(self.port),
            "PGDATA": str(self.data),
            "PGHOST": str(self._folder),
        } | {f"{role.upper()}_PASSWORD": password for role, password in passwords.items()}
        command = [*self._prefix, "/bin/sh", self._folder / "start.sh", "-c", f"listen_addresses={LOOPBACK}"]
        with (self._folder / "log").open("ab") as log:
            child = self._child = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        wait_until(
            lambda: not subprocess.run(self._probe, env=environment, check=False).returncode,
            lambda: self.log,
            alive=lambda: child.poll() is None,
            pause=0.2,
        )

    def end(self, by: signal.Signals = signal.SIGINT) -> None:
        """As the kubelet stops it: the image's stop signal is SIGINT."""
        if self._child and self._child.poll() is None:
            self._child.send_signal(by)
            self._child.wait(ENDS_SECONDS)

    def variables(self) -> set[str]:
        """Names of the variables that the server runs with."""
        assert self._child
        text = Path(f"/proc/{self._child.pid}/environ").read_text()
        return {line.partition("=")[0] for line in text.split("\0") if line}

    def run(self, role: str, statement: str, *, password: str | None = None, database: str = "catalog") -> Any:
        session = psycopg2.connect(
            host=LOOPBACK, port=self.port, user=USERS[role], dbname=database, password=password or PASSWORDS[role]
        )
        try:
            with session, session.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else None
        finally:
            session.close()

    def iceberg(self, role: str, password: str | None = None) -> SqlCatalog:
        """PyIceberg's catalog; a reader must not try to make the tables that it lacks."""
        uri = f"postgresql+psycopg2://{USERS[role]}:{password or PASSWORDS[role]}@{LOOPBACK}:{self.port}/catalog"
        create = str(role == "writer").lower()
        return SqlCatalog("ticklake", uri=uri, warehouse=f"file://{self._folder}/tables", init_catalog_tables=create)


@pytest.fixture
def server(rendered: Callable[[str], list[Manifest]]) -> Iterator[Server]:
    # A short path, as a socket's must be.
    folder = Path(tempfile.mkdtemp(prefix="catalog-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    found = Server(rendered("default"), folder)
    try:
        yield found
    finally:
        found.end()
        shutil.rmtree(folder)


def test_the_writer_makes_tables_and_the_reader_finds_them(server: Server) -> None:
    server.start(PASSWORDS)
    writer = server.iceberg("writer")
    writer.create_namespace("market")
    writer.create_table("market.bars", SCHEMA)
    reader = server.iceberg("reader")
    assert reader.list_tables("market") == [("market", "bars")]
    assert reader.load_table("market.bars").schema() == SCHEMA
    for attempt in (
        lambda: reader.create_namespace("other"),
        lambda: reader.create_table("market.other", SCHEMA),
        lambda: reader.rename_table("market.bars", "market.other"),
        lambda: reader.drop_table("market.bars"),
    ):
        with pytest.raises(ProgrammingError, match="permission denied"):
            attempt()
    # What it creates later, such as another engine's tables, can be read too.
    server.run("writer", "CREATE TABLE later (n int)")
    assert server.run("reader", "SELECT * FROM later") == []


def test_users_may_do_nothing_else(server: Server) -> None:
    server.start(PASSWORDS)
    server.run("writer", "CREATE TABLE there (n int)")
    for role, statement in (
        ("reader", "CREATE TABLE x (n int)"),
        ("reader", "CREATE TEMP TABLE x (n int)"),
        ("reader", "CREATE SCHEMA x"),
        ("reader", "INSERT INTO there VALUES (1)"),
        ("reader", "DROP TABLE there"),
        ("reader", "TRUNCATE there"),
        ("writer", "CREATE ROLE x"),
        ("writer", "CREATE SCHEMA x"),
        ("writer", "SELECT * FROM pg_authid"),
        ("writer", "SET ROLE postgres"),
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            server.run(role, statement)
    for role, word, database in (
        ("reader", PASSWORDS["writer"], "catalog"),
        ("writer", PASSWORDS["writer"], "postgres"),
        ("owner", PASSWORDS["owner"], "postgres"),
    ):
        with pytest.raises(psycopg2.OperationalError, match=r"password authentication failed|no pg_hba\.conf entry"):
            server.run(role, "SELECT 1", password=word, database=database)
    assert server.run("owner", "SELECT rolname FROM pg_roles WHERE rolsuper OR rolcreatedb") == [("postgres",)]
    kept = server.run("owner", "SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL")
    assert len(kept) == 3
    assert all(word.startswith("SCRAM-SHA-256$") for (word,) in kept)


def test_a_new_start_lays_down_new_passwords_and_keeps_the_tables(server: Server) -> None:
    server.start(PASSWORDS)
    server.iceberg("writer").create_namespace("market")
    server.end()
    new = {role: f"{role}-2" for role in PASSWORDS}
    server.start(new)
    for role in PASSWORDS:
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            server.run(role, "SELECT 1")
        assert server.run(role, "SELECT 1", password=new[role]) == [(1,)]
    assert server.iceberg("reader", "reader-2").list_namespaces() == [("market",)]
    server.iceberg("writer", "writer-2").create_namespace("market_test")


def test_the_server_does_not_run_with_the_passwords(server: Server) -> None:
    server.start(PASSWORDS)
    assert {"PGDATA"} <= server.variables()
    assert not [name for name in server.variables() if "PASSWORD" in name]
    assert not [word for word in PASSWORDS.values() if word in server.log]


def test_a_server_that_was_killed_comes_back(server: Server) -> None:
    server.start(PASSWORDS)
    server.iceberg("writer").create_namespace("market")
    server.end(signal.SIGKILL)
    server.data.chmod(0o770)  # as a volume's new group leaves it
    server.start(PASSWORDS)
    assert server.iceberg("reader").list_namespaces() == [("market",)]


def test_half_a_database_is_made_anew(server: Server) -> None:
    half = server.data.with_name("catalog.new")
    half.mkdir()
    (half / "PG_VERSION").write_text("16\n")
    if os.geteuid() == 0:
        shutil.chown(half, "nobody")
        shutil.chown(half / "PG_VERSION", "nobody")
    server.start(PASSWORDS)
    assert server.run("reader", "SELECT 1") == [(1,)]
    assert not half.exists()


def test_a_missing_password_is_no_start(server: Server) -> None:
    with pytest.raises(AssertionError, match="syntax error"):
        server.start({role: word for role, word in PASSWORDS.items() if role != "reader"})
