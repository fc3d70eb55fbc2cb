"""reconcile-run finds what one stage lost, added or changed, by reading what is stored."""

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from load_warehouse import comparison
from load_warehouse.reconcile_stage import reconcile_run
from load_warehouse.settings import LoadSettings
from ticklake import lineage
from ticklake.batch_checks import validation_record
from ticklake.batch_stage import Run, Stopwatch
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.lineage import StageRecord, SymbolChanges
from ticklake.objects import ObjectStore
from ticklake.pipeline import SUCCESS, VALIDATE_RAW
from ticklake.quarantine import put, quarantined
from ticklake.records import Source
from ticklake.tables import CORPORATE_ACTIONS, DAILY_ANALYTICS, DAILY_BARS

RUN = Run("run-1", date(2024, 6, 28))
LATER = datetime(2024, 6, 29, tzinfo=UTC)
AAPL, MSFT = ("replay", "AAPL"), ("replay", "MSFT")
Sql = Callable[[str], list[tuple[Any, ...]]]
Load = Callable[..., StageRecord]
DAILY = "{}.MARKET_TEST.DAILY_ANALYTICS"
BARS = "{}.MARKET_TEST.DAILY_BARS"
STAGES = [stage.program for stage in (*SUCCESS.upstream, SUCCESS)]


def reconcile(settings: LoadSettings, run: Run = RUN) -> StageRecord:
    return reconcile_run(settings, run)[0]


def amend(store: ObjectStore, stage: str, **changes: Any) -> None:
    """Store a stage's record again with other values."""
    lineage.write(store, lineage.read(store, "run-1", stage).model_copy(update=changes))


def amend_symbol(store: ObjectStore, stage: str, symbol: str, **changes: Any) -> None:
    symbols = lineage.read(store, "run-1", stage).symbols
    amend(store, stage, symbols=symbols | {symbol: symbols[symbol].model_copy(update=changes)})


def disagreements(store: ObjectStore) -> tuple[str, ...]:
    return lineage.read_run(store, "run-1").disagreements


@pytest.fixture
def loaded(history: Any, load: Load) -> Any:
    run = history.run(split=("AAPL", 3, 4.0))
    load()
    return run


