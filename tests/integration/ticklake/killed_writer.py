"""One write to a table, by a process that is killed at a chosen point of it."""

import itertools
import os
import signal
from typing import Any

import pyarrow as pa
from sqlalchemy import event
from sqlalchemy.orm import Session

from ticklake.catalog import LakeTables, StoreFileIO, matching
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import Column, IcebergTable, arrow_schema

PLAIN = IcebergTable(
    "plain", (Column("symbol", "string", "", nullable=False), Column("price", "double", "")), ("symbol",), "A table"
)  # fmt: skip


def row(symbol: str, price: float) -> pa.Table:
    """One row of `PLAIN`."""
    return pa.Table.from_pylist([{"symbol": symbol, "price": price}], arrow_schema(PLAIN.columns))


def append(tables: LakeTables, number: int, *, looks: bool = True) -> None:
    """Add a row, as a stage does that is tried again; without looking whether it is there: a bug."""
    symbol = f"S{number}"

    def missing(snapshot: int | None) -> pa.Table:
        there = tables.read("market", PLAIN, matching(symbol=[symbol]), snapshot=snapshot)
        return row(symbol, 1.0).slice(0, 0) if looks and there.num_rows else row(symbol, 1.0)

    tables.append("market", PLAIN, "run", missing)


def careless(tables: LakeTables, number: int) -> None:
    """The bug."""
    append(tables, number, looks=False)


def replace(tables: LakeTables, number: int) -> None:
    """Put a row in the place of the one of the number before."""
    tables.replace("market", PLAIN, "run", row("R", float(number)), matching(symbol=["R"]))


WRITES = {"append": append, "careless": careless, "replace": replace}


def write_and_die(name: str, number: int, point: int, catalog: CatalogSettings, store: StoreSettings) -> None:
    """Do the write and be killed at its `point`-th: before a file, within it, before a transaction, after it."""
    points = itertools.count(1)

    def reached(*_: Any) -> None:
        if next(points) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    new_output = StoreFileIO.new_output

    def output(self: StoreFileIO, location: str) -> Any:
        reached()
        file = new_output(self, location)
        create = file.create

        def created(*arguments: Any, **options: Any) -> Any:
            stream = create(*arguments, **options)
            reached()
            return stream

        file.create = created  # type: ignore[method-assign]
        return file

    StoreFileIO.new_output = output  # type: ignore[method-assign]
    event.listen(Session, "before_commit", reached)
    event.listen(Session, "after_commit", reached)
    WRITES[name](LakeTables(catalog, store), number)
