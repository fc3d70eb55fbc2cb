"""The rows of a batch and of its symbols' history as each place stores them.

Hashes are recomputed from the stored values; the hash that is stored with a row is only compared with that.
"""
# ruff: noqa: S608 - identifiers are this package's own and the checked database name; values are parameters

import csv
import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from load_warehouse.merge import of_symbols
from load_warehouse.parquet import for_warehouse
from load_warehouse.schema import Table
from load_warehouse.session import Session
from ticklake import facts
from ticklake.errors import IntegrityError
from ticklake.records import batch_checksum, row_hash

if TYPE_CHECKING:
    import pyarrow as pa

Key = tuple[Any, ...]

_BAR = (
    "symbol",
    "session_date",
    "open",
    "high",
    "low",
    "close",
    "adj_close",
    "volume",
    "dividends",
    "stock_splits",
    "source",
)
"""The arguments of `ticklake.records.row_hash`, in order."""
_STORED = ("batch_id", "row_hash")
_CONVERTERS: tuple[Any, ...] = (
    str,
    date.fromisoformat,
    float,
    float,
    float,
    float,
    float,
    int,
    float,
    float,
    str,
    str,
    str,
)


@dataclass
class Rows:
    """One symbol's rows of a raw CSV."""

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


@dataclass
class Stored:
    """One symbol's rows of a table, in the lake or in the warehouse: the columns that are compared."""

    rows: dict[Key, tuple[Any, ...]] = field(default_factory=dict)
    """By key, less symbol and source: the day comes first."""
    twice: list[Key] = field(default_factory=list)
    batches: set[str] = field(default_factory=set)
    """Of the lake's rows, those that brought them."""


def lake_rows(found: "pa.Table", table: Table) -> dict[str, Stored]:
    """Rows of a table of the lake by symbol, as the warehouse would hold them."""
    columns = for_warehouse(found, table.columns).select([*table.key, *table.compared])
    stored = _by_symbol(zip(*(column.to_pylist() for column in columns.columns), strict=True), table)
    for entry in found.group_by(["symbol", "batch_id"]).aggregate([]).to_pylist():
        stored[entry["symbol"]].batches.add(entry["batch_id"])
    return stored


def warehouse_rows(
    session: Session, schema: str, table: Table, symbols: Collection[str], source: str
) -> dict[str, Stored]:
    """Rows of a table of the warehouse by symbol.

    Args:
        schema: with its database.
    """
    where, values = of_symbols(symbols, source)
    columns = ", ".join((*table.key, *table.compared))
    return _by_symbol(session.rows(f"SELECT {columns} FROM {schema}.{table.name} WHERE {where}", values), table)


def _by_symbol(rows: Iterable[tuple[Any, ...]], table: Table) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    width = len(table.key)
    for row in rows:
        stored, key = found.setdefault(row[0], Stored()), row[2:width]
        if key in stored.rows:
            stored.twice.append(key)
        stored.rows[key] = row[width:]
    return found


def bars_in_force(versions: "pa.Table") -> dict[str, dict[date, str]]:
    """By symbol and session, the hash of the version that counts, recomputed from its values."""
    frame = facts.in_force(versions.to_pandas(date_as_object=False), facts.BAR_KEY)
    found: dict[str, dict[date, str]] = {}
    names = ("symbol", "session_date", "open", "high", "low", "close", "volume", "currency", "source")
    for symbol, day, *values in zip(*(frame[name] for name in names), strict=True):
        found.setdefault(symbol, {})[day.date()] = facts.bar_hash(symbol, day.date(), *values)
    return found