def test_a_whole_run_reconciles_and_leaves_a_summary(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    record = reconcile(settings)
    assert (record.stage, record.rows_in, record.rows_out) == ("reconcile-run", 10, 10)
    processed = lineage.read(store, "run-1", "daily-analytics")
    assert record.symbols["AAPL"].checksum == processed.symbols["AAPL"].checksum
    assert record.snapshots == processed.snapshots
    summary = lineage.read_run(store, "run-1")
    assert (summary.reconciled, summary.disagreements) == (True, ())
    part = summary.symbols["MSFT"]
    assert (part.fetched, part.raw, part.held, part.quarantined) == (5, 5, 0, 0)
    assert (part.facts, part.analytics, part.warehouse) == (5, 5, 5)
    assert part.changes == SymbolChanges(new=5)
    assert part.checksum == lineage.read(store, "run-1", "consume-historical").symbols["MSFT"].checksum
    assert [stage.stage for stage in summary.stages] == STAGES
    stored = json.loads(store.get("lineage/run_id=run-1/run.json"))
    assert stored["stages"][1]["objects"][0]["key"] == "raw/run-1/AAPL.csv"


def test_a_later_run_knows_the_whole_history(
    loaded: Any, history: Any, load: Load, settings: LoadSettings, store: ObjectStore
) -> None:
    history.run("run-2", first=3, sessions=3, lift={("MSFT", 3): 1.0}, fetched_at=LATER)
    load("run-2")
    record = reconcile(settings, Run("run-2", RUN.batch_date))
    assert (record.rows_in, record.rows_out) == (12, 12)
    part = lineage.read_run(store, "run-2").symbols["MSFT"]
    assert (part.raw, part.facts, part.analytics, part.warehouse) == (3, 6, 6, 6)
    assert part.changes == SymbolChanges(new=1, unchanged=1, revised=1)
    # The earlier run still reconciles, with the rows as they are now.
    assert reconcile(settings).rows_out == 12


@pytest.mark.parametrize("rows", [1, 6])
def test_symbols_are_compared_in_groups(
    history: Any,
    load: Load,
    settings: LoadSettings,
    sql: Sql,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
) -> None:
    history.run(symbols=("AAPL", "KO", "MSFT", "V"))
    load()
    monkeypatch.setattr(comparison, "_ROWS_AT_ONCE", rows)
    assert reconcile(settings).rows_out == 20
    sql(f"DELETE FROM {DAILY} WHERE SYMBOL IN ('KO', 'V') AND SESSION_DATE = '2024-06-25'")
    with pytest.raises(IntegrityError, match=r"KO: its record says 5 rows, DAILY_ANALYTICS holds 4 \(and 3 more\)"):
        reconcile(settings)
    assert [line.split(":")[0] for line in disagreements(store)] == 2 * ["load-warehouse KO"] + 2 * ["load-warehouse V"]


def test_other_sources_and_symbols_do_not_matter(
    loaded: Any, history: Any, load: Load, settings: LoadSettings, sql: Sql
) -> None:
    history.run("other", source=Source.SIMULATED)
    history.run("more", symbols=("KO",))
    load("other")
    load("more")
    sql(f"UPDATE {DAILY} SET RSI_14 = 1 WHERE SOURCE = 'simulated' OR SYMBOL = 'KO'")
    reconcile(settings)


@pytest.mark.parametrize("column", ["ADJ_CLOSE", "CLOSE", "OBV", "HIGH_52W"])
def test_a_number_in_the_warehouse_one_bit_off(
    loaded: Any, settings: LoadSettings, sql: Sql, store: ObjectStore, column: str
) -> None:
    value = loaded.analytics["AAPL"][1][column.lower()]
    off = math.nextafter(value, math.inf)
    sql(f"UPDATE {DAILY} SET {column} = '{off!r}'::FLOAT WHERE SYMBOL = 'AAPL' AND SESSION_DATE = '2024-06-25'")
    assert sql(f"SELECT {column} FROM {DAILY} WHERE SYMBOL = 'AAPL' AND SESSION_DATE = '2024-06-25'") == [(off,)]
    message = "load-warehouse AAPL: DAILY_ANALYTICS: 5 rows against 5 before: 1 different (2024-06-25)"
    with pytest.raises(IntegrityError, match="does not reconcile: load-warehouse AAPL"):
        reconcile(settings)
    assert disagreements(store) == (message,)


@pytest.mark.parametrize("change", ["STOCK_SPLITS = 9", "CURRENCY = NULL", "VOLUME = VOLUME + 1"])
def test_another_value_in_the_warehouse(
    loaded: Any, settings: LoadSettings, sql: Sql, store: ObjectStore, change: str
) -> None:
    sql(f"UPDATE {DAILY} SET {change} WHERE SYMBOL = 'MSFT' AND SESSION_DATE = '2024-06-24'")
    with pytest.raises(IntegrityError, match="load-warehouse MSFT"):
        reconcile(settings)
    assert disagreements(store) == (
        "load-warehouse MSFT: DAILY_ANALYTICS: 5 rows against 5 before: 1 different (2024-06-24)",
    )


def test_an_extra_row_in_the_warehouse(loaded: Any, settings: LoadSettings, sql: Sql, store: ObjectStore) -> None:
    sql(f"CREATE TABLE {{}}.MARKET_TEST.COPIED AS SELECT * FROM {DAILY} WHERE SESSION_DATE = '2024-06-28'")
    sql("UPDATE {}.MARKET_TEST.COPIED SET SESSION_DATE = '2024-07-01'")
    sql(f"INSERT INTO {DAILY} SELECT * FROM {{}}.MARKET_TEST.COPIED WHERE SYMBOL = 'MSFT'")
    with pytest.raises(IntegrityError, match="load-warehouse MSFT: its record says 5 rows, DAILY_ANALYTICS holds 6"):
        reconcile(settings)
    assert "load-warehouse MSFT: DAILY_ANALYTICS: 6 rows against 5 before: 1 extra (2024-07-01)" in disagreements(store)


def test_a_row_that_is_there_twice(loaded: Any, settings: LoadSettings, sql: Sql, store: ObjectStore) -> None:
    sql(
        f"CREATE OR REPLACE TABLE {DAILY} AS SELECT * FROM {DAILY} UNION ALL SELECT * FROM {DAILY} "
        "WHERE SYMBOL = 'MSFT' AND SESSION_DATE = '2024-06-26'"
    )
    with pytest.raises(IntegrityError, match=r"MSFT: DAILY_ANALYTICS holds 1 keys twice \(2024-06-26\)"):
        reconcile(settings)
    assert len(disagreements(store)) == 1


def test_rows_missing_from_the_warehouse(loaded: Any, settings: LoadSettings, sql: Sql, store: ObjectStore) -> None:
    sql(f"DELETE FROM {DAILY} WHERE SYMBOL = 'AAPL' AND SESSION_DATE > '2024-06-24'")
    with pytest.raises(IntegrityError, match="load-warehouse AAPL: its record says 5 rows, DAILY_ANALYTICS holds 1"):
        reconcile(settings)
    differences = "1 rows against 5 before: 4 missing (2024-06-25, 2024-06-26, 2024-06-27, …)"
    assert disagreements(store)[1] == f"load-warehouse AAPL: DAILY_ANALYTICS: {differences}"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            f"UPDATE {BARS} SET CLOSE = CLOSE + 1 WHERE SYMBOL = 'AAPL' AND SESSION_DATE = '2024-06-26'",
            "AAPL: DAILY_BARS: 5 rows against 5 before: 1 different (2024-06-26)",
        ),
        (
            f"DELETE FROM {BARS} WHERE SYMBOL = 'AAPL' AND SESSION_DATE = '2024-06-26'",
            "AAPL: DAILY_BARS: 4 rows against 5 before: 1 missing (2024-06-26)",
        ),
        (
            f"UPDATE {BARS} SET KNOWN_AT = '2024-01-01' WHERE SYMBOL = 'AAPL' AND SESSION_DATE = '2024-06-26'",
            "AAPL: DAILY_BARS: 4 rows against 5 before: 1 missing (2024-06-26)",
        ),
        (
            "UPDATE {}.MARKET_TEST.CORPORATE_ACTIONS SET VALUE = 5",
            "AAPL: CORPORATE_ACTIONS: 1 rows against 1 before: 1 different (2024-06-27)",
        ),
        (
            "DELETE FROM {}.MARKET_TEST.CORPORATE_ACTIONS",
            "AAPL: CORPORATE_ACTIONS: 0 rows against 1 before: 1 missing (2024-06-27)",
        ),
    ],
)
def test_facts_in_the_warehouse(
    loaded: Any, settings: LoadSettings, sql: Sql, store: ObjectStore, statement: str, message: str
) -> None:
    sql(statement)
    with pytest.raises(IntegrityError):
        reconcile(settings)
    assert disagreements(store) == (f"load-warehouse {message}",)


