"""Reading rows and their hashes from bytes, and comparing the records of a run."""

import hashlib
import io
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from load_warehouse.parquet import parts, read_table, to_file
from load_warehouse.places import Rank, csv_rows, parquet_rows
from load_warehouse.records_check import record_faults
from ticklake.errors import IntegrityError
from ticklake.lineage import ObjectRef, StageRecord, SymbolResult
from ticklake.records import Source
from ticklake.tables import BAR_COLUMNS, Column

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


@pytest.mark.parametrize("body", [b"", b"PAR1", b"x" * 100])
def test_unreadable_parquet(body: bytes) -> None:
    with pytest.raises(IntegrityError, match="not readable as daily analytics"):
        parquet_rows(body, "b")
    with pytest.raises(IntegrityError, match="k cannot be loaded"):
        read_table(body, ObjectRef(key="k", rows=1, size=1, sha256=""), ())


COLUMNS = (
    Column("symbol", "string", "", nullable=False), Column("fetched_at", "timestamp", "", nullable=False),
    Column("close", "double", ""),
)  # fmt: skip
AT = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def parquet(**columns: Any) -> bytes:
    target = io.BytesIO()
    given = {"ticker": ["A"], "fetched_at": pa.array([AT], pa.timestamp("us", "UTC")), "close": [1.0]} | columns
    pq.write_table(pa.table(given), target)
    return target.getvalue()


@pytest.mark.parametrize(
    "times",
    [
        pa.array([AT], pa.timestamp("us", "UTC")),
        pa.array([AT], pa.timestamp("us", "America/New_York")),
        pa.array([AT.replace(tzinfo=None)], pa.timestamp("ns")),
    ],
)
def test_times_become_utc_without_a_zone(times: pa.Array) -> None:
    table = read_table(parquet(fetched_at=times), ObjectRef(key="k", rows=1, size=1, sha256=""), COLUMNS)
    assert table.column_names == ["SYMBOL", "FETCHED_AT", "CLOSE"]
    assert table.to_pylist() == [{"SYMBOL": "A", "FETCHED_AT": AT.replace(tzinfo=None), "CLOSE": 1.0}]
    schema = pq.ParquetFile(to_file(table)).schema
    assert "isAdjustedToUTC=false, timeUnit=microseconds" in str(schema.column(1).logical_type)


@pytest.mark.parametrize(
    ("changes", "rows", "message"),
    [
        ({"close": pa.array([1.0], pa.float32())}, 1, "close is float, not double"),
        ({"ticker": pa.array([None], pa.string())}, 1, "symbol is null in 1 rows"),
        ({}, 2, "k has 1 rows, its record 2"),
    ],
)
def test_a_file_that_is_not_what_it_should_be(changes: dict[str, Any], rows: int, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        read_table(parquet(**changes), ObjectRef(key="k", rows=rows, size=1, sha256=""), COLUMNS)


def test_objects_are_grouped_by_rows() -> None:
    refs = [ObjectRef(key=str(n), rows=n, size=0, sha256="") for n in (5, 5, 1, 20, 3)]
    assert [[ref.rows for ref in group] for group in parts(refs, 10)] == [[5, 5], [1, 20], [3]]
    assert list(parts([])) == []


def test_rank() -> None:
    def rank(second: int, batch: str, history: int, day: int = 3) -> Rank:
        return Rank(date(2024, 1, day), datetime(2024, 1, 9, 0, 0, second), batch, history)

    ours = rank(5, "b", 10)
    assert rank(6, "a", 9).goes_before(ours)
    assert rank(5, "c", 10).goes_before(ours)
    assert rank(4, "a", 11).goes_before(ours)
    assert not rank(4, "c", 10).goes_before(ours)
    assert rank(1, "a", 9, day=4).goes_before(ours)
    assert not rank(9, "z", 10, day=2).goes_before(ours)
    assert not ours.goes_before(ours)


STAGES = ("fetch-historical", "consume-historical", "validate-raw", "daily-analytics", "load-warehouse")


def records(**changes: dict[str, Any]) -> dict[str, StageRecord]:
    def one(stage: str) -> StageRecord:
        values: dict[str, Any] = {
            "stage": stage, "run_id": "r", "batch_id": "r", "batch_date": date(2024, 1, 3), "source": Source.YAHOO,
            "rows_in": 3, "rows_out": 3, "quarantined": 0, "symbols": {"A": SymbolResult(rows=3, checksum="c")},
            "started_at": AT, "finished_at": AT, "code_version": "v",
        }  # fmt: skip
        return StageRecord(**(values | changes.get(stage.replace("-", "_"), {})))

    return {stage: one(stage) for stage in STAGES}


def symbol(**values: Any) -> dict[str, SymbolResult]:
    return {"A": SymbolResult(**({"rows": 3, "checksum": "c"} | values))}


def test_records_that_agree() -> None:
    superseded = {"rows_out": 1, "symbols": symbol(rows=1, superseded=2, checksum="other")}
    refused = {"rows_in": 4, "quarantined": 1, "symbols": symbol(quarantined=1)}
    assert list(record_faults(records())) == []
    assert list(record_faults(records(load_warehouse=superseded, fetch_historical=refused))) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"fetch_historical": {"rows_in": 5, "quarantined": 1}},
         "fetch-historical: 5 rows in, but 3 out + 1 quarantined"),
        ({"load_warehouse": {"rows_out": 1, "symbols": symbol(rows=1, superseded=1)}},
         "load-warehouse: 3 rows in, but 1 out + 0 quarantined + 1 superseded"),
        ({"consume_historical": {"rows_out": 2, "rows_in": 2}}, "consume-historical: 2 rows out, but 3 by symbol"),
        ({"fetch_historical": {"symbols": symbol(quarantined=2)}},
         "fetch-historical: 0 rows quarantined, but 2 by symbol"),
        ({"daily_analytics": {"batch_id": "q"}}, "daily-analytics: batch_id is q, that of fetch-historical r"),
        ({"daily_analytics": {"symbols": symbol(checksum="d")}},
         "daily-analytics A: another checksum over its 3 rows than consume-historical"),
        ({"consume_historical": {"symbols": {}, "rows_in": 0, "rows_out": 0}},
         "consume-historical A: not in its record, but in that of fetch-historical"),
        ({"consume_historical": {"symbols": symbol(rows=2), "rows_in": 2, "rows_out": 2}},
         "consume-historical A: 2 rows, fetch-historical had 3"),
    ],
)  # fmt: skip
def test_records_that_disagree(changes: dict[str, dict[str, Any]], fault: str) -> None:
    assert next(iter(record_faults(records(**changes)))) == fault
