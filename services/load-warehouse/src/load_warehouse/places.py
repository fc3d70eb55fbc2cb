"""The rows of a batch as each place stores them, and what each one hashes to now.

Hashes are recomputed from the stored values; the hash that stands beside a row is only compared with that.
"""
# ruff: noqa: S608 - identifiers are this package's own and the checked database name; values are parameters

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from load_warehouse.merge import BAR_VALUES
from load_warehouse.session import Session
from ticklake.errors import IntegrityError
from ticklake.records import batch_checksum, row_hash
from ticklake.tables import TICKER

_BAR = tuple(name.lower() for name in BAR_VALUES)
_STORED = ("batch_id", "row_hash")
_CONVERTERS: tuple[Any, ...] = (
    str, date.fromisoformat, float, float, float, float, float, int, float, float, str, str, str
)  # fmt: skip


@dataclass
class Rows:
    """One symbol's rows in one place."""

    hashes: dict[date, str] = field(default_factory=dict)
    """Row hash by session."""
    faults: list[str] = field(default_factory=list)
    """What is wrong within the place itself."""

    @property
    def checksum(self) -> str:
        """Over the row hashes in session order."""
        return batch_checksum(self.hashes[day] for day in sorted(self.hashes))

    def add(self, values: tuple[Any, ...], batch_id: str) -> None:
        """Take one row: the bar's values, its batch and the hash that is stored with it."""
        *bar, batch, stored = values
        day = bar[1]
        if day in self.hashes:
            self.faults.append(f"{day} is there twice")
        if batch != batch_id:
            self.faults.append(f"{day} is of batch {batch}")
        self.hashes[day] = row_hash(*bar)
        if stored != self.hashes[day]:
            self.faults.append(f"{day} does not have the values that its row_hash was made from")


def csv_rows(body: bytes, batch_id: str) -> dict[str, Rows]:
    """Rows of one raw CSV by symbol.

    Raises:
        IntegrityError: a column is missing or a value cannot be read.
    """
    found: dict[str, Rows] = {}
    reader = csv.reader(io.StringIO(body.decode("utf-8"), newline=""))
    header = next(reader, [])
    try:
        pick = itemgetter(*(header.index(name) for name in _BAR + _STORED))
        for line in reader:
            values = tuple(convert(text) for convert, text in zip(_CONVERTERS, pick(line), strict=True))
            found.setdefault(values[0], Rows()).add(values, batch_id)
    except (ValueError, IndexError) as error:
        raise IntegrityError(f"not readable as raw daily CSV: line {reader.line_num}: {error}") from error
    return found


def parquet_rows(body: bytes, batch_id: str) -> dict[str, Rows]:
    """Rows of one object of the daily analytics by symbol.

    Raises:
        IntegrityError: it is no Parquet or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[str, Rows] = {}
    try:
        columns = [TICKER, *_BAR[1:], *_STORED]
        table = pq.ParquetFile(pa.BufferReader(body)).read(columns=columns).select(columns)
        for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
            found.setdefault(values[0], Rows()).add(values, batch_id)
    except (pa.ArrowException, KeyError, OSError, ValueError, TypeError) as error:
        raise IntegrityError(f"not readable as daily analytics: {error}") from error
    return found


def warehouse_rows(session: Session, table: str, batch_id: str) -> Iterator[tuple[str, Rows]]:
    """Rows of one batch in the warehouse, symbol by symbol in order."""
    columns = ", ".join(name.upper() for name in _BAR + _STORED)
    rows = session.rows(f"SELECT {columns} FROM {table} WHERE BATCH_ID = %s ORDER BY SYMBOL, SESSION_DATE", (batch_id,))
    for symbol, group in groupby(rows, key=itemgetter(0)):
        found = Rows()
        for values in group:
            found.add(values, batch_id)
        yield symbol, found


@dataclass(frozen=True)
class Rank:
    """What decides which of two rows of one session goes before the other."""

    batch_date: date
    fetched_at: datetime
    """UTC, without a zone."""
    batch_id: str
    history_sessions: int

    def goes_before(self, other: "Rank") -> bool:
        """Whether this row, being in the warehouse, rightly keeps `other` out."""
        own, others = ((r.batch_date, r.fetched_at, r.batch_id) for r in (self, other))
        return own > others or self.history_sessions > other.history_sessions


def parquet_ranks(body: bytes, symbol: str) -> dict[date, Rank]:
    """The ranks of one symbol's rows in an object of the daily analytics."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [TICKER, "session_date", "batch_date", "fetched_at", "batch_id", "history_sessions"]
    table = pq.ParquetFile(pa.BufferReader(body)).read(columns=columns).select(columns)
    table = table.set_column(3, "fetched_at", table.column("fetched_at").cast(pa.timestamp("us")))
    return {
        day: Rank(*rank)
        for ticker, day, *rank in zip(*(column.to_pylist() for column in table.columns), strict=True)
        if ticker == symbol
    }


def other_ranks(session: Session, table: str, batch_id: str, symbol: str) -> dict[date, Rank]:
    """The ranks of a symbol's rows in the warehouse that are of other batches."""
    found = session.rows(
        f"SELECT SESSION_DATE, BATCH_DATE, FETCHED_AT, BATCH_ID, HISTORY_SESSIONS FROM {table} "
        "WHERE SYMBOL = %s AND BATCH_ID <> %s",
        (symbol, batch_id),
    )
    return {day: Rank(dated, fetched_at, batch, int(history)) for day, dated, fetched_at, batch, history in found}
