"""Parquet: the files that go to the warehouse.

They are written here rather than passed on from the lake: few, and with times that carry no zone, so that what arrives
does not depend on a session's time zone.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ticklake.tables import Column

if TYPE_CHECKING:
    import pyarrow as pa


def for_warehouse(rows: "pa.Table", columns: Sequence[Column]) -> "pa.Table":
    """Rows of a table of the lake with the warehouse's column names, and times in UTC without a zone."""
    import pyarrow as pa

    arrays = [
        array.cast(pa.timestamp("us")) if pa.types.is_timestamp(array.type) else array
        for array in (rows.column(column.name) for column in columns)
    ]
    return pa.Table.from_arrays(arrays, names=[column.name.upper() for column in columns])


def to_file(table: "pa.Table") -> io.BytesIO:
    """The table as one Parquet file: Snappy, which every reader knows, and times in whole microseconds."""
    import pyarrow.parquet as pq

    target = io.BytesIO()
    pq.write_table(table, target, compression="snappy", coerce_timestamps="us", store_schema=False)
    target.seek(0)
    return target
