"""load-warehouse against the real store, catalog and warehouse server: what is in the tables afterwards."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from load_warehouse import daily_load
from load_warehouse.schema import DAILY
from load_warehouse.settings import LoadSettings
from load_warehouse.stage import load_run
from ticklake import lineage
from ticklake.batch_stage import Run
from ticklake.catalog import LakeTables
from ticklake.errors import ConfigurationError, IntegrityError, StageError
from ticklake.lineage import StageRecord
from ticklake.objects import ObjectStore
from ticklake.records import Source
from ticklake.tables import CORPORATE_ACTIONS, DAILY_ANALYTICS, DAILY_BARS, IcebergTable

DAY = date(2024, 6, 28)
Sql = Callable[[str], list[tuple[Any, ...]]]
Load = Callable[..., StageRecord]
KEYS = {
    DAILY_BARS: "SYMBOL, SOURCE, SESSION_DATE, KNOWN_AT, BATCH_ID",
    CORPORATE_ACTIONS: "SYMBOL, SOURCE, EX_DATE, KIND, KNOWN_AT, BATCH_ID",
    DAILY_ANALYTICS: "SYMBOL, SOURCE, SESSION_DATE",
}


def compared(table: IcebergTable) -> list[str]:
    """The columns in which the warehouse must be as the lake."""
    remembered = DAILY.remembered if table is DAILY_ANALYTICS else ()
    return [column.name for column in table.columns if column.name.upper() not in remembered]


def held(sql: Sql, table: IcebergTable, schema: str = "MARKET_TEST") -> list[tuple[Any, ...]]:
    columns = ", ".join(compared(table)).upper()
    return sql(f"SELECT {columns} FROM {{}}.{schema}.{table.name} ORDER BY {KEYS[table]}")


def everything(sql: Sql) -> list[list[tuple[Any, ...]]]:
    return [held(sql, table) for table in KEYS]


def expected(rows: dict[tuple[str, str], list[dict[str, Any]]], table: IcebergTable) -> list[tuple[Any, ...]]:
    """What the history says, as the connector gives it: times in UTC without a zone."""
    key = [name.strip().lower() for name in KEYS[table].split(",")]
    every = sorted((row for part in rows.values() for row in part), key=lambda row: [row[name] for name in key])
    return [
        tuple(v.replace(tzinfo=None) if isinstance(v := row[name], datetime) else v for name in compared(table))
        for row in every
    ]


def audits(sql: Sql, kind: str) -> list[tuple[Any, ...]]:
    """Staged, new, unchanged, revised and withdrawn rows of each load, in order."""
    return sql(
        "SELECT ROWS_STAGED, ROWS_NEW, ROWS_UNCHANGED, ROWS_REVISED, ROWS_WITHDRAWN "
        f"FROM {{}}.MARKET_TEST.LOAD_AUDIT WHERE KIND = '{kind}' ORDER BY STARTED_AT"
    )


def test_every_value_arrives_bit_by_bit(history: Any, load: Load, sql: Sql) -> None:
    run = history.run(sessions=40, split=("MSFT", 3, 3.0))
    record = load()
    for table, rows in zip(KEYS, (history.bars, history.actions, history.computed), strict=True):
        found = held(sql, table)
        assert found == expected(rows, table)
        # == takes 0.0 for -0.0; repr does not.
        assert list(map(repr, found)) == list(map(repr, expected(rows, table)))
        assert found
    (basis,) = sql("SELECT DISTINCT KNOWN_AT, BATCH_ID, BATCH_DATE FROM {}.MARKET_TEST.DAILY_ANALYTICS")
    assert basis == (run.raw["AAPL"][0]["known_at"].replace(tzinfo=None), run.run_id, run.batch_date)
    assert (record.rows_in, record.rows_out, record.quarantined) == (80, 80, 0)
    assert {symbol: part.rows for symbol, part in record.symbols.items()} == {"AAPL": 40, "MSFT": 40}
    processed = lineage.read(history.store, run.run_id, "daily-analytics")
    assert record.symbols["MSFT"].checksum == processed.symbols["MSFT"].checksum
    assert record.snapshots == processed.snapshots
    assert len(record.snapshots) == 3


def test_many_rows_go_in_several_files(history: Any, load: Load, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daily_load, "_ROWS_PER_FILE", 6)
    history.run(symbols=("AAPL", "KO", "MSFT"))
    load()
    assert held(sql, DAILY_ANALYTICS) == expected(history.computed, DAILY_ANALYTICS)
    files = "SELECT KIND, FILES, ROWS_STAGED FROM {}.MARKET_TEST.LOAD_AUDIT ORDER BY 1"
    assert sql(files) == [("corporate_actions", 0, 0), ("daily_analytics", 2, 15), ("daily_bars", 2, 15)]


def test_ten_loads_leave_the_same_tables_as_one(history: Any, load: Load, sql: Sql) -> None:
    history.run()
    first = load()
    (note,) = first.notes
    assert note.startswith("daily_analytics: 10 new; daily_bars: 10 new; corporate_actions: no rows; load ")
    before = everything(sql)
    for _ in range(9):
        record = load()
    assert everything(sql) == before
    assert (record.rows_out, record.symbols) == (10, first.symbols)
    assert record.notes[0].startswith("daily_analytics: 10 unchanged; daily_bars: 10 unchanged; ")
    assert audits(sql, "daily_analytics") == [(10, 10, 0, 0, 0)] + 9 * [(0, 0, 10, 0, 0)]
    assert audits(sql, "daily_bars") == [(10, 10, 0, 0, 0)] + 9 * [(0, 0, 10, 0, 0)]
    assert audits(sql, "corporate_actions") == 10 * [(0, 0, 0, 0, 0)]
    of_loads = "SELECT COUNT(DISTINCT LOAD_ID), COUNT(DISTINCT CHECKSUM), COUNT(DISTINCT LAKE_SNAPSHOT)"
    assert sql(f"{of_loads} FROM {{}}.MARKET_TEST.LOAD_AUDIT") == [(10, 1, 2)]
    tables = sql("SELECT TABLE_NAME FROM {}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'MARKET_TEST'")
    assert {name for (name,) in tables} == {"DAILY_BARS", "CORPORATE_ACTIONS", "DAILY_ANALYTICS", "LOAD_AUDIT"}


def test_a_later_batch_adds_and_revises(history: Any, load: Load, sql: Sql) -> None:
    first = history.run()
    load()
    later = first.batch_date + timedelta(days=3)
    fetched_at = datetime.fromisoformat("2024-07-01T21:00:00.250Z")
    history.run("run-2", first=1, lift={("MSFT", 3): 1.0}, batch_date=later, fetched_at=fetched_at)
    record = load("run-2", later)
    assert [held(sql, table) for table in (DAILY_BARS, DAILY_ANALYTICS)] == [
        expected(history.bars, DAILY_BARS),
        expected(history.computed, DAILY_ANALYTICS),
    ]
    assert audits(sql, "daily_bars")[1] == (13, 2, 10, 1, 0)
    # Both symbols were recomputed; of the rows that were there one has other values.
    assert audits(sql, "daily_analytics")[1] == (12, 2, 9, 1, 0)
    assert (record.rows_in, record.rows_out) == (12, 12)


def test_a_revised_bar_leaves_other_symbols_alone(history: Any, load: Load, sql: Sql) -> None:
    first = history.run()
    load()
    history.run("run-2", lift={("MSFT", 3): 1.0}, fetched_at=first.raw["AAPL"][0]["known_at"] + timedelta(hours=1))
    untouched = "SELECT * FROM {}.MARKET_TEST.DAILY_ANALYTICS WHERE SYMBOL = 'AAPL' ORDER BY SESSION_DATE"
    before = sql(untouched)
    load("run-2")
    assert sql(untouched) == before
    assert audits(sql, "daily_bars")[1] == (6, 0, 10, 1, 0)
    assert audits(sql, "daily_analytics")[1] == (5, 0, 9, 1, 0)
    assert held(sql, DAILY_ANALYTICS) == expected(history.computed, DAILY_ANALYTICS)
    closes = dict(
        sql(
            "SELECT BATCH_ID, CLOSE FROM {}.MARKET_TEST.DAILY_BARS WHERE SYMBOL = 'MSFT' "
            "AND SESSION_DATE = '2024-06-27'"
        )
    )
    assert closes["run-2"] - closes["run-1"] == pytest.approx(1.02)


def test_a_split_restates_its_symbol_only(history: Any, load: Load, sql: Sql) -> None:
    first = history.run()
    load()
    history.run("run-2", split=("AAPL", 3, 4.0), fetched_at=first.raw["AAPL"][0]["known_at"] + timedelta(hours=1))
    msft = "SELECT * FROM {}.MARKET_TEST.DAILY_ANALYTICS WHERE SYMBOL = 'MSFT' ORDER BY SESSION_DATE"
    before, bars = sql(msft), held(sql, DAILY_BARS)
    load("run-2")
    assert (sql(msft), held(sql, DAILY_BARS)) == (before, bars)
    assert audits(sql, "corporate_actions")[1] == (1, 1, 0, 0, 0)
    assert audits(sql, "daily_bars")[1] == (0, 0, 10, 0, 0)
    assert audits(sql, "daily_analytics")[1] == (5, 0, 7, 3, 0)
    prices = sql(
        "SELECT A.CLOSE, B.CLOSE FROM {}.MARKET_TEST.ADJUSTED_PRICES AS A JOIN {}.MARKET_TEST.DAILY_BARS AS B "
        "ON A.SYMBOL = B.SYMBOL AND A.SESSION_DATE = B.SESSION_DATE WHERE A.SYMBOL = 'AAPL' ORDER BY A.SESSION_DATE"
    )
    assert [traded / adjusted for adjusted, traded in prices] == [4, 4, 4, 1, 1]


def test_versions_of_an_action(history: Any, load: Load, sql: Sql) -> None:
    run = history.run(split=("AAPL", 3, 4.0))
    load()
    (action,) = history.actions["replay", "AAPL"]
    for hour, values in enumerate(({"value": 5.0}, {"value": 5.0, "withdrawn": True}), start=1):
        history.add_action(
            ("replay", "AAPL"),
            action | values | {"known_at": action["known_at"] + timedelta(hours=hour), "batch_id": f"later-{hour}"},
        )
    load()
    assert audits(sql, "corporate_actions") == [(1, 1, 0, 0, 0), (3, 0, 1, 1, 1)]
    assert held(sql, CORPORATE_ACTIONS) == expected(history.actions, CORPORATE_ACTIONS)
    assert run.batch_date == DAY


def test_analytics_that_were_lost_and_computed_again_change_nothing(history: Any, load: Load, sql: Sql) -> None:
    history.run()
    load()
    before = everything(sql)
    history.lose(DAILY_ANALYTICS)
    with pytest.raises(IntegrityError, match="AAPL: its record says 5 rows, the table daily_analytics has 0"):
        load()
    assert everything(sql) == before
    history.analyse("run-1", Source.REPLAY, ["AAPL", "MSFT"])
    load()
    assert everything(sql) == before
    assert audits(sql, "daily_analytics")[1] == (0, 0, 10, 0, 0)
    history.analyse("run-9", Source.REPLAY, ["AAPL"])
    load()
    assert held(sql, DAILY_ANALYTICS) == expected(history.computed, DAILY_ANALYTICS)
    assert audits(sql, "daily_analytics")[2] == (0, 0, 10, 0, 0)


@pytest.mark.parametrize("table", [*KEYS, None], ids=lambda table: table.name if table else "all")
def test_what_the_warehouse_lost_comes_back(history: Any, load: Load, sql: Sql, table: IcebergTable | None) -> None:
    history.run(split=("AAPL", 3, 4.0))
    load()
    before = everything(sql)
    for lost in [table] if table else KEYS:
        sql(f"DELETE FROM {{}}.MARKET_TEST.{lost.name} WHERE SYMBOL = 'AAPL'")
    assert everything(sql) != before
    load()
    assert everything(sql) == before
    sql("DROP SCHEMA {}.MARKET_TEST CASCADE")
    load()
    assert everything(sql) == before


def test_rows_that_the_lake_no_longer_has_go_and_facts_stay(history: Any, load: Load, sql: Sql) -> None:
    history.run(sessions=6)
    history.run("short", symbols=("AAPL",), fetched_at=datetime.fromisoformat("2024-06-29T00:00:00Z"))
    load()
    facts = held(sql, DAILY_BARS)
    history.lose(DAILY_BARS)
    history.bars.clear()
    record = history.run("run-2", sessions=4)
    load("run-2")
    assert audits(sql, "daily_analytics")[1] == (8, 0, 8, 0, 4)
    assert held(sql, DAILY_ANALYTICS) == expected(history.computed, DAILY_ANALYTICS)
    found = held(sql, DAILY_BARS)
    assert set(facts) < set(found)
    assert len(found) == len(facts) + 8
    assert {symbol: len(rows) for symbol, rows in record.analytics.items()} == {"AAPL": 4, "MSFT": 4}


def test_a_lake_filled_again_from_later_batches_keeps_what_the_warehouse_remembers(
    history: Any, load: Load, sql: Sql
) -> None:
    first = history.run()
    later = first.raw["AAPL"][0]["known_at"] + timedelta(hours=1)
    history.run("run-2", lift={("MSFT", 3): 1.0}, fetched_at=later)
    load("run-2")
    before = held(sql, DAILY_BARS)
    history.lose(DAILY_BARS)
    history.bars.clear()
    history.run("run-2", lift={("MSFT", 3): 1.0}, fetched_at=later)
    load("run-2")
    assert set(before) <= set(held(sql, DAILY_BARS))
    change = "SELECT CHANGE FROM {}.MARKET_TEST.DAILY_BARS WHERE SYMBOL = 'MSFT' AND SESSION_DATE = '2024-06-27'"
    assert sorted(sql(change)) == [("first",), ("revision",)]


@pytest.mark.parametrize("order", [("early", "late"), ("late", "early"), ("late", "early", "late", "early")])
def test_the_order_of_loading_does_not_matter(history: Any, load: Load, sql: Sql, order: tuple[str, ...]) -> None:
    early = history.run("early", batch_date=DAY - timedelta(days=1), sessions=4)
    known_at = early.raw["AAPL"][0]["known_at"]
    history.run("late", lift={("MSFT", 2): 1.0}, split=("AAPL", 3, 2.0), fetched_at=known_at + timedelta(days=1))
    for run_id in order:
        load(run_id, DAY - timedelta(days=run_id == "early"))
    for table, rows in zip(KEYS, (history.bars, history.actions, history.computed), strict=True):
        assert list(map(repr, held(sql, table))) == list(map(repr, expected(rows, table)))


def test_replayed_and_simulated_rows_are_stored_side_by_side(history: Any, load: Load, sql: Sql) -> None:
    history.run("r")
    history.run("s", source=Source.SIMULATED, sessions=3, lift={("AAPL", 0): 1.0})
    load("r")
    record = load("s")
    assert {symbol: part.rows for symbol, part in record.symbols.items()} == {"AAPL": 3, "MSFT": 3}
    for table, rows in ((DAILY_BARS, history.bars), (DAILY_ANALYTICS, history.computed)):
        assert held(sql, table) == expected(rows, table)
    assert len(held(sql, DAILY_BARS)) == 16
    load("r")
    assert held(sql, DAILY_ANALYTICS) == expected(history.computed, DAILY_ANALYTICS)


def test_real_and_other_rows_never_share_a_schema(history: Any, load: Load, sql: Sql) -> None:
    history.run("y", source=Source.YAHOO)
    history.run("s", source=Source.SIMULATED, sessions=3)
    load("y")
    load("s")
    for table in ("DAILY_BARS", "DAILY_ANALYTICS"):
        assert sql(f"SELECT SOURCE, COUNT(*) FROM {{}}.MARKET.{table} GROUP BY 1") == [("yahoo", 10)]
        assert sql(f"SELECT SOURCE, COUNT(*) FROM {{}}.MARKET_TEST.{table} GROUP BY 1") == [("simulated", 6)]


def test_a_held_symbol_is_not_loaded(history: Any, load: Load, sql: Sql) -> None:
    history.run(held=("MSFT",))
    record = load()
    assert (record.rows_in, record.rows_out, record.held_symbols()) == (5, 5, {"MSFT": ("odd",)})
    assert sql("SELECT DISTINCT SYMBOL FROM {}.MARKET_TEST.DAILY_ANALYTICS") == [("AAPL",)]


def test_a_fact_with_another_value_is_rejected_and_nothing_becomes_visible(history: Any, load: Load, sql: Sql) -> None:
    history.run()
    load()
    sql("UPDATE {}.MARKET_TEST.DAILY_BARS SET CLOSE = CLOSE + 1 WHERE SYMBOL = 'AAPL' AND SESSION_DATE = '2024-06-26'")
    history.run("run-2", symbols=("AAPL",), sessions=6, fetched_at=datetime.fromisoformat("2024-06-29T00:00:00Z"))
    before = everything(sql)
    with pytest.raises(IntegrityError, match=r"DAILY_BARS: the row AAPL replay 2024-06-26 .* is not there as the lake"):
        load("run-2")
    assert everything(sql) == before
    assert len(audits(sql, "daily_analytics")) == 1


def test_a_merge_that_loses_rows_is_rolled_back(
    history: Any, load: Load, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.run()
    load()
    before = everything(sql)
    history.run("run-2", lift={("MSFT", 3): 1.0}, fetched_at=datetime.fromisoformat("2024-06-29T00:00:00Z"))
    mirror = daily_load.merge.mirror
    monkeypatch.setattr(
        daily_load.merge, "mirror", lambda *a: mirror(*a).replace("T.CLOSE = S.CLOSE", "T.CLOSE = T.CLOSE")
    )
    with pytest.raises(IntegrityError, match="MSFT replay 2024-06-27 is not there as the lake has it"):
        load("run-2")
    assert everything(sql) == before
    monkeypatch.setattr(
        daily_load.merge,
        "mirror",
        lambda *a: mirror(*a).replace("WHEN NOT MATCHED", "WHEN NOT MATCHED AND S.SYMBOL = 'X'"),
    )
    sql("DELETE FROM {}.MARKET_TEST.DAILY_ANALYTICS WHERE SYMBOL = 'AAPL' AND SESSION_DATE = '2024-06-26'")
    with pytest.raises(IntegrityError, match="AAPL replay 2024-06-26 is not there"):
        load("run-2")
    monkeypatch.setattr(daily_load.merge, "mirror", mirror)
    monkeypatch.setattr(daily_load.merge, "withdraw", lambda target, *_: f"DELETE FROM {target} WHERE SYMBOL = 'X'")
    sql("CREATE TABLE {}.MARKET_TEST.COPIED AS SELECT * FROM {}.MARKET_TEST.DAILY_ANALYTICS WHERE SYMBOL = 'MSFT'")
    sql("UPDATE {}.MARKET_TEST.COPIED SET SESSION_DATE = '2023-01-01' WHERE SESSION_DATE = '2024-06-28'")
    sql(
        "INSERT INTO {}.MARKET_TEST.DAILY_ANALYTICS SELECT * FROM {}.MARKET_TEST.COPIED "
        "WHERE SESSION_DATE = '2023-01-01'"
    )
    with pytest.raises(IntegrityError, match="holds 11 rows of symbols that have 10 in the lake"):
        load("run-2")
    monkeypatch.undo()
    load("run-2")
    assert held(sql, DAILY_ANALYTICS) == expected(history.computed, DAILY_ANALYTICS)


def test_an_older_state_never_goes_over_a_newer(
    history: Any, load: Load, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.run()
    load()
    history.run("run-2", lift={("MSFT", 3): 1.0}, fetched_at=datetime.fromisoformat("2024-06-29T00:00:00Z"))
    before = everything(sql)
    version, calls = LakeTables.version, []

    def analysed_meanwhile(tables: LakeTables, namespace: str, table: IcebergTable) -> int | None:
        calls.append(table)
        if calls.count(DAILY_ANALYTICS) == 2:
            history.analyse("run-3", Source.REPLAY, ["AAPL"])
        return version(tables, namespace, table)

    monkeypatch.setattr(LakeTables, "version", analysed_meanwhile)
    with pytest.raises(StageError, match="another run changed the table daily_analytics during the load; try again"):
        load("run-2")
    assert everything(sql) == before
    load("run-2")
    assert held(sql, DAILY_ANALYTICS) == expected(history.computed, DAILY_ANALYTICS)


def test_a_run_without_rows_is_audited_and_changes_nothing(history: Any, load: Load, sql: Sql) -> None:
    history.run(sessions=0)
    record = load()
    assert (record.rows_in, record.rows_out, record.snapshots) == (0, 0, {})
    assert sql("SELECT KIND, ROWS_STAGED, LAKE_SNAPSHOT FROM {}.MARKET_TEST.LOAD_AUDIT ORDER BY 1") == [
        ("corporate_actions", 0, None),
        ("daily_analytics", 0, None),
        ("daily_bars", 0, None),
    ]


def test_wrong_date_or_run_is_a_configuration_error(history: Any, settings: LoadSettings) -> None:
    history.run()
    with pytest.raises(ConfigurationError, match="2024-06-28"):
        load_run(settings, Run("run-1", date(2024, 6, 27)))
    with pytest.raises(ConfigurationError, match="run that stage first"):
        load_run(settings, Run("run-2", DAY))


def test_a_file_of_the_lake_that_is_gone(history: Any, load: Load, store: ObjectStore, sql: Sql) -> None:
    history.run()
    for found in list(store.list_objects("processed/historical/")):
        store.delete(found.key)
    with pytest.raises(IntegrityError, match="a file is gone from the lake"):
        load()
    assert held(sql, DAILY_ANALYTICS) == []


def test_a_table_of_an_older_version_gets_the_new_column(history: Any, load: Load, sql: Sql) -> None:
    history.run()
    load()
    sql("ALTER TABLE {}.MARKET_TEST.DAILY_ANALYTICS DROP COLUMN ATR_14")
    history.run("run-2", sessions=6, fetched_at=datetime.fromisoformat("2024-06-29T00:00:00Z"))
    load("run-2")
    assert held(sql, DAILY_ANALYTICS) == expected(history.computed, DAILY_ANALYTICS)
    sql("ALTER TABLE {}.MARKET_TEST.LOAD_AUDIT DROP COLUMN STARTED_AT")
    with pytest.raises(ConfigurationError, match="LOAD_AUDIT lacks the column STARTED_AT"):
        load()
