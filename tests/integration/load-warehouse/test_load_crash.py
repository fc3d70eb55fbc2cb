"""A load that is killed, and loads that meet: whatever happens, the next load leaves the table as one load would."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from load_warehouse import daily, merge
from load_warehouse.run import load_run
from load_warehouse.settings import LoadSettings
from ticklake.errors import StageError
from ticklake.stage import Run
from ticklake.tables import DAILY_COLUMNS

RUN = Run("run-1", date(2024, 6, 28))
Sql = Callable[[str], list[tuple[Any, ...]]]
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
BEFORE_MERGE = {"module": "load_warehouse.merge", "function": "merge_daily"}
AFTER_MERGE = {"module": "load_warehouse.daily", "function": "_read_back"}
AFTER_COMMIT = {"module": "load_warehouse.windows", "function": "load"}


def kill_at(place: dict[str, str], environment: dict[str, str], tmp_path: Path) -> None:
    """Start load-warehouse, wait until it reaches `place`, end it by SIGKILL."""
    reached = tmp_path / f"reached-{place['function']}"
    command = [sys.executable, "-c", PAUSED.format(**place), str(reached)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not reached.exists():
            assert process.poll() is None, "the load ended before it reached the place"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def staging_tables(sql: Sql) -> list[str]:
    found = sql("SELECT TABLE_NAME FROM {}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'MARKET_TEST'")
    return [name for (name,) in found if name.startswith("LOAD_DAILY")]


@pytest.mark.parametrize(
    ("place", "visible"), [(BEFORE_COPY, 0), (BEFORE_MERGE, 0), (AFTER_COMMIT, 10)], ids=lambda p: str(p)
)
def test_killed_before_or_after_the_transaction(
    place: dict[str, str], visible: int, lake_run: Any, settings: LoadSettings, sql: Sql,
    stage_env: Callable[..., dict[str, str]], tmp_path: Path,
) -> None:  # fmt: skip
    run = lake_run()
    kill_at(place, stage_env(), tmp_path)
    assert sql("SELECT COUNT(*) FROM {}.MARKET_TEST.DAILY_ANALYTICS") == [(visible,)]
    assert len(staging_tables(sql)) == (0 if visible else 1)
    record, _ = load_run(settings, RUN)
    assert (record.rows_out, record.symbols["AAPL"].checksum) == (10, run.result("AAPL").checksum)
    rows = sql(TABLE)
    assert len(rows) == 10
    assert [row[:2] for row in rows] == [(s, date(2024, 1, n)) for s in ("AAPL", "MSFT") for n in range(1, 6)]
    assert staging_tables(sql) == []


def test_killed_within_the_transaction(
    lake_run: Any, settings: LoadSettings, sql: Sql, stage_env: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    run = lake_run()
    load_run(settings, RUN)
    newer = lake_run(lift=1.0)  # the same run, analysed again with other values
    kill_at(AFTER_MERGE, stage_env(), tmp_path)

    def closes() -> list[float]:
        query = "SELECT CLOSE FROM {}.MARKET_TEST.DAILY_ANALYTICS ORDER BY SYMBOL, SESSION_DATE"
        return [close for (close,) in sql(query)]

    def expected(of: Any) -> list[float]:
        return [row["close"] for symbol in sorted(of.rows) for row in of.rows[symbol]]

    assert closes() == expected(run)
    # The dead session's transaction holds the rows until the server ends it, which the load waits for.
    record, _ = load_run(settings, RUN)
    assert closes() == expected(newer)
    assert record.rows_out == 10
    assert staging_tables(sql) == []


def test_a_second_load_of_the_run_replaces_the_first(
    lake_run: Any, settings: LoadSettings, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lake_run()
    reached, go_on = threading.Event(), threading.Event()
    statement = merge.merge_daily

    def wait_once(target: str, staging: str) -> str:
        if not reached.is_set():
            reached.set()
            assert go_on.wait(60)
        return statement(target, staging)

    monkeypatch.setattr(daily.merge, "merge_daily", wait_once)
    said: list[str] = []

    def first() -> None:
        try:
            load_run(settings, RUN)
        except StageError as error:
            said.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    assert reached.wait(60)
    load_run(settings, RUN)
    go_on.set()
    thread.join(60)
    assert said == ["another load of run run-1 began after this one and replaces it"]
    columns = ", ".join(column.name for column in DAILY_COLUMNS)
    assert len(sql(TABLE.replace("*", columns))) == 10
    assert run.result("AAPL").rows == 5
    assert sql("SELECT COUNT(*) FROM {}.MARKET_TEST.LOAD_AUDIT") == [(1,)]


def test_loads_of_two_runs_at_once(lake_run: Any, settings: LoadSettings, sql: Sql) -> None:
    lake_run(run_id="a", symbols=("AAPL",))
    lake_run(run_id="b", symbols=("MSFT",))
    load_run(settings, Run("a", RUN.batch_date))  # the tables are there
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
        thread.join(60)
    assert outcomes == {"a": "loaded", "b": "loaded"}
    assert sql("SELECT SYMBOL, COUNT(*) FROM {}.MARKET_TEST.DAILY_ANALYTICS GROUP BY 1 ORDER BY 1") == [
        ("AAPL", 5), ("MSFT", 5)
    ]  # fmt: skip
