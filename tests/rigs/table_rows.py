"""Rows of any table of the lake, and what the tests look at in one."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyiceberg.table import Table

from ticklake.catalog import LakeTables, matching
from ticklake.tables import Column, IcebergTable, arrow_schema

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
DAY = NOON.date()
_ROWS = 4
"""Of one write."""

Write = Callable[[int], None]
"""The write of a number; a second one of the same number changes nothing."""


def rows_of(table: IcebergTable, numbers: Iterable[int], **same: Any) -> pa.Table:
    """A row for each number, distinguished by it in every column but those given, windows' length and ticks' day."""
    same = {"window_length": "15m", "event_date": DAY, "bar_date": DAY} | same

    def value(column: Column, number: int) -> Any:
        if column.name in same:
            return same[column.name]
        return {
            "string": f"{column.name} {number}",
            "date": date(2000, 1, 1) + timedelta(days=number),
            "timestamp": NOON + timedelta(seconds=number),
            "double": number / 7,
            "bigint": number * 1000,
            "int": number,
            "boolean": bool(number % 2),
        }[column.type]

    rows = [{column.name: value(column, number) for column in table.columns} for number in numbers]
    return pa.Table.from_pylist(rows, arrow_schema(table.columns))


def batch_of(table: IcebergTable, number: int) -> pa.Table:
    """What `appending` adds."""
    return rows_of(table, range(number * _ROWS, (number + 1) * _ROWS), symbol="A", batch_id=f"batch-{number}")


def state_of(table: IcebergTable, number: int) -> pa.Table:
    """What `replacing` leaves."""
    return rows_of(table, range(number * _ROWS, (number + 1) * _ROWS), symbol="B", flow="")


def appending(tables: LakeTables, table: IcebergTable, *, looks: bool = True) -> Write:
    """Appends the rows of a batch that are not there, as a stage does that is tried again.

    One that does not look whether they are there is a bug.
    """

    def write(number: int) -> None:
        batch, rows = f"batch-{number}", batch_of(table, number)

        def missing(snapshot: int | None) -> pa.Table:
            there = tables.read("market", table, matching(batch_id=[batch]), snapshot=snapshot)
            return rows.slice(0, 0) if looks and there.num_rows else rows

        tables.append("market", table, batch, missing)

    return write


def replacing(tables: LakeTables, table: IcebergTable) -> Write:
    """Puts a symbol's rows in the place of those of the number before."""

    def write(number: int) -> None:
        tables.replace("market", table, f"run-{number}", state_of(table, number), matching(symbol=["B"]))

    return write


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
