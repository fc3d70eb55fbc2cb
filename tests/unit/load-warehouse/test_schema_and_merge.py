"""The statements themselves: what the DDL says, and what becomes of rows, run on DuckDB by fakesnow."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from fakesnow.instance import FakeSnow

from load_warehouse.merge import append, count, fates, mirror, remove, remove_others, unlike, withdraw
from load_warehouse.schema import (
    ACTIONS,
    ADJUSTED_PRICES,
    AUDIT,
    BARS,
    DAILY,
    LIVE_BARS,
    WINDOWS,
    Table,
    create_table,
    create_view,
    literal,
)
from load_warehouse.session import is_snowflake
from load_warehouse.staging import copy_into
from ticklake.records import Source
from ticklake.warehouse_tables import schema_of

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
    assert "KNOWN_AT TIMESTAMP_NTZ(6) NOT NULL" in statement
    assert "SMA_200 FLOAT COMMENT" in statement
    assert statement.count(" COMMENT ") == len(DAILY.columns) + 1
    assert "PRIMARY KEY (SYMBOL, SOURCE, SESSION_DATE)" in statement
    assert "WITHDRAWN BOOLEAN NOT NULL" in create_table(T, ACTIONS)
    cursor.execute(statement)
    cursor.execute(
        "SELECT COLUMN_NAME, IS_NULLABLE FROM DB.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'T' "
        "ORDER BY ORDINAL_POSITION"
    )
    assert cursor.fetchall() == [(c.name.upper(), "YES" if c.nullable else "NO") for c in DAILY.columns]


@pytest.mark.parametrize("table", [BARS, ACTIONS, WINDOWS, LIVE_BARS, AUDIT], ids=lambda table: table.name)
def test_the_other_tables_can_be_created_twice(cursor: Any, table: Table) -> None:
    for _ in range(2):
        cursor.execute(create_table(T, table))


def test_the_view_has_the_prices_of_its_table(cursor: Any) -> None:
    cursor.execute(create_table("DB.MARKET.DAILY_ANALYTICS", DAILY))
    for _ in range(2):
        cursor.execute(create_view("DB.MARKET", ADJUSTED_PRICES))
    insert(cursor, DAILY, "DB.MARKET.DAILY_ANALYTICS", close="2.5", adj_close="2.25")
    cursor.execute("SELECT * FROM DB.MARKET.ADJUSTED_PRICES")
    assert [column.name for column in cursor.description] == [name for name, _ in ADJUSTED_PRICES.columns]
    (row,) = cursor.fetchall()
    assert dict(zip([column.name for column in cursor.description], row, strict=True))["ADJ_CLOSE"] == 2.25
    statement = create_view("DB.MARKET", ADJUSTED_PRICES)
    assert "SYMBOL COMMENT 'Ticker in Yahoo''s notation'" in statement
    assert statement.count(" COMMENT ") == len(ADJUSTED_PRICES.columns) + 1


def test_literals_cannot_be_left() -> None:
    assert literal("a'b\\") == "'a''b\\\\'"


def test_only_real_market_data_goes_to_the_real_schema() -> None:
    assert {source: schema_of(source) for source in Source} == {
        Source.YAHOO: "MARKET",
        Source.ALPHA_VANTAGE: "MARKET",
        Source.REPLAY: "MARKET_TEST",
        Source.SIMULATED: "MARKET_TEST",
    }


def test_only_what_differs_is_replaced(cursor: Any) -> None:
    # A row for each column, which alone differs there; long statements for them all, as they take fakesnow long.
    rows = sorted(DAILY.compared)
    for where in (T, S):
        cursor.execute(create_table(where, DAILY))
        for row in (*rows, "THE SAME"):
            insert(cursor, DAILY, where, symbol=row)
        cursor.execute(f"UPDATE {where} SET SMA_200 = NULL")
    cursor.execute(mirror(T, S, DAILY))
    assert cursor.fetchall() == [(0, 0)]
    for column in rows:
        kind = next(c.type for c in DAILY.columns if c.name.upper() == column)
        value = {"string": "'y'", "timestamp": "'2024-01-03 00:00:00'", "date": "'2024-01-03'"}.get(kind, "3")
        cursor.execute(f"UPDATE {S} SET {column} = {value} WHERE SYMBOL = '{column}'")
    cursor.execute(unlike(T, S, DAILY))
    assert [row[0] for row in cursor.fetchall()] == rows[:1]
    cursor.execute(unlike(T, S, DAILY).removesuffix(" LIMIT 1"))
    assert [row[0] for row in cursor.fetchall()] == rows
    cursor.execute(mirror(T, S, DAILY))
    assert cursor.fetchall() == [(0, len(rows))]
    cursor.execute(unlike(T, S, DAILY))
    assert cursor.fetchall() == []
    cursor.execute(f"SELECT * FROM {S} EXCEPT SELECT * FROM {T}")
    assert cursor.fetchall() == []
    # Recomputed to the same values: the row keeps what last changed it.
    cursor.execute(f"UPDATE {S} SET KNOWN_AT = '2030-01-01', FACT_VERSIONS = 99, BATCH_ID = 'z'")
    cursor.execute(mirror(T, S, DAILY))
    assert cursor.fetchall() == [(0, 0)]


def test_rows_of_staged_symbols_that_are_not_staged_go(cursor: Any) -> None:
    for where in (T, S):
        cursor.execute(create_table(where, DAILY))
    for symbol, source, day in (
        ("A", "x", "2024-01-01"),
        ("A", "x", "2024-01-02"),
        ("A", "y", "2024-01-02"),
        ("B", "x", "2024-01-02"),
    ):
        insert(cursor, DAILY, T, symbol=symbol, source=source, session_date=day)
    insert(cursor, DAILY, S, symbol="A", source="x", session_date="2024-01-01")
    cursor.execute(count(T, S))
    assert cursor.fetchall() == [(2,)]
    cursor.execute(withdraw(T, S, DAILY))
    cursor.execute(f"SELECT SYMBOL, SOURCE, SESSION_DATE FROM {T} ORDER BY 1, 2")
    day = date(2024, 1, 2)
    assert cursor.fetchall() == [("A", "x", date(2024, 1, 1)), ("A", "y", day), ("B", "x", day)]


def test_facts_are_only_added(cursor: Any) -> None:
    for where in (T, S):
        cursor.execute(create_table(where, BARS))
    insert(cursor, BARS, T, change="first", close="1")
    insert(cursor, BARS, S, change="revision", close="1")
    insert(cursor, BARS, S, change="revision", close="2", batch_id="y")
    insert(cursor, BARS, S, change="first", close="3", session_date="2024-01-02")
    cursor.execute(fates(T, S, BARS))
    assert sorted(cursor.fetchall()) == [("new", 1), ("revised", 1)]
    cursor.execute(append(T, S, BARS))
    assert cursor.fetchall() == [(2,)]
    cursor.execute(f"SELECT BATCH_ID, SESSION_DATE, CLOSE, CHANGE FROM {T} ORDER BY 1, 2")
    days = date(2024, 1, 1), date(2024, 1, 2)
    assert cursor.fetchall() == [
        ("x", days[0], 1.0, "first"),
        ("x", days[1], 3.0, "first"),
        ("y", days[0], 2.0, "revision"),
    ]
    cursor.execute(unlike(T, S, BARS))
    assert cursor.fetchall() == []
    cursor.execute(f"UPDATE {S} SET CLOSE = 5 WHERE BATCH_ID = 'y'")
    cursor.execute(unlike(T, S, BARS))
    assert [row[:3] for row in cursor.fetchall()] == [("x", "x", days[0])]


def test_what_a_version_of_an_action_is(cursor: Any) -> None:
    for where in (T, S):
        cursor.execute(create_table(where, ACTIONS))
    for day, hour, withdrawn in (("1", "01", "0"), ("1", "02", "0"), ("1", "03", "1"), ("2", "03", "0")):
        at = f"2024-01-09 {hour}:00:00"
        insert(cursor, ACTIONS, S, ex_date=f"2024-01-0{day}", known_at=at, withdrawn=withdrawn)
    cursor.execute(fates(T, S, ACTIONS))
    assert sorted(cursor.fetchall()) == [("new", 2), ("revised", 1), ("withdrawn", 1)]


def test_a_window_that_was_computed_anew_takes_the_place_of_what_it_was(cursor: Any) -> None:
    for where, price in ((T, "1"), (S, "2")):
        cursor.execute(create_table(where, WINDOWS))
        insert(cursor, WINDOWS, where, close=price)
    insert(cursor, WINDOWS, T, close="1", symbol="AS BEFORE")
    for symbol in ("AS BEFORE", "NEW"):
        insert(cursor, WINDOWS, S, close="1", symbol=symbol)
    cursor.execute(mirror(T, S, WINDOWS))
    assert cursor.fetchall() == [(1, 1)]
    assert closes(cursor) == [("AS BEFORE", 1.0), ("NEW", 1.0), ("x", 2.0)]


def closes(cursor: Any) -> list[tuple[str, float]]:
    cursor.execute(f"SELECT SYMBOL, CLOSE FROM {T} ORDER BY 1")
    return list(cursor.fetchall())


def test_rows_that_are_gone_from_the_lake(cursor: Any) -> None:
    for where, symbols in ((T, "ABC"), (S, "BX")):
        cursor.execute(create_table(where, LIVE_BARS))
        for symbol in symbols:
            insert(cursor, LIVE_BARS, where, symbol=symbol)
    insert(cursor, LIVE_BARS, T, symbol="B", flow="other")
    cursor.execute(remove(T, S, LIVE_BARS))
    assert cursor.fetchall() == [(1,)]
    assert closes(cursor) == [("A", 1.0), ("B", 1.0), ("C", 1.0)]
    insert(cursor, LIVE_BARS, S, symbol="C")
    cursor.execute(remove_others(T, S, LIVE_BARS), ("x",))
    assert closes(cursor) == [("B", 1.0), ("C", 1.0)]
    cursor.execute(remove_others(T, None, LIVE_BARS), ("x",))
    assert closes(cursor) == [("B", 1.0)]


def test_snowflake_itself_reads_parquet_by_its_vectorized_scanner() -> None:
    """The local server does not know the option."""
    here, there = (copy_into(T, "@DB.MARKET.%S", vectorized=vectorized) for vectorized in (False, True))
    assert there == (
        "COPY INTO DB.MARKET.T FROM @DB.MARKET.%S "
        "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE USE_VECTORIZED_SCANNER = TRUE) "
        "MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE PURGE = TRUE"
    )
    assert here == there.replace(" USE_VECTORIZED_SCANNER = TRUE", "")


@pytest.mark.parametrize(
    ("host", "snowflake"),
    [
        ("ab-cd.snowflakecomputing.com", True),
        ("ab-cd.privatelink.snowflakecomputing.com", True),
        ("ab-cd.snowflakecomputing.cn", True),
        ("127.0.0.1", False),
        ("warehouse.example.com", False),
    ],
)
def test_what_is_snowflake_itself(host: str, snowflake: bool) -> None:
    assert is_snowflake(host) is snowflake
