"""Parquet: objects with streaming windows, read exactly as their manifest names them, and files for the warehouse.

The files that go to the warehouse are written here rather than passed on: few and large, and with times that carry no
zone, so that what arrives does not depend on a session's time zone.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ticklake import lineage
from ticklake.errors import IntegrityError
from ticklake.lineage import ObjectRef
from ticklake.objects import ObjectStore
from ticklake.tables import TICKER, Column

if TYPE_CHECKING:
    import pyarrow as pa

_READERS = 16


def fetch(store: ObjectStore, refs: Sequence[ObjectRef]) -> list[bytes]:
    """The bytes of each object.

    Raises:
        IntegrityError: an object is gone, or not the one that its record names.
    """
    with ThreadPoolExecutor(max(1, min(_READERS, len(refs)))) as pool:
        return list(pool.map(lambda ref: lineage.fetch(store, ref), refs))


def read_table(body: bytes, ref: ObjectRef, columns: Sequence[Column]) -> "pa.Table":
    """One object as a table with the warehouse's column names and types.

    Raises:
        IntegrityError: it is no Parquet, lacks a column, has another type in one, or has not the rows of its record.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.ParquetFile(pa.BufferReader(body)).read()
        # The symbol's own name is the partition folder's in files that are partitioned by it.
        arrays = [
            _converted(found[TICKER if column.name == "symbol" and TICKER in found.column_names else column.name],
                       column)
            for column in columns
        ]  # fmt: skip
    except (pa.ArrowException, KeyError, OSError) as error:
        raise IntegrityError(f"{ref.key} cannot be loaded: {error}") from error
    if found.num_rows != ref.rows:
        raise IntegrityError(f"{ref.key} has {found.num_rows} rows, its record {ref.rows}")
    return pa.Table.from_arrays(arrays, names=[column.name.upper() for column in columns])


def for_warehouse(rows: "pa.Table", columns: Sequence[Column]) -> "pa.Table":
    """Rows of a table of the lake with the warehouse's column names, and times in UTC without a zone."""
    import pyarrow as pa

    arrays = [_converted(rows.column(column.name), column) for column in columns]
    return pa.Table.from_arrays(arrays, names=[column.name.upper() for column in columns])


def _converted(array: Any, column: Column) -> Any:
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "double": pa.float64(),
        "bigint": pa.int64(),
        "int": pa.int32(),
        "boolean": pa.bool_(),
    }
    if column.type == "double" and not pa.types.is_float64(array.type):
        raise KeyError(f"{column.name} is {array.type}, not double")
    if not column.nullable and array.null_count:
        raise KeyError(f"{column.name} is null in {array.null_count} rows")
    return array.cast(types[column.type])


def to_file(table: "pa.Table") -> io.BytesIO:
    """The table as one Parquet file: Snappy, which every reader knows, and times in whole microseconds."""
    import pyarrow.parquet as pq

    target = io.BytesIO()
    pq.write_table(table, target, compression="snappy", coerce_timestamps="us", store_schema=False)
    target.seek(0)
    return target


def with_constant(table: "pa.Table", name: str, value: str) -> "pa.Table":
    """The table with one more column in front, `value` in every row."""
    import pyarrow as pa

    return table.add_column(0, name, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
