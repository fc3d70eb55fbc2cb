"""Daily rows and windows as the Spark applications leave them, from plain values."""

import hashlib
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ticklake import manifests
from ticklake.catalog import LakeTables, matching
from ticklake.lineage import ObjectRef
from ticklake.manifests import WindowManifest
from ticklake.names import LiveNames
from ticklake.objects import ObjectStore
from ticklake.records import Source
from ticklake.tables import DAILY_ANALYTICS, WINDOW_COLUMNS, Column, arrow_schema, namespace_of

KNOWN_AT = datetime(2026, 1, 9, 22, tzinfo=UTC)
_PLAIN = {"string": "x", "date": date(2000, 1, 1), "timestamp": KNOWN_AT, "double": 1.0}


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> pa.Table:
    whole = [{column.name: row.get(column.name, _PLAIN.get(column.type, 1)) for column in columns} for row in rows]
    return pa.Table.from_pylist(whole, arrow_schema(columns))


def put_daily(
    tables: LakeTables, closes: dict[str, dict[date, float]], source: Source = Source.SIMULATED, **more: Any
) -> None:
    """All rows of some symbols, in the place of those that were there: closes per symbol and session.

    Args:
        more: values of further columns, the same in each row.
    """
    rows = [
        {"symbol": symbol, "source": source.value, "session_date": session, "close": close, "adj_close": close, **more}
        for symbol, mine in closes.items() for session, close in mine.items()
    ]  # fmt: skip
    space = namespace_of(source)
    tables.ensure(space, DAILY_ANALYTICS)
    where = matching(symbol=closes, source=[source.value])
    tables.replace(space, DAILY_ANALYTICS, "run", _table(rows, DAILY_ANALYTICS.columns), where)


def put_windows(store: ObjectStore, live: LiveNames, batch: int, rows: Sequence[dict[str, Any]]) -> None:
    """One micro-batch of closed 15-minute windows: symbol, window_start and what differs from a plain window."""
    whole = [
        {"window_length": "15m", "window_end": row["window_start"] + timedelta(minutes=15), "source": "simulated",
         "first_event_time": row["window_start"], "last_event_time": row["window_start"], **row}
        for row in rows
    ]  # fmt: skip
    key = f"{live.processed_prefix}/query=15m/batch={batch:012d}/windows.parquet"
    sink = io.BytesIO()
    pq.write_table(_table(whole, WINDOW_COLUMNS), sink, compression="zstd")
    body = sink.getvalue()
    store.put(key, body)
    reference = ObjectRef(key=key, rows=len(rows), size=len(body), sha256=hashlib.sha256(body).hexdigest())
    manifests.write_windows(store, live, WindowManifest(query="15m", batch=batch, objects=(reference,)))
