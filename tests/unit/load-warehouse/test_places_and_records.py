"""Reading rows and their hashes from bytes, and comparing the records of a run."""

import hashlib
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from load_warehouse.lake_rows import groups
from load_warehouse.parquet import for_warehouse, to_file
from load_warehouse.record_checks import record_faults
from load_warehouse.schema import ACTIONS, BARS
from load_warehouse.stored_rows import bars_in_force, csv_rows, lake_rows
from ticklake.errors import IntegrityError
from ticklake.lineage import StageRecord, SymbolChanges, SymbolResult
from ticklake.pipeline import SUCCESS
from ticklake.records import Source
from ticklake.tables import BAR_COLUMNS, CORPORATE_ACTIONS, DAILY_BARS, Column, arrow_schema

HEADER = ",".join(column.name for column in BAR_COLUMNS)
TEXT = "AAPL|2024-01-02|7|yahoo|1.5|2.0|1.0|1.25|0.30000000000000004|0.0|0.0"
HASH = hashlib.blake2b(TEXT.encode(), digest_size=16).hexdigest()
BATCH = "b,2024-01-03,0,2024-01-03T00:00:00.000Z"
LINE = f"AAPL,2024-01-02,1.5,2.0,1.0,1.25,0.30000000000000004,7,0.0,0.0,USD,yahoo,{BATCH},{HASH}"


def test_csv_hash_is_recomputed_from_the_text() -> None:
    rows = csv_rows(f"{HEADER}\n{LINE}\n".encode(), "b")["AAPL"]
    assert rows.hashes == {date(2024, 1, 2): HASH}
    assert rows.faults == []
    assert rows.checksum == hashlib.sha256(HASH.encode()).hexdigest()


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (f"{HEADER}\n{LINE}\n{LINE}\n", "2024-01-02 is there twice"),
        (f"{HEADER}\n{LINE.replace('yahoo,b,', 'yahoo,c,')}\n", "2024-01-02 is of batch c"),
        (f"{HEADER}\n{LINE.replace('1.25', '1.26')}\n", "2024-01-02 does not have the values that its row_hash"),
    ],
)
def test_faults_within_a_csv(body: str, fault: str) -> None:
    assert csv_rows(body.encode(), "b")["AAPL"].faults[0].startswith(fault)


@pytest.mark.parametrize(
    "body", ["", "a,b\n1,2\n", f"{HEADER}\nAAPL,2024-01-02\n", f"{HEADER}\n{LINE.replace('1.5', 'x')}\n"]
)
def test_unreadable_csv(body: str) -> None:
    with pytest.raises(IntegrityError, match="not readable as raw daily CSV"):
        csv_rows(body.encode(), "b")


def test_an_empty_csv_has_no_rows() -> None:
    assert csv_rows(f"{HEADER}\n".encode(), "b") == {}


COLUMNS = (
    Column("symbol", "string", "", nullable=False),
    Column("fetched_at", "timestamp", "", nullable=False),
    Column("close", "double", ""),
)
AT = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.mark.parametrize(
    "times", [pa.array([AT], pa.timestamp("us", "UTC")), pa.array([AT], pa.timestamp("us", "America/New_York"))]
)
def test_times_become_utc_without_a_zone(times: pa.Array) -> None:
    table = for_warehouse(pa.table({"close": [1.0], "symbol": ["A"], "fetched_at": times}), COLUMNS)
    assert table.column_names == ["SYMBOL", "FETCHED_AT", "CLOSE"]
    assert table.to_pylist() == [{"SYMBOL": "A", "FETCHED_AT": AT.replace(tzinfo=None), "CLOSE": 1.0}]
    schema = pq.ParquetFile(to_file(table)).schema
    assert "isAdjustedToUTC=false, timeUnit=microseconds" in str(schema.column(1).logical_type)


def test_rows_of_the_lake_get_the_warehouse_s_names_and_times() -> None:
    found = pa.table({"symbol": ["A"], "close": [0.1 + 0.2], "fetched_at": pa.array([AT], pa.timestamp("us", "UTC"))})
    table = for_warehouse(found, COLUMNS)
    assert table.to_pylist() == [{"SYMBOL": "A", "FETCHED_AT": AT.replace(tzinfo=None), "CLOSE": 0.30000000000000004}]


def test_symbols_are_grouped_by_rows() -> None:
    counts = {"E": 3, "A": 5, "B": 5, "C": 1, "D": 20}
    assert list(groups(counts, 10)) == [["A", "B"], ["C", "D"], ["E"]]
    assert list(groups({}, 10)) == []


def version(hour: int, close: float, batch: str = "b") -> dict[str, Any]:
    return {
        "symbol": "AAPL",
        "session_date": date(2024, 1, 2),
        "known_at": AT.replace(hour=hour),
        "open": 1.5,
        "high": 9.0,
        "low": 1.0,
        "close": close,
        "volume": 7,
        "currency": None,
        "source": "yahoo",
        "batch_id": batch,
        "batch_date": date(2024, 1, 3),
        "row_hash": "not looked at",
        "change": "first",
    }


def test_the_hash_in_force_is_of_the_values_of_the_latest_version() -> None:
    versions = pa.Table.from_pylist([version(9, 2.0), version(8, 1.25)], arrow_schema(DAILY_BARS.columns))
    text = "AAPL|2024-01-02|7||yahoo|1.5|9.0|1.0|2.0"
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    assert bars_in_force(versions) == {"AAPL": {date(2024, 1, 2): digest}}
    assert bars_in_force(versions.slice(0, 0)) == {}


