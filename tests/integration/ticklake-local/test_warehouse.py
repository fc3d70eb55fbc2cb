"""The warehouse, run for real and asked with Snowflake's own connector."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import snowflake.connector

from load_warehouse.session import connection_arguments
from ticklake_local.processes import free_port, port_in_use
from ticklake_local.warehouse import Warehouse, local_settings


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    warehouse = Warehouse(tmp_path / "warehouse", tmp_path / "logs", free_port())
    warehouse.start()
    warehouse.wait_ready()
    yield warehouse
    warehouse.stop()


def connect(warehouse: Warehouse, **more: Any) -> Any:
    arguments = connection_arguments(local_settings(warehouse.port), "test") | {"validate_default_parameters": False}
    return snowflake.connector.connect(**(arguments | {"database": "TICKLAKE", "schema": "MARKET"} | more))


def rows(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    with connect(warehouse) as connection, connection.cursor() as cursor:
        return list(cursor.execute(query).fetchall())


def fill(warehouse: Warehouse) -> None:
    with connect(warehouse) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bars (symbol VARCHAR, close FLOAT)")
        cursor.execute("INSERT INTO bars VALUES ('AAPL', 1.5), ('MSFT', 2.5)")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_rows_survive_a_restart(warehouse: Warehouse, tmp_path: Path, end: str) -> None:
    fill(warehouse)
    if end == "kill":
        assert warehouse.child is not None
        psutil.Process(warehouse.child.pid).kill()
    warehouse.stop()
    assert not port_in_use(warehouse.port)
    again = Warehouse(tmp_path / "warehouse", tmp_path / "logs", warehouse.port)
    again.start()
    try:
        again.wait_ready()
        assert rows(again, "SELECT symbol, close FROM bars ORDER BY symbol") == [("AAPL", 1.5), ("MSFT", 2.5)]
    finally:
        again.stop()


def test_connections_share_one_database_while_both_are_open(warehouse: Warehouse) -> None:
    fill(warehouse)
    with connect(warehouse) as one, connect(warehouse) as two:
        one.cursor().execute("INSERT INTO bars VALUES ('V', 3.5)")
        assert two.cursor().execute("SELECT COUNT(*) FROM bars").fetchone() == (3,)
        two.cursor().execute("DELETE FROM bars WHERE symbol = 'V'")
        assert one.cursor().execute("SELECT COUNT(*) FROM bars").fetchone() == (2,)


def test_readers_beside_a_writer(warehouse: Warehouse) -> None:
    fill(warehouse)

    def read(_: int) -> int:
        return int(rows(warehouse, "SELECT COUNT(*) FROM bars")[0][0])

    with connect(warehouse) as writer, ThreadPoolExecutor(4) as pool:
        counts = pool.map(read, range(12))
        for number in range(10):
            writer.cursor().execute(f"INSERT INTO bars VALUES ('S{number}', 1)")
        assert all(2 <= count <= 12 for count in counts)
    assert read(0) == 12


def test_uncommitted_work_is_undone_by_a_kill(warehouse: Warehouse, tmp_path: Path) -> None:
    fill(warehouse)
    connection = connect(warehouse)
    connection.cursor().execute("BEGIN")
    connection.cursor().execute("DELETE FROM bars")
    assert warehouse.child is not None
    psutil.Process(warehouse.child.pid).kill()
    warehouse.stop()
    warehouse.start()
    warehouse.wait_ready()
    assert rows(warehouse, "SELECT COUNT(*) FROM bars") == [(2,)]


def test_put_copy_and_merge(warehouse: Warehouse, tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_text("AAPL,9.5\nV,3.5\n")
    fill(warehouse)
    with connect(warehouse) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE STAGE loads")
        cursor.execute(f"PUT file://{file} @loads AUTO_COMPRESS=FALSE")
        cursor.execute("CREATE TABLE staging (symbol VARCHAR, close FLOAT)")
        cursor.execute("COPY INTO staging FROM @loads/bars.csv FILE_FORMAT = (TYPE = CSV)")
        # Not BEGIN: fakesnow cannot make a MERGE's helper table within an explicit transaction.
        connection.autocommit(False)
        cursor.execute(
            "MERGE INTO bars USING staging ON bars.symbol = staging.symbol "
            "WHEN MATCHED THEN UPDATE SET close = staging.close "
            "WHEN NOT MATCHED THEN INSERT (symbol, close) VALUES (staging.symbol, staging.close)"
        )
        connection.commit()
    assert rows(warehouse, "SELECT symbol, close FROM bars ORDER BY 1") == [("AAPL", 9.5), ("MSFT", 2.5), ("V", 3.5)]
    assert any((warehouse.data_dir / "stages").rglob("bars.csv"))  # nowhere else


def test_stop_is_quick_and_clean_with_an_open_connection(warehouse: Warehouse) -> None:
    fill(warehouse)
    connection = connect(warehouse)
    connection.cursor().execute("SELECT 1")
    begun = time.monotonic()
    warehouse.stop()
    assert time.monotonic() - begun < 8
    assert not list((warehouse.data_dir / "databases").glob("*.wal"))


def test_only_loopback_listens(warehouse: Warehouse) -> None:
    assert warehouse.child is not None
    listening = [
        connection.laddr
        for connection in psutil.Process(warehouse.child.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", warehouse.port)]
