"""`ticklake bars` as a user calls it on a data folder, with nothing running."""

import csv
import io
import os
import pty
import subprocess
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ticklake.catalog import LakeTables
from ticklake.tables import CORPORATE_ACTIONS, DAILY_BARS, FACT_TABLES, arrow_schema
from ticklake_local.data_folder import DataFolder
from ticklake_local.environment import cache_folder
from ticklake_local.platform import Tools, with_store

CLOSES = {date(2024, 3, 1): 100.0, date(2024, 3, 4): 25.5}
SPLIT = date(2024, 3, 4)


def known_at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(local_tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that knows two sessions, each since its evening, and since the second one a split 4:1 between them."""
    path = tmp_path_factory.mktemp("bars") / "data"
    stamp = {"symbol": "S", "currency": "USD", "source": "simulated", "batch_id": "b", "batch_date": SPLIT}
    bars = [
        {
            "session_date": day,
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": 1000,
            "known_at": known_at(day),
            "row_hash": "x",
            "change": "first",
            **stamp,
        }
        for day, close in CLOSES.items()
    ]
    # Another symbol has the first session from one source and the second from another, which is taken second.
    bars += [bar | {"symbol": "T", "source": source} for bar, source in zip(bars, ("replay", "simulated"), strict=True)]
    split = {"ex_date": SPLIT, "kind": "split", "value": 4.0, "known_at": known_at(SPLIT), "withdrawn": False, **stamp}
    with with_store(DataFolder.at(path), cache_folder(), print) as here:
        tables = LakeTables(here.catalog, here.store)
        for table in FACT_TABLES:
            tables.ensure("market_test", table)
        for table, rows in ((DAILY_BARS, bars), (CORPORATE_ACTIONS, [split])):
            arrow = pa.Table.from_pylist(rows, arrow_schema(table.columns))
            tables.append("market_test", table, "run", lambda _, arrow=arrow: arrow)
    return path


def bars(programs: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    done = subprocess.run(
        [programs / "ticklake", "bars", "--data", folder, *arguments],
        capture_output=True,
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


def closes(done: "subprocess.CompletedProcess[bytes]") -> dict[str, float]:
    assert (done.returncode, done.stderr) == (0, b"")
    return {row["session_date"]: float(row["close"]) for row in csv.DictReader(io.StringIO(done.stdout.decode()))}


def test_now_and_before_the_split_was_known(programs: Path, folder: Path) -> None:
    assert closes(bars(programs, folder, "S", "--csv")) == {"2024-03-01": 25.0, "2024-03-04": 25.5}
    assert closes(bars(programs, folder, "s", "--csv", "--as-of", "2024-03-01")) == {"2024-03-01": 100.0}
    assert closes(bars(programs, folder, "S", "--csv", "--as-of", "2024-03-04T22:00:00+00:00"))["2024-03-01"] == 25.0
    assert closes(bars(programs, folder, "S", "--csv", "--adjust", "none"))["2024-03-01"] == 100.0
    assert closes(bars(programs, folder, "S", "--csv", "--until", "2024-03-01")) == {"2024-03-01": 100.0}


def test_the_preferred_source_that_has_rows_in_the_span(programs: Path, folder: Path) -> None:
    assert closes(bars(programs, folder, "T", "--csv")) == {"2024-03-01": 100.0}
    assert closes(bars(programs, folder, "T", "--csv", "--from", "2024-03-02")) == {"2024-03-04": 25.5}
    assert closes(bars(programs, folder, "T", "--csv", "--from", "2024-03-05")) == {}
    assert closes(bars(programs, folder, "T", "--csv", "--source", "simulated")) == {"2024-03-04": 25.5}


def test_parquet_to_a_pipe_but_not_to_a_terminal(programs: Path, folder: Path) -> None:
    done = bars(programs, folder, "S", "--format", "parquet")
    assert pq.read_table(io.BytesIO(done.stdout))["close"].to_pylist() == [25.0, 25.5]
    ours, theirs = pty.openpty()
    with closing(os.fdopen(ours)), closing(os.fdopen(theirs)):
        shown = subprocess.run(
            [programs / "ticklake", "bars", "--data", folder, "S", "--format", "parquet"],
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=300,
            check=False,
        )
    assert shown.returncode == 2
    assert shown.stderr.decode().startswith("ticklake: Parquet is no text")


def test_what_is_not_there(programs: Path, folder: Path, tmp_path: Path) -> None:
    for where, symbol, more, says in (
        (folder, "NEVER", (), "no daily history of NEVER"),
        (folder, "S", ("--source", "yahoo"), "no daily history of S from yahoo"),
        (tmp_path / "new", "S", (), "no daily history in "),
        (folder, "S,T", (), "more than one ticker"),
        (folder, "no one", (), "no comma-separated list of tickers"),
    ):
        done = bars(programs, where, symbol, *more)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1), symbol
        assert says in done.stderr.decode()


def test_a_damaged_catalog_is_one_line_and_exit_code_1(programs: Path, folder: Path) -> None:
    catalog = DataFolder(folder).catalog_file
    kept = catalog.rename(catalog.with_suffix(".kept"))
    catalog.write_bytes(b"no database" * 100)
    try:
        done = bars(programs, folder, "S")
    finally:
        kept.replace(catalog)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert "file is not a database" in done.stderr.decode()
