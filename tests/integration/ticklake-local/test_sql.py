"""`ticklake sql` as a user calls it, with nothing running."""

import csv
import io
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from load_warehouse.session import Session
from ticklake_local.platform import Platform


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sql") / "data"


def sql(programs: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [programs / "ticklake", "sql", "--data", folder, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    left = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or ())
    ]
    assert left == []
    return done


VALUES = "select * from (values (1, 'a,\"b', null), (2, 'é', '2024-01-01'::date)) as t(n, text, day) order by n"


def test_csv(programs: Path, folder: Path) -> None:
    done = sql(programs, folder, "--csv", VALUES)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(csv.reader(io.StringIO(done.stdout))) == [
        ["N", "TEXT", "DAY"],
        ["1", 'a,"b', ""],
        ["2", "é", "2024-01-01"],
    ]


def test_a_table_for_people(programs: Path, folder: Path) -> None:
    done = sql(programs, folder, *["select", "7", "as", "answer,", "'[red]text'", "as", "words"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "ANSWER" in done.stdout
    assert "7" in done.stdout
    assert "[red]text" in done.stdout
    assert "1 rows" in done.stdout


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("selec 1", "selec 1"),
        ("select * from MARKET_TEST.NOPE", "NOPE"),
        ("select cast('x' as int)", "'x'"),
        ("select nosuchfunction(1)", "nosuchfunction"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(programs: Path, folder: Path, statement: str, message: str) -> None:
    done = sql(programs, folder, statement)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("ticklake: the warehouse says: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_the_warehouse_that_another_command_runs_is_asked(programs: Path, local_platform: Platform) -> None:
    """As while `ticklake live` runs: the lock is held and nothing runs in the background."""
    root = local_platform.folder.root
    with Session(local_platform.warehouse, "test") as session:
        session.run("create database if not exists RUNNING")
        session.run("create schema if not exists RUNNING.MARKET")
        session.run("create or replace table RUNNING.MARKET.MINE as select 42 as answer")
    with local_platform.folder.locked("platform"):
        done = subprocess.run(
            [programs / "ticklake", "sql", "--data", root, "--csv", "select answer from RUNNING.MARKET.MINE"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        status = subprocess.run(
            [programs / "ticklake", "status", "--data", root], capture_output=True, text=True, timeout=300, check=False
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ANSWER\n42\n", "")
    assert f"Another command runs on {root} (process {os.getpid()})" in status.stdout
    assert f"127.0.0.1:{local_platform.ports.warehouse}" in status.stdout


def test_a_wrong_setting_is_named(programs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLAKE_WAREHOUSE_DATABASE", "no-name!")
    done = sql(programs, folder, "select 1")
    assert done.returncode == 2
    assert done.stderr.startswith("ticklake: TICKLAKE_WAREHOUSE_DATABASE: ")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_has_seen_enough_is_no_error(programs: Path, folder: Path) -> None:
    statement = "select repeat('x', 300000) as long"  # more than a pipe holds
    script = f'"{programs}/ticklake" sql --data "{folder}" --csv "{statement}" | head -n 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "LONG\n", "")


def test_an_account_of_ones_own_is_asked(
    programs: Path, folder: Path, local_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = local_platform.warehouse
    with Session(own, "test") as session:
        session.run("create database if not exists OWN_ACCOUNT")
        session.run("create schema if not exists OWN_ACCOUNT.MARKET")
        session.run("create or replace table OWN_ACCOUNT.MARKET.MINE as select 42 as answer")
    for name, value in {
        "ACCOUNT": "own",
        "HOST": str(own.host),
        "PORT": str(own.port),
        "PROTOCOL": "http",
        "USER": "any",
        "PASSWORD": "any",
        "DATABASE": "OWN_ACCOUNT",
    }.items():
        monkeypatch.setenv(f"TICKLAKE_WAREHOUSE_{name}", value)
    done = sql(programs, folder, "--csv", "select answer from MARKET.MINE")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ANSWER\n42\n", "")
    monkeypatch.delenv("TICKLAKE_WAREHOUSE_PASSWORD")
    done = sql(programs, folder, "select 1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "TICKLAKE_WAREHOUSE_PASSWORD" in done.stderr
