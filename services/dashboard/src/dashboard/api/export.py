"""Downloads: the same rows as CSV or Parquet."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fastapi.responses import Response

from ticklake.history import encoded

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["json", "csv", "parquet"]

_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}

DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {media_type.partition(";")[0]: {} for media_type in _TYPES.values()},
        "description": "Rows, or a download",
    }
}
"""What a route that has downloads answers with, for its description."""


def download(table: "pa.Table", form: Literal["csv", "parquet"], name: str) -> Response:
    """`table` as a file to save, called `name` with the format's ending."""
    safe = "".join(char if char.isalnum() or char in "-_." else "_" for char in name)
    headers = {"content-disposition": f'attachment; filename="{safe}.{form}"'}
    return Response(encoded(table, form), media_type=_TYPES[form], headers=headers)


def of_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> "pa.Table":
    """A table of `rows`.

    Args:
        columns: name and type (`string`, `double`, `bigint`, `boolean`, `timestamp`) in order.
    """
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "double": pa.float64(),
        "bigint": pa.int64(),
        "boolean": pa.bool_(),
        "timestamp": pa.timestamp("ms", "UTC"),
    }
    return pa.table({name: pa.array([row[name] for row in rows], types[kind]) for name, kind in columns.items()})
