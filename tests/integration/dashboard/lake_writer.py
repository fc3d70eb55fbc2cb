"""Daily analytics and windows as the Spark applications leave them, from plain values."""

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

_PLAIN = {
    "string": "x", "date": date(2000, 1, 1), "timestamp": datetime(2000, 1, 1, tzinfo=UTC), "double": 1.0,
    "bigint": 1, "int": 1,
}  # fmt: skip


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> pa.Table:
    whole = [{column.name: row.get(column.name, _PLAIN[column.type]) for column in columns} for row in rows]
    return pa.Table.from_pylist(whole, arrow_schema(columns))


def put_history(
    tables: LakeTables, day: date, closes: dict[str, dict[date, float]], source: Source = Source.SIMULATED
) -> None:
    """The whole history of some symbols after a batch date: adjusted and plain close per session."""
    namespace = namespace_of(source)
    tables.ensure(namespace, DAILY_ANALYTICS)
    known_at = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
    for symbol, mine in closes.items():
        rows = [
            {"symbol": symbol, "session_date": session, "close": close, "adj_close": close, "source": str(source),
             "history_sessions": number, "batch_date": day, "known_at": known_at, "fact_versions": len(mine)}
            for number, (session, close) in enumerate(sorted(mine.items()), start=1)
        ]  # fmt: skip
        where = matching(symbol=[symbol], source=[str(source)])
        tables.replace(namespace, DAILY_ANALYTICS, f"run-{day}", _table(rows, DAILY_ANALYTICS.columns), where)


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
