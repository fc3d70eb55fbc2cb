"""Windows and bars of the live flow: only what changed is brought, and what was brought is as in the lake."""

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from waiting import wait_until

from load_warehouse import live_load as live_load
from load_warehouse.audit import LoadResult
from load_warehouse.live_load import load_live
from load_warehouse.session import Session
from load_warehouse.settings import LiveLoadSettings, LoadSettings
from load_warehouse.staging import Staging
from ticklake.catalog import LakeTables, between, matching
from ticklake.errors import IntegrityError
from ticklake.settings import LiveSettings
from ticklake.tables import TICK_BARS, WINDOWS, IcebergTable, arrow_schema

Sql = Callable[[str], list[tuple[Any, ...]]]
Row = dict[str, Any]
START = datetime(2024, 6, 28, 14, 30, tzinfo=UTC)
TEST, REAL = "market_test", "market"


def _of_ticks(start: datetime, close: float, source: str) -> Row:
    return {
        "open": 1.0,
        "high": 3.0,
        "low": 0.1,
        "close": close,
        "vwap": 1 / 3,
        "volume": 7,
        "tick_count": 2,
        "first_event_time": start + timedelta(microseconds=123456),
        "last_event_time": start,
        "source": source,
    }


def window(minute: int, close: float = 0.1 + 0.2, source: str = "simulated", flow: str = "demo") -> Row:
    start = START + timedelta(minutes=minute)
    return _of_ticks(start, close, source) | {
        "flow": flow,
        "symbol": "AAPL",
        "window_length": "15m",
        "window_start": start,
        "window_end": start + timedelta(minutes=15),
        "moving_average": 1.1,
        "volatility": None,
    }


def bar(minute: int, close: float = 0.1 + 0.2, source: str = "simulated", flow: str = "demo") -> Row:
    start = START + timedelta(minutes=minute)
    return _of_ticks(start, close, source) | {
        "flow": flow,
        "symbol": "AAPL",
        "bar_length": "1m",
        "bar_start": start,
        "bar_date": start.date(),
    }


def table_of(table: IcebergTable, rows: tuple[Row, ...]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), arrow_schema(table.columns))


class Lake:
    """Writes to the tables as their programs do."""

    def __init__(self, settings: LoadSettings) -> None:
        self.tables = LakeTables(settings.catalog, settings.store)

    def append(self, table: IcebergTable, *rows: Row, namespace: str = TEST) -> None:
        self.tables.ensure(namespace, table)
        self.tables.append(namespace, table, "r", lambda _: table_of(table, rows))

    def replace(self, table: IcebergTable, first: int, end: int, *rows: Row, namespace: str = TEST) -> None:
        """`rows` in the place of those of the flow `demo` whose minute is from `first` to before `end`."""
        name = "window_start" if table is WINDOWS else "bar_start"
        span = between(name, START + timedelta(minutes=first), START + timedelta(minutes=end))
        self.tables.replace(namespace, table, "r", table_of(table, rows), matching(span, flow=["demo"]))


@pytest.fixture
def live_settings(settings: LoadSettings) -> LiveLoadSettings:
    return LiveLoadSettings(**dict(settings), live=LiveSettings(namespace="demo"))


@pytest.fixture
def lake(settings: LoadSettings) -> Lake:
    return Lake(settings)


@pytest.fixture
def load(live_settings: LiveLoadSettings) -> Callable[..., dict[str, tuple[int, int, int, int]]]:
    """Loads, and gives for each table what became of its rows."""

    def loaded(flow: str = "demo") -> dict[str, tuple[int, int, int, int]]:
        done = load_live(live_settings.model_copy(update={"live": LiveSettings(namespace=flow)}), "r")
        return {result.kind: fates(result) for result in done}

    return loaded


def fates(result: LoadResult) -> tuple[int, int, int, int]:
    return result.new, result.unchanged, result.revised, result.withdrawn


Load = Callable[..., dict[str, tuple[int, int, int, int]]]
TABLES = {WINDOWS.name: ("WINDOW_ANALYTICS", "WINDOW_START"), TICK_BARS.name: ("BARS", "BAR_START")}


def held(sql: Sql, table: IcebergTable = WINDOWS, schema: str = "MARKET_TEST", flow: str = "demo") -> dict[int, float]:
    """Close by minute."""
    name, start = TABLES[table.name]
    found = sql(f"SELECT {start}, CLOSE FROM {{}}.{schema}.{name} WHERE FLOW = '{flow}' ORDER BY 1")
    return {int((at.replace(tzinfo=UTC) - START) / timedelta(minutes=1)): close for at, close in found}


