"""A load that is killed, and loads that meet: whatever happens, the next load leaves the table as one load would."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from waiting import SECONDS, wait_until

from load_warehouse import daily_load, merge
from load_warehouse.settings import LoadSettings
from load_warehouse.stage import load_run
from ticklake import lineage
from ticklake.batch_stage import Run
from ticklake.errors import StageError
from ticklake.lineage import StageRecord

RUN = Run("run-1", date(2024, 6, 28))
LATER = datetime(2024, 6, 28, 22, tzinfo=UTC)
Sql = Callable[[str], list[tuple[Any, ...]]]
Load = Callable[..., StageRecord]
TABLE = "SELECT * FROM {}.MARKET_TEST.DAILY_ANALYTICS ORDER BY SYMBOL, SESSION_DATE"

# The program as it is, except that one function says that it was reached and then never goes on.
PAUSED = """
import sys, time
from pathlib import Path
import {module} as module
def pause(*_, **__):
    Path(sys.argv.pop()).touch()
    time.sleep(600)
module.{function} = pause
from load_warehouse.main import main
main(["--date", "2024-06-28", "--run-id", "run-1"])
"""
BEFORE_COPY = {"module": "load_warehouse.staging", "function": "Staging.copy"}
BEFORE_MERGE = {"module": "load_warehouse.merge", "function": "mirror"}
WITHIN = {"module": "load_warehouse.merge", "function": "append"}
AFTER_MERGE = {"module": "load_warehouse.daily_load", "function": "_read_back"}
AFTER_COMMIT = {"module": "load_warehouse.stage", "function": "_notes"}


def kill_at(place: dict[str, str], environment: dict[str, str], tmp_path: Path) -> None:
    """Start load-warehouse, wait until it reaches `place`, end it by SIGKILL."""
    reached = tmp_path / f"reached-{place['function']}"
    command = [sys.executable, "-c", PAUSED.format(**place), str(reached)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        wait_until(reached.exists, alive=lambda: process.poll() is None)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def staging_tables(sql: Sql) -> list[str]:
    found = sql("SELECT TABLE_NAME FROM {}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'MARKET_TEST'")
    return [name for (name,) in found if name.startswith("LOAD_DAILY")]


COUNTS = "SELECT COUNT(*) FROM {}.MARKET_TEST.DAILY_ANALYTICS UNION ALL SELECT COUNT(*) FROM {}.MARKET_TEST.DAILY_BARS"


@pytest.mark.parametrize(
    ("place", "visible"),
    [(BEFORE_COPY, 0), (BEFORE_MERGE, 0), (WITHIN, 0), (AFTER_COMMIT, 10)],
    ids=lambda p: p["function"] if isinstance(p, dict) else str(p),
)
def test_killed_before_within_or_after_the_transaction(
    place: dict[str, str],
    visible: int,
    history: Any,
    load: Load,
    sql: Sql,
    stage_env: Callable[..., dict[str, str]],
    tmp_path: Path,
) -> None:
    history.run()
    kill_at(place, stage_env(), tmp_path)
    assert sql(COUNTS) == [(visible,), (visible,)]
    assert bool(staging_tables(sql)) is not bool(visible)
    record = load()
    processed = lineage.read(history.store, "run-1", "daily-analytics")
    assert (record.rows_out, record.symbols["AAPL"].checksum) == (10, processed.symbols["AAPL"].checksum)
    rows = sql(TABLE)
    assert [row[:2] for row in rows] == [(s, date(2024, 6, n)) for s in ("AAPL", "MSFT") for n in range(24, 29)]
    assert sql(COUNTS) == [(10,), (10,)]
    assert staging_tables(sql) == []


def test_killed_when_rows_were_replaced(
    history: Any, load: Load, sql: Sql, stage_env: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    history.run()
    load()
    before = closes_of(history)
    # The same run once more, with another answer.
    history.run(lift={(symbol, n): 1.0 for symbol in ("AAPL", "MSFT") for n in range(5)}, fetched_at=LATER)
    kill_at(AFTER_MERGE, stage_env(), tmp_path)

    def closes() -> list[float]:
        query = "SELECT CLOSE FROM {}.MARKET_TEST.DAILY_ANALYTICS ORDER BY SYMBOL, SESSION_DATE"
        return [close for (close,) in sql(query)]

    assert closes() == before
    assert sql(COUNTS) == [(10,), (10,)]
    # The dead session's transaction holds the rows until the server ends it, which the load waits for.
    record = load()
    assert closes() == closes_of(history) != before
    assert record.rows_out == 10
    assert sql(COUNTS) == [(10,), (20,)]
    assert staging_tables(sql) == []


def closes_of(history: Any) -> list[float]:
    return [row["close"] for of in sorted(history.computed) for row in history.computed[of]]


def test_a_second_load_of_the_run_replaces_the_first(
    history: Any, load: Load, settings: LoadSettings, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.run()
    reached, go_on = threading.Event(), threading.Event()
    statement = merge.mirror

    def wait_once(*places: Any) -> str:
        if not reached.is_set():
            reached.set()
            assert go_on.wait(SECONDS)
        return statement(*places)

    monkeypatch.setattr(daily_load.merge, "mirror", wait_once)
    errors: list[str] = []

    def first() -> None:
        try:
            load_run(settings, RUN)
        except StageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    assert reached.wait(SECONDS)
    load()
    go_on.set()
    thread.join(SECONDS)
    assert errors == ["another load of run run-1 began after this one and replaces it"]
    assert sql(COUNTS) == [(10,), (10,)]
    assert sql("SELECT COUNT(*), COUNT(DISTINCT LOAD_ID) FROM {}.MARKET_TEST.LOAD_AUDIT") == [(3, 1)]


def test_loads_of_two_runs_at_once(history: Any, load: Load, settings: LoadSettings, sql: Sql) -> None:
    history.run("a", symbols=("AAPL",))
    history.run("b", symbols=("MSFT",))
    load("a")  # the tables are there
    sql("DELETE FROM {}.MARKET_TEST.DAILY_ANALYTICS")
    outcomes: dict[str, str] = {}

    def run(run_id: str) -> None:
        try:
            load_run(settings, Run(run_id, RUN.batch_date))
            outcomes[run_id] = "loaded"
        except StageError as error:
            outcomes[run_id] = str(error)

    threads = [threading.Thread(target=run, args=(run_id,)) for run_id in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert outcomes == {"a": "loaded", "b": "loaded"}
    for table in ("DAILY_ANALYTICS", "DAILY_BARS"):
        assert sql(f"SELECT SYMBOL, COUNT(*) FROM {{}}.MARKET_TEST.{table} GROUP BY 1 ORDER BY 1") == [
            ("AAPL", 5),
            ("MSFT", 5),
        ]