def test_facts_that_only_the_warehouse_remembers_are_in_order(
    loaded: Any, history: Any, load: Load, settings: LoadSettings
) -> None:
    for table in (DAILY_BARS, CORPORATE_ACTIONS):
        history.lose(table)
    history.bars.clear()
    history.actions.clear()
    history.run("run-2", fetched_at=LATER)
    load("run-2")
    assert reconcile(settings, Run("run-2", RUN.batch_date)).rows_out == 10


def test_a_row_of_the_analytics_changed_in_the_lake(
    loaded: Any, history: Any, settings: LoadSettings, store: ObjectStore
) -> None:
    history.change(DAILY_ANALYTICS, AAPL, date(2024, 6, 26), rsi_14=1.5)
    with pytest.raises(IntegrityError):
        reconcile(settings)
    message = "load-warehouse AAPL: DAILY_ANALYTICS: 5 rows against 5 before: 1 different (2024-06-26)"
    assert disagreements(store) == (message,)
    history.change(DAILY_ANALYTICS, AAPL, date(2024, 6, 26), row_hash="0" * 32)
    with pytest.raises(IntegrityError):
        reconcile(settings)
    assert disagreements(store) == (
        "daily-analytics AAPL: daily_analytics: 5 rows against 5 before: 1 different (2024-06-26)",
        message,
    )


def test_a_row_of_the_analytics_missing_in_the_lake(
    loaded: Any, history: Any, settings: LoadSettings, store: ObjectStore
) -> None:
    history.change(DAILY_ANALYTICS, AAPL, date(2024, 6, 26), session_date=date(2024, 7, 1))
    with pytest.raises(IntegrityError):
        reconcile(settings)
    differences = "5 rows against 5 before: 1 missing (2024-06-26), 1 extra (2024-07-01)"
    assert disagreements(store)[0] == f"daily-analytics AAPL: daily_analytics: {differences}"
    history.lose(DAILY_ANALYTICS)
    with pytest.raises(IntegrityError):
        reconcile(settings)
    found = disagreements(store)
    assert "daily-analytics MSFT: its record says 5 rows, the table daily_analytics holds 0" in found
    assert (
        "load-warehouse MSFT: DAILY_ANALYTICS: 5 rows against 0 before: 5 extra (2024-06-24, 2024-06-25, 2024-06-26, …)"
        in found
    )


