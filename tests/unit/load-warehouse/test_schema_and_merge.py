"""The statements themselves: what the DDL says, and which of two rows the MERGE keeps, run on DuckDB by fakesnow."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from fakesnow.instance import FakeSnow

from load_warehouse.merge import merge_daily, merge_windows
from load_warehouse.schema import AUDIT, DAILY, LEDGER, WINDOWS, Table, create_table, literal, schema_of
from ticklake.records import Source
from ticklake.tables import DAILY_COLUMNS

T, S = "DB.MARKET.T", "DB.MARKET.S"


@pytest.fixture
def cursor() -> Iterator[Any]:
    connection = FakeSnow().connect("DB", "MARKET", autocommit=True)
    with connection:
        yield connection.cursor()


def insert(cursor: Any, table: Table, where: str, **values: str) -> None:
    kinds = {"string": "'x'", "date": "'2024-01-01'", "timestamp": "'2024-01-02 00:00:00'"}
    row = [f"'{values[c.name]}'" if c.name in values else kinds.get(c.type, "1") for c in table.columns]
    cursor.execute(f"INSERT INTO {where} VALUES ({', '.join(row)})")


def test_every_column_is_typed_documented_and_in_order(cursor: Any) -> None:
    statement = create_table(T, DAILY)
    assert "SYMBOL VARCHAR NOT NULL COMMENT 'Ticker in Yahoo''s notation'" in statement
    assert "SESSION_DATE DATE NOT NULL" in statement
    assert "ADJ_CLOSE FLOAT NOT NULL" in statement
    assert "VOLUME NUMBER(19,0) NOT NULL" in statement
    assert "FETCHED_AT TIMESTAMP_NTZ(6) NOT NULL" in statement
    assert "SMA_200 FLOAT COMMENT" in statement
    assert statement.count(" COMMENT ") == len(DAILY_COLUMNS) + 1
    assert "PRIMARY KEY (SYMBOL, SESSION_DATE)" in statement
    cursor.execute(statement)
    cursor.execute(
        "SELECT COLUMN_NAME, IS_NULLABLE FROM DB.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'T' "
        "ORDER BY ORDINAL_POSITION"
    )
    assert cursor.fetchall() == [(c.name.upper(), "YES" if c.nullable else "NO") for c in DAILY_COLUMNS]


@pytest.mark.parametrize("table", [WINDOWS, AUDIT, LEDGER], ids=lambda table: table.name)
def test_the_other_tables_can_be_created_twice(cursor: Any, table: Table) -> None:
    for _ in range(2):
        cursor.execute(create_table(T, table))


def test_literals_cannot_be_left() -> None:
    assert literal("a'b\\") == "'a''b\\\\'"


def test_only_real_market_data_goes_to_the_real_schema() -> None:
    assert {source: schema_of(source) for source in Source} == {
        Source.YAHOO: "MARKET", Source.ALPHA_VANTAGE: "MARKET",
        Source.REPLAY: "MARKET_TEST", Source.SIMULATED: "MARKET_TEST",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("there", "comes", "replaced"),
    [
        # (fetched at, batch, sessions of history)
        (("10:00:00.000", "a", 5), ("10:00:00.001", "b", 5), True),
        (("10:00:00.001", "b", 5), ("10:00:00.000", "a", 5), False),
        (("10:00:00.000", "a", 5), ("10:00:00.000", "a", 5), True),
        (("10:00:00.000", "a", 5), ("10:00:00.000", "a", 6), True),
        (("10:00:00.000", "a", 6), ("10:00:00.000", "a", 5), False),
        (("10:00:00.000", "a", 6), ("10:00:00.001", "b", 5), False),
        (("10:00:00.001", "b", 5), ("10:00:00.000", "a", 6), False),
        (("10:00:00.000", "a", 5), ("10:00:00.000", "b", 5), True),
        (("10:00:00.000", "b", 5), ("10:00:00.000", "a", 5), False),
    ],
)
def test_which_row_goes_before(
    cursor: Any, there: tuple[str, str, int], comes: tuple[str, str, int], replaced: bool
) -> None:
    for where, row, price in ((T, there, "1"), (S, comes, "2")):
        cursor.execute(create_table(where, DAILY))
        day_time = f"2024-01-02 {row[0]}"
        insert(cursor, DAILY, where, fetched_at=day_time, batch_id=row[1], history_sessions=str(row[2]), close=price)
    cursor.execute(merge_daily(T, S))
    assert cursor.fetchall() == [(0, int(replaced))]
    cursor.execute(f"SELECT CLOSE, BATCH_ID, HISTORY_SESSIONS, FETCHED_AT FROM {T}")
    kept = comes if replaced else there
    at = datetime.fromisoformat(f"2024-01-02T{kept[0]}")
    assert cursor.fetchall() == [(2.0 if replaced else 1.0, kept[1], kept[2], at)]


def test_an_equal_row_is_left_alone(cursor: Any) -> None:
    for where in (T, S):
        cursor.execute(create_table(where, DAILY))
        insert(cursor, DAILY, where)
    cursor.execute(f"UPDATE {T} SET SMA_200 = NULL")
    cursor.execute(f"UPDATE {S} SET SMA_200 = NULL")
    cursor.execute(merge_daily(T, S))
    assert cursor.fetchall() == [(0, 0)]
    cursor.execute(f"UPDATE {S} SET SMA_200 = 3")  # null and a number differ
    cursor.execute(merge_daily(T, S))
    assert cursor.fetchall() == [(0, 1)]


def test_a_final_window_is_never_replaced(cursor: Any) -> None:
    for where, price in ((T, "1"), (S, "2")):
        cursor.execute(create_table(where, WINDOWS))
        insert(cursor, WINDOWS, where, close=price)
    insert(cursor, WINDOWS, S, close="3", symbol="OTHER")
    cursor.execute(merge_windows(T, S))
    cursor.execute(f"SELECT SYMBOL, CLOSE FROM {T} ORDER BY 1")
    assert cursor.fetchall() == [("OTHER", 3.0), ("x", 1.0)]
