"""Airflow's PostgreSQL server, run for real and asked with the driver that Airflow uses."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from waiting import ENDS_SECONDS, wait_until

from ticklake_local.airflow_parts import postgres_programs
from ticklake_local.postgres import DATABASE, ROLE, Postgres
from ticklake_local.processes import PartError, free_port, port_in_use

PASSWORD = "a-password"
WRITERS, WRITES = 8, 40


def build(folder: Path) -> Postgres:
    return Postgres(postgres_programs(), folder / "database", folder / "logs", free_port(), PASSWORD)


def connect(server: Postgres, password: str = PASSWORD) -> Any:
    return psycopg2.connect(host="127.0.0.1", port=server.port, user=ROLE, dbname=DATABASE, password=password)


def run(server: Postgres, statement: str) -> list[tuple[Any, ...]]:
    with connect(server) as session, session.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Postgres]:
    server = build(tmp_path)
    server.start()
    server.wait_ready()
    yield server
    server.stop()


def processes_of(folder: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(each.info["cmdline"] or [])]


def test_processes_write_at_the_same_time(server: Postgres) -> None:
    run(server, "create table counted (writer int, number int)")

    def write(writer: int) -> None:
        # As Airflow does: a savepoint in which first is read and then written.
        with connect(server) as session, session.cursor() as cursor:
            for number in range(WRITES):
                cursor.execute("savepoint here")
                cursor.execute("select count(*) from counted where writer = %s", (writer,))
                assert cursor.fetchone() == (number,)
                cursor.execute("insert into counted values (%s, %s)", (writer, number))
                cursor.execute("release here")
                session.commit()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    assert run(server, "select count(*), count(distinct writer) from counted") == [(WRITERS * WRITES, WRITERS)]


def test_what_is_committed_outlives_a_stop_with_clients_and_a_kill(tmp_path: Path) -> None:
    for round_ in range(3):
        server = build(tmp_path)
        server.start()
        server.wait_ready()
        try:
            run(server, "create table if not exists kept (round int)")
            run(server, f"insert into kept values ({round_})")
            assert run(server, "select count(*) from kept") == [(round_ + 1,)]
            open_client = connect(server)  # that a stop does not wait for
            if round_ == 0:
                assert server.child is not None
                # What serves the client outlives the server, and lets nobody start beside it.
                left = psutil.Process(server.child.pid).children(recursive=True)[-1]
                left.suspend()
                os.killpg(server.child.pid, signal.SIGKILL)
                threading.Timer(2, left.resume).start()
            started = time.monotonic()
        finally:
            server.stop()
        assert time.monotonic() - started < 8
        assert not port_in_use(server.port)
        open_client.close()


def test_nobody_comes_in_without_the_password(server: Postgres, tmp_path: Path) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        connect(server, "another")
    assert (tmp_path / "database").stat().st_mode & 0o077 == 0
    assert not list(tmp_path.glob("*.password"))
    listening = {each.laddr.ip for each in psutil.net_connections("inet") if each.laddr.port == server.port}
    assert listening == {"127.0.0.1"}


def test_an_initialisation_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    draft = tmp_path / "database.new"
    draft.mkdir()
    (draft / "PG_VERSION").write_text("16\n")
    (tmp_path / "database.password").write_text("old")
    server = build(tmp_path)
    server.start()
    try:
        server.wait_ready()
        assert run(server, "select 1") == [(1,)]
    finally:
        server.stop()


def test_a_database_that_cannot_be_made_is_reported_with_its_reason(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "initdb").write_text("#!/bin/sh\necho 'initdb: error: no space left'\nexit 1\n")
    (programs / "initdb").chmod(0o755)
    server = Postgres(programs, tmp_path / "database", tmp_path / "logs", free_port(), PASSWORD)
    with pytest.raises(PartError, match=r"no space left.*postgres\.log"):
        server.start()
    assert not (tmp_path / "database").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is another user for its own safety")
def test_root_is_not_the_servers_user(server: Postgres) -> None:
    assert server.child is not None
    assert psutil.Process(server.child.pid).uids().real != 0


def test_it_ends_with_a_runner_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from ticklake_local.airflow_parts import postgres_programs\n"
        "from ticklake_local.postgres import Postgres; folder = Path(sys.argv[1])\n"
        "server = Postgres(postgres_programs(), folder / 'database', folder, int(sys.argv[2]), 'x')\n"
        "server.start(); server.wait_ready(); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path, str(free_port())], stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "ready\n"
        assert processes_of(tmp_path / "database")
        runner.kill()
    wait_until(lambda: not processes_of(tmp_path / "database"), seconds=ENDS_SECONDS)