def test_a_fact_changed_in_the_lake(loaded: Any, history: Any, settings: LoadSettings, store: ObjectStore) -> None:
    """Its row_hash stays: what counts is what the values hash to."""
    close = loaded.raw["MSFT"][2]["close"]
    history.change(DAILY_BARS, MSFT, date(2024, 6, 26), close=math.nextafter(close, math.inf))
    with pytest.raises(IntegrityError):
        reconcile(settings)
    assert disagreements(store) == (
        "daily-analytics MSFT: daily_analytics: 5 rows against 5 before: 1 different (2024-06-26)",
        "load-warehouse MSFT: DAILY_BARS: 5 rows against 5 before: 1 different (2024-06-26)",
    )


def test_a_fact_missing_in_the_lake(loaded: Any, history: Any, settings: LoadSettings, store: ObjectStore) -> None:
    history.change(DAILY_BARS, MSFT, date(2024, 6, 26), session_date=date(2024, 6, 25), known_at=LATER)
    with pytest.raises(IntegrityError):
        reconcile(settings)
    assert disagreements(store)[0] == (
        "validate-raw MSFT: daily_bars knows 4 sessions, but not 1 of the 5 in the raw CSV (2024-06-26)"
    )


def test_analytics_that_were_not_computed_anew(loaded: Any, history: Any, load: Load, settings: LoadSettings) -> None:
    analyse, history.analyse = history.analyse, lambda *_: None
    history.run("run-2", lift={("MSFT", 3): 1.0}, fetched_at=LATER)
    history.analyse = analyse
    load("run-2")
    with pytest.raises(IntegrityError, match=r"daily-analytics MSFT: daily_analytics: .* 1 different \(2024-06-27\)"):
        reconcile(settings, Run("run-2", RUN.batch_date))


def test_a_later_run_that_is_under_way(
    loaded: Any, history: Any, load: Load, settings: LoadSettings, sql: Sql, store: ObjectStore
) -> None:
    """It has recorded facts, then computed, and has not loaded yet."""
    analyse, history.analyse = history.analyse, lambda *_: None
    history.run("run-2", sessions=6, lift={("MSFT", 3): 1.0}, split=("AAPL", 2, 2.0), fetched_at=LATER)
    reconcile(settings)
    load()
    reconcile(settings)
    analyse("run-2", Source.REPLAY, ["AAPL", "MSFT"])
    reconcile(settings)
    assert lineage.read_run(store, "run-1").symbols["MSFT"].warehouse == 5
    close = loaded.analytics["MSFT"][1]["close"]
    sql(f"UPDATE {DAILY} SET CLOSE = CLOSE + 1 WHERE SYMBOL = 'MSFT' AND SESSION_DATE = '2024-06-25'")
    with pytest.raises(IntegrityError, match=r"MSFT: DAILY_ANALYTICS: 5 .* 5 before: 1 different \(2024-06-25\)"):
        reconcile(settings)
    sql(f"UPDATE {DAILY} SET CLOSE = '{close!r}'::FLOAT WHERE SYMBOL = 'MSFT' AND SESSION_DATE = '2024-06-25'")
    history.run("run-2", sessions=6, lift={("MSFT", 3): 1.0}, fetched_at=LATER)  # its records, now that it has computed
    load("run-2")
    reconcile(settings)
    assert lineage.read_run(store, "run-1").symbols["MSFT"].warehouse == 6
    assert reconcile(settings, Run("run-2", RUN.batch_date)).rows_out == 12


