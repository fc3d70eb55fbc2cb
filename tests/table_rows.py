"""Rows of any table of the lake, and what the tests look at in one."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyiceberg.table import Table

from ticklake.catalog import LakeTables
from ticklake.tables import Column, IcebergTable, arrow_schema

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
DAY = NOON.date()


def rows_of(table: IcebergTable, numbers: Iterable[int], **same: Any) -> pa.Table:
    """A row for each number, told apart by it in every column but those given, windows' length and ticks' day."""
    same = {"window_length": "15m", "event_date": DAY, "bar_date": DAY} | same

    def value(column: Column, number: int) -> Any:
        if column.name in same:
            return same[column.name]
        return {
            "string": f"{column.name} {number}", "date": date(2000, 1, 1) + timedelta(days=number),
            "timestamp": NOON + timedelta(seconds=number), "double": number / 7, "bigint": number * 1000,
            "int": number, "boolean": bool(number % 2),
        }[column.type]  # fmt: skip

    rows = [{column.name: value(column, number) for column in table.columns} for number in numbers]
    return pa.Table.from_pylist(rows, arrow_schema(table.columns))


def content(tables: LakeTables, namespace: str, table: IcebergTable, snapshot: int | None = None) -> list[str]:
    """All rows of a snapshot, every bit of them, in an order of their own."""
    return sorted(map(repr, tables.read(namespace, table, snapshot=snapshot).to_pylist()))


def opened(tables: LakeTables, namespace: str, table: IcebergTable) -> Table:
    """PyIceberg's table."""
    found = tables.commit("look at", namespace, table, lambda there: there)
    assert found is not None
    return found


def file_names(tables: LakeTables, namespace: str, table: IcebergTable) -> set[str]:
    """Data files of the current snapshot."""
    return {task.file.file_path for task in opened(tables, namespace, table).scan().plan_files()}
