"""`ticklake run` as a user calls it, on recorded real bars; the expected rows are counted in the recording itself."""

import csv
import gzip
import io
import json
import shutil
import subprocess
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest
from bokeh_sampledata import package_path

FIRST, LAST = date(2012, 3, 2), date(2013, 3, 1)
"""One year up to the recording's last session."""


def recording() -> list[dict[str, str]]:
    with gzip.open(package_path("stocks.csv.gz"), "rt") as file:
        return list(csv.DictReader(file))


def recorded_rows() -> dict[str, int]:
    return dict(Counter(row["Ticker"] for row in recording() if FIRST <= date.fromisoformat(row["Date"]) <= LAST))


class Box:
    """A data folder and what was run on it."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder

    def __call__(self, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.programs / "ticklake", *arguments], capture_output=True, text=True, timeout=timeout, check=False
        )

    def sql(self, statement: str) -> list[dict[str, str]]:
        done = self("sql", "--data", str(self.folder), "--csv", statement)
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))

    def left_behind(self) -> list[str]:
        return [
            " ".join(process.info["cmdline"])
            for process in psutil.process_iter(["cmdline"])
            if process.info["cmdline"] and any(str(self.folder) in word for word in process.info["cmdline"])
        ]


@pytest.fixture(scope="module")
def box(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Box:
    return Box(programs, tmp_path_factory.mktemp("box") / "data")


@pytest.fixture(scope="module")
def report(box: Box) -> dict[str, Any]:
    path = box.folder.parent / "report.json"
    done = box("run", "--source", "replay", "--data", str(box.folder), "--report", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert box.left_behind() == []
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_report_has_every_stage_and_the_recorded_rows(report: dict[str, Any]) -> None:
    total = sum(recorded_rows().values())
    rows = {row["stage"]: row for row in report["rows"]}
    assert list(rows) == [
        "fetch_historical_data",
        "consume_historical_data",
        "validate_raw_data",
        "process_data",
        "load_to_snowflake",
        "validate_loaded_data",
        "pipeline_success",
        "stream-ticks",
        "archive-ticks",
        "stream-analytics",
        "load-live",
    ]
    for stage in list(rows)[:7]:
        assert (rows[stage]["rows_in"], rows[stage]["rows_out"], rows[stage]["quarantined"]) == (total, total, 0), stage
    assert report["reconciled"] is True
    assert report["source"] == "replay"
    sent = rows["stream-ticks"]["rows_out"]
    assert sent > 0
    assert rows["archive-ticks"]["rows_out"] == sent
    closed = rows["stream-analytics"]["rows_out"]
    assert closed > 0
    assert rows["load-live"]["rows_out"] == closed


def test_the_lake_holds_every_row_under_the_names_of_old(box: Box, report: dict[str, Any]) -> None:
    lake = box.folder / "store" / "buckets" / "stock-market-data"
    counts = {}
    for path in (lake / "raw/historical/year=2013/month=03/day=01").glob("*.csv"):
        with path.open() as file:
            counts[path.name.split("_")[0]] = len(list(csv.DictReader(file)))
    assert counts == recorded_rows()
    parts = {path.name for path in (lake / "processed/historical/date=2013-03-01").iterdir() if path.is_dir()}
    assert parts >= {f"symbol={symbol}" for symbol in counts}


def test_the_warehouse_holds_every_row_in_the_schema_for_what_is_not_live(box: Box, report: dict[str, Any]) -> None:
    found = box.sql("select symbol, count(*) as n from MARKET_TEST.DAILY_ANALYTICS group by symbol")
    assert {row["SYMBOL"]: int(row["N"]) for row in found} == recorded_rows()


def test_known_prices_arrive(box: Box, report: dict[str, Any]) -> None:
    """The recording's last line of IBM, which had no split after 2000."""
    found = box.sql(
        "select open, high, low, close, volume from MARKET_TEST.DAILY_ANALYTICS "
        "where symbol = 'IBM' and session_date = '2013-03-01'"
    )
    expected = next(row for row in recording() if (row["Ticker"], row["Date"]) == ("IBM", "2013-03-01"))
    assert {name: float(value) for name, value in found[0].items()} == {
        name.upper(): float(expected[name]) for name in ("Open", "High", "Low", "Close", "Volume")
    }


def test_a_second_run_adds_nothing_and_loses_nothing(box: Box, report: dict[str, Any]) -> None:
    before = box.sql("select symbol, session_date, row_hash from MARKET_TEST.DAILY_ANALYTICS order by 1, 2")
    done = box("run", "--source", "replay", "--data", str(box.folder), "--no-live")
    assert done.returncode == 0, done.stdout + done.stderr
    assert box.sql("select symbol, session_date, row_hash from MARKET_TEST.DAILY_ANALYTICS order by 1, 2") == before
    assert box.left_behind() == []


def test_from_a_copy_of_lake_and_catalog_everything_is_there_again(
    box: Box, programs: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    """No topic, no warehouse, no checkpoint: as after a lost machine."""
    for part in ("store", "catalog"):
        shutil.copytree(box.folder / part, tmp_path / "data" / part)
    restored = Box(programs, tmp_path / "data")
    done = restored("run", "--source", "replay", "--data", str(restored.folder), "--no-live")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bars: 0 new, 1,196 unchanged, 0 revised" in done.stdout
    for table in ("DAILY_BARS", "CORPORATE_ACTIONS", "DAILY_ANALYTICS"):
        rows = f"select * from MARKET_TEST.{table} order by 1, 2, 3"
        assert restored.sql(rows) == box.sql(rows) != []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--colour", "red"], 2, "--colour"),
        (["run", "--date", "yesterday"], 2, "'yesterday' is not a date"),
        (["run", "--symbols", "no/pe"], 2, "no/pe"),
        (["fly"], 2, "fly"),
    ],
)
def test_a_wrong_call_is_one_clear_line(box: Box, arguments: list[str], code: int, message: str) -> None:
    done = box(*arguments)
    assert done.returncode == code
    assert message.lower() in done.stderr.lower()
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_symbols_that_do_not_exist_end_with_code_2_and_are_named(box: Box, report: dict[str, Any]) -> None:
    done = box("run", "--source", "replay", "--symbols", "NOPE", "--data", str(box.folder), "--no-live")
    assert done.returncode == 2
    assert "NOPE" in done.stderr
    assert "Traceback" not in done.stderr
    assert box.left_behind() == []


def test_a_data_folder_that_is_a_file_is_rejected(box: Box, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    done = box("run", "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "choose another --data" in done.stderr
