"""One symbol's rows out of several batches' files."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from ticklake.errors import IntegrityError
from ticklake.lineage import ObjectRef
from ticklake.tables import DAILY_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

NUMERIC = tuple(column.name for column in DAILY_COLUMNS if column.type in ("double", "bigint", "int"))
"""The daily table's columns that hold numbers."""
COLUMNS = ("session_date", *NUMERIC)
"""What is read of a file and held."""


def parse(body: bytes, ref: ObjectRef) -> "pa.Table":
    """The rows of one file of the daily analytics, with the columns `COLUMNS`.

    Raises:
        IntegrityError: it is no Parquet, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(pa.BufferReader(body)).read(columns=list(COLUMNS)).select(list(COLUMNS))
    except (pa.ArrowException, KeyError, OSError) as error:
        raise IntegrityError(f"{ref.key} is not readable as daily analytics: {error}") from error


def merged(parts: Sequence["pa.Table"]) -> "pa.Table":
    """One row per session, in order.

    Args:
        parts: one table per batch, oldest batch first. Of two rows of a session the later part's counts, unless its
            `history_sessions` is the smaller.
    """
    import pyarrow as pa

    rows = pa.concat_tables(parts)
    # Per session its row's position and the history behind it.
    chosen: dict[date, tuple[int, int]] = {}
    sessions, histories = rows["session_date"].to_pylist(), rows["history_sessions"].to_pylist()
    for position, (session, history) in enumerate(zip(sessions, histories, strict=True)):
        before = chosen.get(session)
        if before is None or history >= before[1]:
            chosen[session] = (position, history)
    taken = pa.array([chosen[session][0] for session in sorted(chosen)], pa.int64())
    return rows.take(taken).combine_chunks()
