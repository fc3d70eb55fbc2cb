"""`ticklake doctor` on this machine, on data folders that are well and ones that are not."""

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ticklake import lineage, runs
from ticklake.catalog import LakeTables
from ticklake.lineage import StageFailure, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import FETCH, PROCESS
from ticklake.records import Source, SymbolStatus
from ticklake.tables import DAILY_BARS
from ticklake_local.data_folder import DataFolder
from ticklake_local.environment import cache_folder
from ticklake_local.machine_checks import OWN_VARIABLES
from ticklake_local.platform import Tools, with_store

NOW = datetime(2026, 8, 7, 22, tzinfo=UTC)
Doctor = Callable[[Path], tuple[int, list[str]]]


@pytest.fixture
def doctor(programs: Path, local_tools: Tools, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Exit code and lines of output; nothing may be written to stderr."""
    for name in [name for name in os.environ if name.startswith("TICKLAKE_") and name not in OWN_VARIABLES]:
        monkeypatch.delenv(name)  # what the tests themselves are run with, such as TICKLAKE_CRDS

    def run(folder: Path) -> tuple[int, list[str]]:
        done = subprocess.run(
            [programs / "ticklake", "doctor", "--data", folder],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    return run


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A data folder with one table, a run that failed, and a symbol that it held."""
    stamp = {"run_id": "night", "batch_date": date(2026, 8, 7), "code_version": "test"}
    with with_store(DataFolder.at(tmp_path / "data"), cache_folder(), print) as here:
        LakeTables(here.catalog, here.store).ensure("market_test", DAILY_BARS)
        store = ObjectStore(here.store)
        held = SymbolResult(rows=0, checksum="", status=SymbolStatus.HELD, reasons=("the answer is of MSFT",))
        lineage.write(
            store,
            StageRecord(
                stage=FETCH.program,
                batch_id="night",
                source=Source.SIMULATED,
                rows_in=0,
                rows_out=0,
                quarantined=0,
                symbols={"AAPL": held},
                started_at=NOW,
                finished_at=NOW,
                **stamp,
            ),
        )
        runs.write_failure(
            store,
            StageFailure(
                stage=PROCESS.program,
                kind="StageError",
                reason="the store does not answer",
                exit_code=1,
                started_at=NOW,
                failed_at=NOW,
                **stamp,
            ),
        )
    return tmp_path / "data"


def test_a_machine_that_can_run_it(doctor: Doctor, tmp_path: Path) -> None:
    code, lines = doctor(tmp_path / "data")
    assert (code, lines[-1]) == (0, "Nothing is wrong")
    assert any(line.startswith("✓ Java: ") for line in lines)
    assert any(line.startswith("✓ jars: all in ") for line in lines)
    assert not (tmp_path / "data").exists()


def test_settings_that_are_wrong_or_of_no_program(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKLAKE_QUALITY_MAX_DAILY_MOVES", "0.5")
    monkeypatch.setenv("TICKLAKE_STREAM_BROKERS", "")
    monkeypatch.setenv("TICKLAKE_CALENDAR", "XNYS")
    monkeypatch.setenv("TICKLAKE_KAFKA_TIMEOUT_SECONDS", "soon")
    code, lines = doctor(tmp_path / "data")
    assert (code, lines[-1]) == (1, "3 things are wrong")
    at = lines.index("✗ settings: no program has a setting TICKLAKE_QUALITY_MAX_DAILY_MOVES")
    assert lines[at + 1].strip() == "is TICKLAKE_QUALITY_MAX_DAILY_MOVE meant?"
    assert any(line.startswith("✗ settings: TICKLAKE_KAFKA_TIMEOUT_SECONDS: ") for line in lines)
    assert not any("TICKLAKE_CALENDAR" in line for line in lines)
    assert not any(line.startswith("✓ settings") for line in lines)


def test_the_last_run_and_what_is_held(doctor: Doctor, lake: Path) -> None:
    code, lines = doctor(lake)
    assert (code, lines[-1]) == (1, "1 thing is wrong")
    assert "✓ catalog: 1 table" in lines
    assert "✓ lake: its tables can be read" in lines
    began = "the last run, of 2026-08-07T22:00:00.000Z, failed in daily-analytics"
    assert f"✗ lake: {began}: the store does not answer" in lines
    assert "! lake: AAPL is held by run night: the answer is of MSFT" in lines
    assert any(line.startswith("✓ warehouse: ") for line in lines)


def test_a_damaged_catalog_and_credentials(doctor: Doctor, lake: Path) -> None:
    catalog = DataFolder(lake).catalog_file
    catalog.write_bytes(b"not a database" * 100)
    (lake / "credentials.json").write_text("{")
    code, lines = doctor(lake)
    assert code == 1
    assert any(line.startswith(f"✗ catalog: {catalog} is damaged: ") for line in lines)
    assert f"✗ data folder: {lake / 'credentials.json'} is damaged: delete it, and new keys are made" in lines


def test_a_folder_in_use(doctor: Doctor, tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path / "data")
    with folder.locked("run"):
        code, lines = doctor(folder.root)
    assert code == 0
    assert any("in use by another ticklake (process" in line for line in lines)