def test_nothing_to_load_needs_no_warehouse(live_settings: LiveLoadSettings) -> None:
    nowhere = live_settings.warehouse.model_copy(update={"port": 1})
    assert load_live(live_settings.model_copy(update={"warehouse": nowhere}), "r") == []


@pytest.mark.parametrize(("table", "make"), [(WINDOWS, window), (TICK_BARS, bar)], ids=lambda x: getattr(x, "name", ""))
def test_every_column_arrives(table: IcebergTable, make: Callable[..., Row], lake: Lake, load: Load, sql: Sql) -> None:
    lake.append(table, make(0))
    assert load() == {table.name: (1, 0, 0, 0)}
    columns = [column.name for column in table.columns]
    expected = [v.replace(tzinfo=None) if isinstance(v, datetime) else v for v in map(make(0).get, columns)]
    assert sql(f"SELECT {', '.join(columns)} FROM {{}}.MARKET_TEST.{TABLES[table.name][0]}") == [tuple(expected)]


def test_only_what_changed_is_brought(lake: Lake, load: Load, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.append(WINDOWS, *(window(n) for n in range(3)))
    lake.append(TICK_BARS, bar(0), bar(1))
    assert load() == {"windows": (3, 0, 0, 0), "bars": (2, 0, 0, 0)}
    assert load() == {}
    lake.append(WINDOWS, window(3))
    sent: list[int] = []
    put = Staging.put
    monkeypatch.setattr(Staging, "put", lambda self, rows: (sent.append(rows.num_rows), put(self, rows))[1])
    assert load() == {"windows": (1, 0, 0, 0)}
    assert sent == [1]
    assert held(sql) == dict.fromkeys(range(4), 0.30000000000000004)
    audit = sql(
        "SELECT KIND, ROWS_STAGED, ROWS_NEW, FLOW, LAKE_SNAPSHOT FROM {}.MARKET_TEST.LOAD_AUDIT ORDER BY FINISHED_AT"
    )
    assert [row[:4] for row in audit] == [("windows", 3, 3, "demo"), ("bars", 2, 2, "demo"), ("windows", 1, 1, "demo")]
    assert audit[2][4] == lake.tables.version(TEST, WINDOWS)


def test_what_was_computed_anew_is_revised(lake: Lake, load: Load, sql: Sql) -> None:
    lake.append(TICK_BARS, *(bar(n) for n in range(6)))
    load()
    # Minutes 2 to 4: one as it was, one other, one that is no more; and one that was not there.
    lake.replace(TICK_BARS, 2, 5, bar(2), bar(3, close=2.5))
    lake.append(TICK_BARS, bar(9))
    found = load()["bars"]
    assert (found[0], found[2], found[3]) == (1, 1, 1)
    assert held(sql, TICK_BARS) == {0: 0.1 + 0.2, 1: 0.1 + 0.2, 2: 0.1 + 0.2, 3: 2.5, 5: 0.1 + 0.2, 9: 0.1 + 0.2}
    lake.replace(TICK_BARS, 0, 6)
    assert load() == {"bars": (0, 0, 0, 5)}
    assert held(sql, TICK_BARS) == {9: 0.1 + 0.2}


def test_files_written_anew_bring_nothing(lake: Lake, load: Load, sql: Sql) -> None:
    for number in range(3):
        lake.append(WINDOWS, window(number))
    load()
    lake.replace(WINDOWS, 0, 3, *(window(n) for n in range(3)))  # as compaction does
    assert load() == {"windows": (0, 3, 0, 0)}
    assert load() == {}


def test_a_snapshot_that_has_expired(lake: Lake, load: Load, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.append(WINDOWS, window(0), window(1), window(2))
    load()
    lake.replace(WINDOWS, 1, 3, window(1, close=2.0))
    lake.append(WINDOWS, window(0, flow="other"))
    load("other")
    monkeypatch.setattr(LakeTables, "keeps", lambda *_: False)
    assert load() == {"windows": (0, 1, 1, 1)}
    assert (held(sql), held(sql, flow="other")) == ({0: 0.1 + 0.2, 1: 2.0}, {0: 0.1 + 0.2})
    lake.replace(WINDOWS, 0, 3)
    assert load() == {"windows": (0, 0, 0, 2)}
    assert (held(sql), held(sql, flow="other")) == ({}, {0: 0.1 + 0.2})


def test_a_table_that_someone_dropped(lake: Lake, load: Load, sql: Sql) -> None:
    lake.append(WINDOWS, window(0), window(1))
    load()
    sql("DROP TABLE {}.MARKET_TEST.WINDOW_ANALYTICS")
    assert load() == {"windows": (2, 0, 0, 0)}


def test_namespaces_and_flows_do_not_meet(lake: Lake, load: Load, sql: Sql) -> None:
    lake.append(WINDOWS, window(0, close=1.0), window(0, close=2.0, flow="other"))
    lake.append(WINDOWS, window(0, close=3.0, source="alpha_vantage"), namespace=REAL)
    lake.append(TICK_BARS, bar(5, source="alpha_vantage"), namespace=REAL)
    load()
    load("other")
    assert (held(sql), held(sql, flow="other")) == ({0: 1.0}, {0: 2.0})
    assert (held(sql, schema="MARKET"), held(sql, TICK_BARS, "MARKET")) == ({0: 3.0}, {5: 0.1 + 0.2})
    assert sql("SELECT COUNT(*) FROM {}.MARKET.WINDOW_ANALYTICS WHERE SOURCE <> 'alpha_vantage'") == [(0,)]
    # Another flow's rows do not make this one's table change.
    lake.append(WINDOWS, window(1, flow="other"))
    assert load() == {"windows": (0, 0, 0, 0)}


def test_another_flows_rows_make_no_schema(lake: Lake, load: Load, sql: Sql) -> None:
    lake.append(WINDOWS, window(0, flow="other"))
    assert load() == {}
    assert sql("SELECT COUNT(*) FROM {}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'MARKET_TEST'") == [(0,)]


def test_a_row_that_did_not_arrive_is_rolled_back(
    lake: Lake, load: Load, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.append(WINDOWS, window(0))
    load()
    lake.append(WINDOWS, window(1), window(2))
    mirror = live_load.merge.mirror
    with monkeypatch.context() as patch:
        patch.setattr(live_load.merge, "mirror", lambda *place: mirror(*place).replace("S.CLOSE", "S.OPEN"))
        with pytest.raises(IntegrityError, match="2024-06-28 14:31:00 is not there as the lake has it"):
            load()
    assert held(sql) == {0: 0.1 + 0.2}
    assert load() == {"windows": (2, 0, 0, 0)}


# The program as it is, except that one function says that it was reached and then never goes on.
PAUSED = """
import sys, time
from pathlib import Path
import {module} as module
def pause(*_, **__):
    Path(sys.argv.pop()).touch()
    time.sleep(600)
module.{function} = pause
from load_warehouse.load_live_main import main
main(["--run-id", "r"])
"""


@pytest.mark.parametrize(
    "place",
    [
        ("load_warehouse.staging", "Staging.copy"),
        ("load_warehouse.merge", "mirror"),
        ("load_warehouse.merge", "remove"),
        ("load_warehouse.audit", "write"),
    ],
    ids=lambda place: place[1],
)
def test_killed_at_any_step_and_repeated(
    place: tuple[str, str], lake: Lake, load: Load, sql: Sql, stage_env: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    lake.append(TICK_BARS, *(bar(n) for n in range(4)))
    load()
    lake.replace(TICK_BARS, 1, 3, bar(1, close=2.0))
    lake.append(TICK_BARS, bar(7))
    reached = tmp_path / "reached"
    command = [sys.executable, "-c", PAUSED.format(module=place[0], function=place[1]), str(reached)]
    with subprocess.Popen(command, env=stage_env(TICKLAKE_LIVE_NAMESPACE="demo")) as process:
        wait_until(reached.exists, alive=lambda: process.poll() is None)
        process.send_signal(signal.SIGKILL)
    assert held(sql, TICK_BARS) == dict.fromkeys(range(4), 0.1 + 0.2)
    found = load()["bars"]
    assert (found[0], found[2], found[3]) == (1, 1, 1)
    assert held(sql, TICK_BARS) == {0: 0.1 + 0.2, 1: 2.0, 3: 0.1 + 0.2, 7: 0.1 + 0.2}
    tables = sql("SELECT TABLE_NAME FROM {}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'MARKET_TEST'")
    assert not [name for (name,) in tables if name.startswith("LOAD_BARS")]


def test_the_local_server_is_not_snowflake(live_settings: LiveLoadSettings) -> None:
    with Session(live_settings.warehouse, "test") as session:
        assert not session.is_snowflake


def test_the_program(
    lake: Lake, programs: Path, sql: Sql, stage_env: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    lake.append(WINDOWS, window(0, flow=""))
    xcom = tmp_path / "return.json"
    done = subprocess.run(
        [programs / "load-live", "--run-id", "an-hour"],
        env=stage_env(TICKLAKE_XCOM_FILE=str(xcom)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert xcom.read_text() == '{"run_id": "an-hour", "new": 1, "unchanged": 0, "revised": 0, "withdrawn": 0}'
    assert sql("SELECT RUN_ID, BATCH_ID FROM {}.MARKET_TEST.LOAD_AUDIT") == [("an-hour", None)]