def test_rows_are_distinguished_by_key_and_a_change_is_not_compared() -> None:
    rows = [version(8, 1.25), version(9, 2.0), version(8, 1.25, "c")]
    found = lake_rows(pa.Table.from_pylist([*rows, rows[0]], arrow_schema(DAILY_BARS.columns)), BARS)["AAPL"]
    times = [AT.replace(tzinfo=None, hour=hour) for hour in (8, 9, 8)]
    keys = [(date(2024, 1, 2), at, batch) for at, batch in zip(times, "bbc", strict=True)]
    assert list(found.rows) == keys
    assert found.twice == keys[:1]
    assert "first" not in found.rows[keys[0]]
    assert found.rows[keys[0]] != found.rows[keys[1]]
    assert lake_rows(arrow_schema(CORPORATE_ACTIONS.columns).empty_table(), ACTIONS) == {}


STAGES = tuple(stage.program for stage in SUCCESS.upstream)


def records(**changes: dict[str, Any]) -> dict[str, StageRecord]:
    def one(stage: str) -> StageRecord:
        values: dict[str, Any] = {
            "stage": stage,
            "run_id": "r",
            "batch_id": "r",
            "batch_date": date(2024, 1, 3),
            "source": Source.YAHOO,
            "rows_in": 3,
            "rows_out": 3,
            "quarantined": 0,
            "symbols": symbol(),
            "started_at": AT,
            "finished_at": AT,
            "code_version": "v",
        }
        return StageRecord(**(values | changes.get(stage.replace("-", "_"), {})))

    return {stage: one(stage) for stage in STAGES}


def symbol(**values: Any) -> dict[str, SymbolResult]:
    return {"A": SymbolResult(**({"rows": 3, "checksum": "c", "changes": SymbolChanges(new=1, unchanged=2)} | values))}


LONGER = {"rows_in": 9, "rows_out": 9, "symbols": symbol(rows=9, checksum="whole")}
NEWER = {
    "rows_in": 10,
    "rows_out": 10,
    "symbols": symbol(rows=10, checksum="newer"),
    "snapshots": {"daily_analytics": 2},
}


def test_records_that_agree() -> None:
    rejected = {"rows_in": 4, "quarantined": 1, "symbols": symbol(quarantined=1)}
    assert list(record_faults(records())) == []
    assert list(record_faults(records(fetch_historical=rejected))) == []
    assert list(record_faults(records(daily_analytics=LONGER, load_warehouse=LONGER))) == []
    assert list(record_faults(records(daily_analytics=LONGER, load_warehouse=NEWER))) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"fetch_historical": {"rows_in": 5, "quarantined": 1}},
            "fetch-historical: 5 rows in, but 3 out + 1 quarantined",
        ),
        (
            {"load_warehouse": {"rows_out": 1, "symbols": symbol(rows=1)}},
            "load-warehouse: 3 rows in, but 1 out + 0 quarantined",
        ),
        (
            {"validate_raw": {"symbols": symbol(changes=SymbolChanges(new=1, revised=1))}},
            "validate-raw A: 3 rows, but 1 new + 0 unchanged + 1 revised",
        ),
        (
            {"validate_raw": {"symbols": symbol(changes=None)}},
            "validate-raw A: 3 rows, but 0 new + 0 unchanged + 0 revised",
        ),
        ({"daily_analytics": LONGER}, "load-warehouse A: 3 rows, daily-analytics had 9"),
        (
            {"daily_analytics": LONGER, "load_warehouse": NEWER | {"snapshots": {}}},
            "load-warehouse A: 10 rows, daily-analytics had 9",
        ),
        ({"daily_analytics": NEWER, "load_warehouse": LONGER}, "load-warehouse A: 9 rows, daily-analytics had 10"),
        ({"consume_historical": {"rows_out": 2, "rows_in": 2}}, "consume-historical: 2 rows out, but 3 by symbol"),
        (
            {"fetch_historical": {"symbols": symbol(quarantined=2)}},
            "fetch-historical: 0 rows quarantined, but 2 by symbol",
        ),
        ({"daily_analytics": {"batch_id": "q"}}, "daily-analytics: batch_id is q, that of fetch-historical r"),
        (
            {"load_warehouse": {"symbols": symbol(checksum="d")}},
            "load-warehouse A: another checksum over its 3 rows than daily-analytics",
        ),
        (
            {"validate_raw": {"symbols": symbol(checksum="d")}},
            "validate-raw A: another checksum over its 3 rows than consume-historical",
        ),
        (
            {"daily_analytics": {"symbols": symbol(rows=2), "rows_in": 2, "rows_out": 2}},
            "daily-analytics A: 2 rows, validate-raw had 3",
        ),
        (
            {"consume_historical": {"symbols": {}, "rows_in": 0, "rows_out": 0}},
            "consume-historical A: not in its record, but in that of fetch-historical",
        ),
        (
            {"consume_historical": {"symbols": symbol(rows=2), "rows_in": 2, "rows_out": 2}},
            "consume-historical A: 2 rows, fetch-historical had 3",
        ),
    ],
)
def test_records_that_disagree(changes: dict[str, dict[str, Any]], fault: str) -> None:
    assert next(iter(record_faults(records(**changes)))) == fault