def test_a_missing_csv(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    store.delete("raw/run-1/AAPL.csv")
    with pytest.raises(IntegrityError, match=r"consume-historical AAPL: raw/run-1/AAPL.csv with 5 rows is gone"):
        reconcile(settings)


def test_a_csv_with_another_price(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    body = store.get("raw/run-1/AAPL.csv")
    price = repr(loaded.raw["AAPL"][0]["close"]).encode()
    store.put("raw/run-1/AAPL.csv", body.replace(price, b"1.5", 1))
    with pytest.raises(IntegrityError, match=r"AAPL: raw/run-1/AAPL.csv is not the object that was written"):
        reconcile(settings)
    found = disagreements(store)
    assert "consume-historical AAPL: 2024-06-24 does not have the values that its row_hash was made from" in found
    assert "consume-historical AAPL: the raw CSV holds 5 rows of another checksum than its record" in found


def test_a_csv_with_a_row_less(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    lines = store.get("raw/run-1/AAPL.csv").splitlines(keepends=True)
    store.put("raw/run-1/AAPL.csv", b"".join(lines[:-1]))
    with pytest.raises(IntegrityError):
        reconcile(settings)
    assert "fetch-historical AAPL: its record says 5 rows, the raw CSV holds 4" in disagreements(store)


def test_counts_that_do_not_add_up(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    amend(store, "fetch-historical", rows_in=12, quarantined=1)
    with pytest.raises(IntegrityError, match=r"fetch-historical: 12 rows in, but 10 out \+ 1 quarantined"):
        reconcile(settings)
    amend(store, "fetch-historical", rows_in=10, quarantined=0)
    amend_symbol(store, "validate-raw", "MSFT", changes=SymbolChanges(new=4))
    with pytest.raises(IntegrityError, match=r"validate-raw MSFT: 5 rows, but 4 new \+ 0 unchanged \+ 0 revised"):
        reconcile(settings)


def test_records_that_the_tables_do_not_bear_out(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    for stage, what in (
        ("daily-analytics", "the table daily_analytics holds"),
        ("load-warehouse", "DAILY_ANALYTICS holds"),
    ):
        before = lineage.read(store, "run-1", stage)
        amend_symbol(store, stage, "MSFT", checksum="0")
        with pytest.raises(IntegrityError):
            reconcile(settings)
        assert f"{stage} MSFT: {what} 5 rows of another checksum than its record" in disagreements(store)
        lineage.write(store, before)
    reconcile(settings)


def test_a_quarantined_row_that_is_not_in_the_lake(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    amend_symbol(store, "fetch-historical", "AAPL", quarantined=1)
    amend(store, "fetch-historical", rows_in=11, quarantined=1)
    with pytest.raises(IntegrityError, match="fetch-historical AAPL: 1 rows quarantined, but 0 in"):
        reconcile(settings)
    put(store, [quarantined("fetch-historical", "odd", b"{}", run_id="run-1", symbol="AAPL", position=7)])
    reconcile(settings)


def test_a_stage_without_a_record(history: Any, settings: LoadSettings) -> None:
    history.run()
    with pytest.raises(ConfigurationError, match="no result of load-warehouse"):
        reconcile(settings)


@pytest.mark.parametrize("known", [False, True])
def test_a_held_symbol_is_reconciled_as_held(
    history: Any, load: Load, settings: LoadSettings, store: ObjectStore, sql: Sql, known: bool
) -> None:
    if known:
        history.run("before", sessions=4, fetched_at=datetime(2024, 6, 27, tzinfo=UTC))
        load("before")
    history.run(held=("MSFT",))
    load()
    record = reconcile(settings)
    assert (record.rows_in, record.rows_out) == (5, 5)
    assert record.held_symbols() == {"MSFT": ("odd",)}
    summary = lineage.read_run(store, "run-1")
    assert (summary.reconciled, summary.disagreements) == (True, ())
    part = summary.symbols["MSFT"]
    assert (part.status, part.held, part.raw, part.changes) == ("held", 5, 5, SymbolChanges())
    # What was known of it stays.
    assert (part.facts, part.analytics, part.warehouse) == ((4, 4, 4) if known else (0, 0, 0))
    assert part.reasons == ("odd",)
    assert sql(f"SELECT COUNT(*) FROM {DAILY} WHERE SYMBOL = 'MSFT'") == [(4 if known else 0,)]


def test_a_held_symbol_that_was_computed_all_the_same(
    history: Any, load: Load, settings: LoadSettings, store: ObjectStore
) -> None:
    run = history.run()
    load()
    consumed = lineage.read(store, "run-1", "consume-historical")
    judged = validation_record(VALIDATE_RAW, consumed, (), Stopwatch(), "test", {"MSFT": ("odd",)})
    lineage.write(store, judged)
    with pytest.raises(IntegrityError):
        reconcile(settings)
    assert "daily-analytics MSFT: is ok, though it was held before" in disagreements(store)
    assert run.changes["MSFT"].new == 5


def test_a_symbol_without_rows_is_not_held_for_that(
    history: Any, load: Load, settings: LoadSettings, store: ObjectStore
) -> None:
    """Rows that were not computed without validate-raw's having held them."""
    history.run()
    processed = lineage.read(store, "run-1", "daily-analytics")
    empty = processed.symbols["MSFT"].model_copy(update={"rows": 0, "checksum": ""})
    amend(store, "daily-analytics", rows_in=5, rows_out=5, symbols=processed.symbols | {"MSFT": empty})
    load()
    with pytest.raises(IntegrityError, match="daily-analytics MSFT: 0 rows, validate-raw had 5"):
        reconcile(settings)
