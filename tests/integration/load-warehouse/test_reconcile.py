"""reconcile-run finds what one stage lost, added or changed, by reading what is stored."""

import json
import math
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from load_warehouse.reconcile import reconcile_run
from load_warehouse.run import load_run
from load_warehouse.settings import LoadSettings
from ticklake import lineage
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.lineage import StageRecord
from ticklake.objects import ObjectStore
from ticklake.stage import Run

RUN = Run("run-1", date(2024, 6, 28))
Sql = Callable[[str], list[tuple[Any, ...]]]
DAILY = "{}.MARKET_TEST.DAILY_ANALYTICS"


def load(settings: LoadSettings, run: Run = RUN) -> None:
    record, store = load_run(settings, run)
    lineage.write(store, record)


def reconcile(settings: LoadSettings) -> StageRecord:
    return reconcile_run(settings, RUN)[0]


def amend(store: ObjectStore, stage: str, **changes: Any) -> None:
    """Store a stage's record anew with other values."""
    lineage.write(store, lineage.read(store, "run-1", stage).model_copy(update=changes))


@pytest.fixture
def loaded(lake_run: Any, settings: LoadSettings) -> Any:
    run = lake_run()
    load(settings)
    return run


def test_a_whole_run_reconciles_and_leaves_a_summary(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    record = reconcile(settings)
    assert (record.stage, record.rows_in, record.rows_out) == ("reconcile-run", 10, 10)
    assert record.symbols["AAPL"].checksum == loaded.result("AAPL").checksum
    summary = lineage.read_run(store, "run-1")
    assert (summary.reconciled, summary.disagreements) == (True, ())
    part = summary.symbols["MSFT"]
    assert (part.fetched, part.raw, part.parquet, part.warehouse, part.superseded) == (5, 5, 5, 5, 0)
    stages = ["fetch-historical", "consume-historical", "validate-raw", "daily-analytics", "load-warehouse",
              "reconcile-run"]  # fmt: skip
    assert [stage.stage for stage in summary.stages] == stages
    stored = json.loads(store.get("lineage/run_id=run-1/run.json"))
    assert stored["stages"][1]["objects"][0]["key"] == "raw/run-1/AAPL.csv"
    lineage.write(store, record)
    table = lineage.run_table(store, "run-1")
    assert [row[0] for row in table] == stages
    assert table[0] == ("fetch-historical", 2.0, 10, 10, 0)


def test_a_row_dropped_from_parquet(lake_run: Any, settings: LoadSettings, store: ObjectStore) -> None:
    run = lake_run()
    del run.rows["MSFT"][2]
    reference = run.put_parquet("MSFT")
    record = lineage.read(store, "run-1", "daily-analytics")
    symbols = record.symbols | {"MSFT": run.result("MSFT")}
    objects = (record.objects[0], reference)
    amend(store, "daily-analytics", symbols=symbols, objects=objects, rows_in=9, rows_out=9)
    load(settings)
    with pytest.raises(IntegrityError, match="daily-analytics MSFT: 4 rows, consume-historical had 5"):
        reconcile(settings)
    summary = lineage.read_run(store, "run-1")
    assert not summary.reconciled
    assert "daily-analytics MSFT: 4 rows against 5 before: 1 missing (2024-01-03)" in summary.disagreements


def test_a_parquet_object_changed_behind_its_record(loaded: Any, settings: LoadSettings) -> None:
    del loaded.rows["MSFT"][2]
    loaded.put_parquet("MSFT")
    with pytest.raises(
        IntegrityError, match=r"daily-analytics MSFT: processed/run-1/symbol=MSFT/part-0.parquet is not"
    ):
        reconcile(settings)


def test_a_price_in_the_warehouse_one_bit_off(
    loaded: Any, settings: LoadSettings, sql: Sql, store: ObjectStore
) -> None:
    price = loaded.rows["AAPL"][1]["adj_close"]
    off = math.nextafter(price, math.inf)
    sql(f"UPDATE {DAILY} SET ADJ_CLOSE = '{off!r}'::FLOAT WHERE SYMBOL = 'AAPL' AND SESSION_DATE = '2024-01-02'")
    assert sql(f"SELECT ADJ_CLOSE FROM {DAILY} WHERE SYMBOL = 'AAPL' AND SESSION_DATE = '2024-01-02'") == [(off,)]
    with pytest.raises(IntegrityError, match="load-warehouse AAPL: 2024-01-02"):
        reconcile(settings)
    found = lineage.read_run(store, "run-1").disagreements
    assert "load-warehouse AAPL: 5 rows against 5 before: 1 different (2024-01-02)" in found


def test_an_extra_row_of_the_batch_in_the_warehouse(loaded: Any, settings: LoadSettings, sql: Sql) -> None:
    sql(f"CREATE TABLE {{}}.MARKET_TEST.COPIED AS SELECT * FROM {DAILY} WHERE SESSION_DATE = '2024-01-05'")
    sql("UPDATE {}.MARKET_TEST.COPIED SET SESSION_DATE = '2024-02-01'")
    sql(f"INSERT INTO {DAILY} SELECT * FROM {{}}.MARKET_TEST.COPIED WHERE SYMBOL = 'MSFT'")
    with pytest.raises(IntegrityError, match="load-warehouse MSFT: 2024-02-01 does not have the values"):
        reconcile(settings)


def test_rows_of_a_symbol_that_was_never_fetched(loaded: Any, settings: LoadSettings, sql: Sql) -> None:
    for name in ("AAA", "KO", "ZZZ"):
        sql(f"CREATE OR REPLACE TABLE {{}}.MARKET_TEST.COPIED AS SELECT * FROM {DAILY} WHERE SYMBOL = 'MSFT'")
        sql(f"UPDATE {{}}.MARKET_TEST.COPIED SET SYMBOL = '{name}'")
        sql(f"INSERT INTO {DAILY} SELECT * FROM {{}}.MARKET_TEST.COPIED")
        with pytest.raises(IntegrityError, match=f"load-warehouse {name}: 5 rows of a symbol that was never fetched"):
            reconcile(settings)
        sql(f"DELETE FROM {DAILY} WHERE SYMBOL = '{name}'")


def test_a_row_missing_from_the_warehouse(loaded: Any, settings: LoadSettings, sql: Sql) -> None:
    sql(f"DELETE FROM {DAILY} WHERE SYMBOL = 'AAPL' AND SESSION_DATE > '2024-01-01'")
    expected = r"load-warehouse AAPL: 1 rows against 5 before: 4 missing \(2024-01-02, 2024-01-03, 2024-01-04, …\)"
    with pytest.raises(IntegrityError, match=expected):
        reconcile(settings)


def test_a_missing_csv(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    store.delete("raw/run-1/AAPL.csv")
    with pytest.raises(IntegrityError, match=r"consume-historical AAPL: raw/run-1/AAPL.csv with 5 rows is gone"):
        reconcile(settings)


def test_a_csv_with_another_price(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    body = store.get("raw/run-1/AAPL.csv")
    price = repr(loaded.rows["AAPL"][0]["close"]).encode()
    store.put("raw/run-1/AAPL.csv", body.replace(price, b"1.5", 1))
    with pytest.raises(IntegrityError, match=r"AAPL: raw/run-1/AAPL.csv is not the object that was written"):
        reconcile(settings)
    assert any("1 different (2024-01-01)" in line for line in lineage.read_run(store, "run-1").disagreements)


def test_quarantined_counts_that_do_not_add_up(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    amend(store, "fetch-historical", rows_in=12, quarantined=1)
    with pytest.raises(IntegrityError, match=r"fetch-historical: 12 rows in, but 10 out \+ 1 quarantined"):
        reconcile(settings)


def test_a_quarantined_row_that_is_not_in_the_lake(loaded: Any, settings: LoadSettings, store: ObjectStore) -> None:
    symbols = lineage.read(store, "run-1", "fetch-historical").symbols
    quarantined = symbols["AAPL"].model_copy(update={"quarantined": 1})
    amend(store, "fetch-historical", rows_in=11, quarantined=1, symbols=symbols | {"AAPL": quarantined})
    with pytest.raises(IntegrityError, match="fetch-historical AAPL: 1 rows quarantined, but 0 in"):
        reconcile(settings)
    store.put("quarantine/run_id=run-1/AAPL/000000007.json", b"{}")
    reconcile(settings)


def test_superseded_rows_are_accounted_for(lake_run: Any, settings: LoadSettings, store: ObjectStore, sql: Sql) -> None:
    old = lake_run()
    lake_run(run_id="later", sessions=3, lift=1.0, fetched_at=old.fetched_at + timedelta(days=1))
    load(settings)
    load(settings, Run("later", RUN.batch_date))
    reconcile(settings)  # superseded after this run's load
    load(settings)
    record = reconcile(settings)  # and at its load
    assert (record.rows_in, record.rows_out) == (10, 4)
    part = lineage.read_run(store, "run-1").symbols["AAPL"]
    assert (part.warehouse, part.superseded) == (2, 3)
    sql(f"UPDATE {DAILY} SET FETCHED_AT = '2020-01-01 00:00:00' WHERE SYMBOL = 'AAPL' AND SESSION_DATE = '2024-01-02'")
    with pytest.raises(IntegrityError, match=r"load-warehouse AAPL: 2 rows against 5 before: 1 missing \(2024-01-02\)"):
        reconcile(settings)


def test_a_stage_without_a_record(lake_run: Any, settings: LoadSettings) -> None:
    lake_run()
    with pytest.raises(ConfigurationError, match="no result of load-warehouse"):
        reconcile(settings)


def hold(run: Any, store: ObjectStore) -> None:
    """As validate-raw and daily-analytics leave a run whose MSFT is held."""
    consumed = lineage.read(store, "run-1", "consume-historical")
    judged = StageRecord.of_checks("validate-raw", consumed, (), consumed.started_at, "test", {"MSFT": ("odd",)})
    lineage.write(store, judged)
    processed = lineage.read(store, "run-1", "daily-analytics")
    left = judged.symbols["MSFT"].model_copy(update={"held": 0})
    objects = tuple(ref for ref in processed.objects if ref.symbol != "MSFT")
    symbols = processed.symbols | {"MSFT": left}
    amend(store, "daily-analytics", symbols=symbols, objects=objects, rows_in=5, rows_out=5)


def test_a_held_symbol_is_reconciled_as_held(
    lake_run: Any, settings: LoadSettings, store: ObjectStore, sql: Sql
) -> None:
    hold(lake_run(), store)
    load(settings)
    record = reconcile(settings)
    assert (record.rows_in, record.rows_out) == (5, 5)
    assert record.held_symbols() == {"MSFT": ("odd",)}
    summary = lineage.read_run(store, "run-1")
    assert (summary.reconciled, summary.disagreements) == (True, ())
    part = summary.symbols["MSFT"]
    assert (part.status, part.held, part.raw, part.parquet, part.warehouse) == ("held", 5, 5, 0, 0)
    assert part.reasons == ("odd",)
    assert sql(f"SELECT DISTINCT SYMBOL FROM {DAILY}") == [("AAPL",)]


def test_a_held_symbol_that_was_computed_all_the_same(
    lake_run: Any, settings: LoadSettings, store: ObjectStore
) -> None:
    run = lake_run()
    load(settings)
    processed = lineage.read(store, "run-1", "daily-analytics")
    hold(run, store)
    lineage.write(store, processed)
    with pytest.raises(IntegrityError, match="daily-analytics MSFT: is ok, though it was held before"):
        reconcile(settings)


def test_a_symbol_without_rows_is_not_held_for_that(lake_run: Any, settings: LoadSettings, store: ObjectStore) -> None:
    """Rows that are missing behind validate-raw without its having held them."""
    run = lake_run()
    judged = lineage.read(store, "run-1", "validate-raw")
    hold(run, store)
    lineage.write(store, judged)
    load(settings)
    with pytest.raises(IntegrityError, match="daily-analytics MSFT: 0 rows, consume-historical had 5"):
        reconcile(settings)
