"""load-warehouse against the real store and warehouse server: what stands in the table afterwards, row by row."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from load_warehouse.run import load_run
from load_warehouse.settings import LoadSettings
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.objects import ObjectStore
from ticklake.records import Source
from ticklake.stage import Run
from ticklake.tables import DAILY_COLUMNS

DAY = date(2024, 6, 28)
Sql = Callable[[str], list[tuple[Any, ...]]]
COLUMNS = ", ".join(column.name.upper() for column in DAILY_COLUMNS)
TABLE = f"SELECT {COLUMNS} FROM {{}}.MARKET_TEST.DAILY_ANALYTICS ORDER BY SYMBOL, SESSION_DATE"


def expected(*runs: Any) -> list[tuple[Any, ...]]:
    """The rows of the runs as the connector gives them: times in UTC without a zone."""
    rows = [row for run in runs for rows in run.rows.values() for row in rows]
    rows.sort(key=lambda row: (row["symbol"], row["session_date"]))
    return [
        tuple(row[c.name].replace(tzinfo=None) if c.name == "fetched_at" else row[c.name] for c in DAILY_COLUMNS)
        for row in rows
    ]


def load(settings: LoadSettings, run_id: str = "run-1") -> Any:
    return load_run(settings, Run(run_id, DAY))[0]


def test_every_value_arrives_bit_by_bit(lake_run: Any, settings: LoadSettings, sql: Sql) -> None:
    run = lake_run(sessions=40)
    record = load(settings)
    found = sql(TABLE)
    assert found == expected(run)
    # == takes 0.0 for -0.0; repr does not.
    assert [repr(value) for row in found for value in row] == [repr(v) for row in expected(run) for v in row]
    assert (record.rows_in, record.rows_out, record.quarantined) == (80, 80, 0)
    assert {s: (p.rows, p.superseded) for s, p in record.symbols.items()} == {"AAPL": (40, 0), "MSFT": (40, 0)}
    assert record.symbols["MSFT"].checksum == run.result("MSFT").checksum


def test_ten_loads_leave_the_same_table_as_one(lake_run: Any, settings: LoadSettings, sql: Sql) -> None:
    run = lake_run()
    for _ in range(10):
        record = load(settings)
    assert sql(TABLE) == expected(run)
    assert record.rows_out == 10
    counts = "SELECT ROWS_STAGED, ROWS_INSERTED, ROWS_UPDATED, ROWS_UNCHANGED, ROWS_SUPERSEDED, FILES, KIND, RUN_ID"
    audit = sql(f"{counts} FROM {{}}.MARKET_TEST.LOAD_AUDIT ORDER BY STARTED_AT")
    assert audit == [(10, 10, 0, 0, 0, 2, "daily", "run-1")] + 9 * [(10, 0, 0, 10, 0, 2, "daily", "run-1")]
    assert sql("SELECT COUNT(DISTINCT LOAD_ID), COUNT(DISTINCT CHECKSUM) FROM {}.MARKET_TEST.LOAD_AUDIT") == [(10, 1)]
    tables = sql("SELECT TABLE_NAME FROM {}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'MARKET_TEST'")
    assert {name for (name,) in tables} == {"DAILY_ANALYTICS", "LOAD_AUDIT"}


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_newer_batch_replaces_and_older_never_does(
    lake_run: Any, settings: LoadSettings, sql: Sql, order: tuple[str, str]
) -> None:
    old = lake_run(run_id="old")
    new = lake_run(run_id="new", sessions=3, lift=1.0, fetched_at=old.fetched_at + timedelta(milliseconds=1))
    records = {run_id: load(settings, run_id) for run_id in order}
    kept = [row for row in expected(old) if row[1] > date(2024, 1, 3)]
    assert sql(TABLE) == sorted(expected(new) + kept, key=lambda row: row[:2])
    assert (records["new"].rows_in, records["new"].rows_out) == (6, 6)
    of_old = {symbol: (part.rows, part.superseded) for symbol, part in records["old"].symbols.items()}
    assert of_old == dict.fromkeys(("AAPL", "MSFT"), (5, 0) if order[0] == "old" else (2, 3))


@pytest.mark.parametrize("order", [("later", "backfill"), ("backfill", "later")])
def test_a_backfill_of_an_earlier_date_never_undoes_a_later_date(
    lake_run: Any, settings: LoadSettings, sql: Sql, order: tuple[str, str]
) -> None:
    later = lake_run(run_id="later", lift=1.0)
    lake_run(
        run_id="backfill",
        batch_date=later.batch_date - timedelta(days=1),
        fetched_at=later.fetched_at + timedelta(days=9),
    )
    for run_id in order:
        load(settings, run_id)
    assert sql(TABLE) == expected(later)


def test_longer_history_is_never_replaced_by_a_shorter(lake_run: Any, settings: LoadSettings, sql: Sql) -> None:
    long = lake_run(run_id="long", history=200)
    lake_run(run_id="short", lift=1.0, fetched_at=long.fetched_at + timedelta(days=1))
    load(settings, "long")
    record = load(settings, "short")
    assert sql(TABLE) == expected(long)
    assert (record.rows_in, record.rows_out) == (10, 0)
    newer_long = lake_run(run_id="long-2", lift=2.0, history=200, fetched_at=long.fetched_at + timedelta(days=2))
    load(settings, "long-2")
    assert sql(TABLE) == expected(newer_long)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_batches_of_one_millisecond_end_alike_in_either_order(
    lake_run: Any, settings: LoadSettings, sql: Sql, order: str
) -> None:
    lake_run(run_id="a")
    second = lake_run(run_id="b", lift=1.0)
    for run_id in order:
        load(settings, run_id)
    assert sql(TABLE) == expected(second)


def test_real_and_other_rows_never_share_a_schema(lake_run: Any, settings: LoadSettings, sql: Sql) -> None:
    lake_run(run_id="y", source=Source.YAHOO)
    lake_run(run_id="s", source=Source.SIMULATED, sessions=3)
    load(settings, "y")
    load(settings, "s")
    assert sql("SELECT SOURCE, COUNT(*) FROM {}.MARKET.DAILY_ANALYTICS GROUP BY 1") == [("yahoo", 10)]
    assert sql("SELECT SOURCE, COUNT(*) FROM {}.MARKET_TEST.DAILY_ANALYTICS GROUP BY 1") == [("simulated", 6)]


def test_only_what_the_record_names_is_read(
    lake_run: Any, settings: LoadSettings, store: ObjectStore, sql: Sql
) -> None:
    run = lake_run()
    store.put("processed/run-1/symbol=AAPL/part-1.parquet", store.get("processed/run-1/symbol=MSFT/part-0.parquet"))
    load(settings)
    assert sql(TABLE) == expected(run)


def test_a_changed_object_stops_the_load_and_nothing_is_in_the_table(
    lake_run: Any, settings: LoadSettings, store: ObjectStore, sql: Sql
) -> None:
    run = lake_run()
    key = "processed/run-1/symbol=MSFT/part-0.parquet"
    run.rows["MSFT"][2]["volume"] += 1
    run.put_parquet("MSFT")
    with pytest.raises(IntegrityError, match=key):
        load(settings)
    assert sql("SELECT COUNT(*) FROM {}.MARKET_TEST.DAILY_ANALYTICS") == [(0,)]
    store.delete(key)
    with pytest.raises(IntegrityError, match="gone"):
        load(settings)


def test_a_value_that_is_not_its_hash_never_becomes_visible(lake_run: Any, settings: LoadSettings, sql: Sql) -> None:
    run = lake_run(run_id="bad")
    run.rows["AAPL"][3]["close"] *= 1 + 2**-50
    run.write()
    with pytest.raises(IntegrityError, match="AAPL 2024-01-04: the warehouse holds other values"):
        load(settings, "bad")
    assert sql("SELECT COUNT(*) FROM {}.MARKET_TEST.DAILY_ANALYTICS") == [(0,)]
    assert sql("SELECT COUNT(*) FROM {}.MARKET_TEST.LOAD_AUDIT") == [(0,)]


def test_a_run_without_rows_is_audited_and_changes_nothing(lake_run: Any, settings: LoadSettings, sql: Sql) -> None:
    lake_run(sessions=0)
    record = load(settings)
    assert (record.rows_in, record.rows_out) == (0, 0)
    assert sql("SELECT ROWS_STAGED FROM {}.MARKET_TEST.LOAD_AUDIT") == [(0,)]


def test_wrong_date_or_run_is_a_configuration_error(lake_run: Any, settings: LoadSettings) -> None:
    lake_run()
    with pytest.raises(ConfigurationError, match="2024-06-28"):
        load_run(settings, Run("run-1", date(2024, 6, 27)))
    with pytest.raises(ConfigurationError, match="run that stage first"):
        load_run(settings, Run("run-2", DAY))


def test_a_table_of_an_older_version_gets_the_new_column(lake_run: Any, settings: LoadSettings, sql: Sql) -> None:
    run = lake_run()
    load(settings)
    sql("ALTER TABLE {}.MARKET_TEST.DAILY_ANALYTICS DROP COLUMN ATR_14")
    load(settings)
    assert sql(TABLE) == expected(run)
    sql("ALTER TABLE {}.MARKET_TEST.LOAD_AUDIT DROP COLUMN KIND")
    with pytest.raises(ConfigurationError, match="LOAD_AUDIT lacks the column KIND"):
        load(settings)
