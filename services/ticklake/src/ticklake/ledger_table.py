"""The archived ticks as tables: columns, checksum, Parquet and CSV. Needs PyArrow, so it is apart from `ledger`."""

import hashlib
import io

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic import ValidationError

from ticklake.errors import IntegrityError
from ticklake.ledger import PARQUET_METADATA, LedgerRange
from ticklake.objects import ObjectStore
from ticklake.records import reason_of

_TIME = pa.timestamp("ms", tz="UTC")

SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("event_time", _TIME, nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("price", pa.float64(), nullable=False),
        pa.field("volume", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("producer_run", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("append_time", _TIME, nullable=False),
    ]
)
"""Columns of an archived tick: the tick's own, then where and when the broker appended it."""

ORDER = ("symbol", "event_time", "sequence", "offset")
"""Rows of a file are sorted by these columns."""

_ROW_GROUP = 65_536
_TIME_TEXT = "%Y-%m-%dT%H:%M:%SZ"
"""Arrow writes the milliseconds with `%S`."""


def sort(table: pa.Table) -> pa.Table:
    """`table` in the file's order."""
    return table.sort_by([(name, "ascending") for name in ORDER]).combine_chunks()


def checksum(table: pa.Table) -> str:
    """SHA-256, in hex, over the rows in offset order, whatever the order of `table`.

    Column by column: numbers as 64-bit little-endian (times as milliseconds since 1970, prices as their IEEE 754
    bits), texts as their UTF-8 lengths (32-bit little-endian) followed by the texts.
    """
    ordered = table.select(SCHEMA.names).sort_by("offset").combine_chunks()
    total = hashlib.sha256()
    for name in SCHEMA.names:
        column = ordered[name]
        if pa.types.is_string(column.type):
            total.update(pc.binary_length(column).to_numpy().astype("<i4").tobytes())
            total.update("".join(column.to_pylist()).encode())
        elif pa.types.is_floating(column.type):
            total.update(column.to_numpy().astype("<f8").tobytes())
        else:
            total.update(column.cast(pa.int64()).to_numpy().astype("<i8").tobytes())
    return total.hexdigest()


def parquet_bytes(table: pa.Table, entry: LedgerRange) -> bytes:
    """A sorted table as a Parquet file that carries its ledger entry."""
    sink = io.BytesIO()
    whole = table.replace_schema_metadata({PARQUET_METADATA: entry.model_dump_json().encode()})
    pq.write_table(
        whole,
        sink,
        compression="zstd",
        row_group_size=_ROW_GROUP,
        use_dictionary=["symbol", "source", "producer_run", "partition"],
        column_encoding={"sequence": "DELTA_BINARY_PACKED", "offset": "DELTA_BINARY_PACKED"},
        sorting_columns=pq.SortingColumn.from_ordering(table.schema, [(name, "ascending") for name in ORDER]),
    )
    return sink.getvalue()


def csv_bytes(table: pa.Table) -> bytes:
    """The CSV copy of a file: the same rows and columns in the same order, times as on the wire."""
    columns = [
        pc.strftime(table[field.name], _TIME_TEXT) if pa.types.is_timestamp(field.type) else table[field.name]
        for field in SCHEMA
    ]
    sink = io.BytesIO()
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    pyarrow.csv.write_csv(pa.table(columns, names=SCHEMA.names), sink, options)
    return sink.getvalue()


def read_file(data: bytes) -> tuple[LedgerRange, pa.Table]:
    """The ledger entry and the rows of an archived Parquet file.

    Raises:
        IntegrityError: the file lacks its entry, it cannot be read, or the rows do not agree with it.
    """
    table = pq.read_table(io.BytesIO(data))
    text = (table.schema.metadata or {}).get(PARQUET_METADATA)
    if text is None:
        raise IntegrityError("a Parquet file of the archive has no ledger entry")
    try:
        entry = LedgerRange.model_validate_json(text)
    except ValidationError as error:
        raise IntegrityError(
            f"a Parquet file of the archive has no readable ledger entry: {reason_of(error)}"
        ) from error
    table = table.replace_schema_metadata(None)
    where = f"{entry.topic} partition {entry.partition} offsets {entry.first_offset}-{entry.last_offset}"
    if table.num_rows != entry.rows or checksum(table) != entry.checksum:
        raise IntegrityError(f"{where}: the rows in the file are not those of its ledger entry")
    invalid = (np.arange(first, last + 1) for first, last in entry.invalid or ())
    there = np.concatenate([table["offset"].to_numpy(), *invalid])
    if absent_spans(entry.first_offset, entry.last_offset, there) != entry.absent:
        raise IntegrityError(f"{where}: an offset is twice or not at all among rows, invalid and absent ones")
    return entry, table


def absent_spans(first: int, last: int, there: npt.NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """The offsets from `first` to `last` that are not in `there`, as spans with both ends; `there` in any order."""
    ordered = np.concatenate(([first - 1], np.sort(there), [last + 1]))
    gaps = np.flatnonzero(np.diff(ordered) > 1)
    return tuple((int(ordered[place]) + 1, int(ordered[place + 1]) - 1) for place in gaps)


def read_object(store: ObjectStore, key: str) -> tuple[LedgerRange, pa.Table]:
    """`read_file` on the object at `key`."""
    return read_file(store.get(key))
