"""Processed batches and windows as the Spark applications leave them, from plain values."""

import hashlib
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ticklake import manifests
from ticklake.lineage import ObjectRef
from ticklake.manifests import DailyManifest, SessionSpan, WindowManifest
from ticklake.names import LiveNames, processed_daily_prefix
from ticklake.objects import ObjectStore
from ticklake.records import Source
from ticklake.tables import DAILY_COLUMNS, WINDOW_COLUMNS, Column

_TYPES = {
    "string": pa.string(), "date": pa.date32(), "timestamp": pa.timestamp("us", "UTC"), "double": pa.float64(),
    "bigint": pa.int64(), "int": pa.int32(),
}  # fmt: skip
_PLAIN = {"string": "x", "date": date(2000, 1, 1), "timestamp": datetime(2000, 1, 1, tzinfo=UTC), "double": 1.0}


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[Column], rename: dict[str, str]) -> bytes:
    arrays = {
        rename.get(c.name, c.name): pa.array([row.get(c.name, _PLAIN.get(c.type, 1)) for row in rows], _TYPES[c.type])
        for c in columns
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink, compression="zstd")
    return sink.getvalue()


def _put(store: ObjectStore, key: str, body: bytes, rows: int, symbol: str | None = None) -> ObjectRef:
    store.put(key, body)
    return ObjectRef(key=key, rows=rows, size=len(body), sha256=hashlib.sha256(body).hexdigest(), symbol=symbol)


def put_batch(
    store: ObjectStore, day: date, closes: dict[str, dict[date, float]], *, history: int = 0,
    source: Source = Source.SIMULATED, attempt: str = "a",
) -> None:  # fmt: skip
    """One batch date: adjusted and plain close per symbol and session; `history` sessions lie before the first."""
    objects, spans = [], {}
    for symbol, mine in closes.items():
        rows = [
            {"symbol": symbol, "session_date": session, "close": close, "adj_close": close,
             "history_sessions": history + number + 1}
            for number, (session, close) in enumerate(sorted(mine.items()))
        ]  # fmt: skip
        key = f"{processed_daily_prefix(day)}/symbol={symbol}/part-{attempt}.parquet"
        body = _table(rows, DAILY_COLUMNS, {"symbol": "ticker"})
        objects.append(_put(store, key, body, len(rows), symbol))
        spans[symbol] = SessionSpan(first=min(mine), last=max(mine), rows=len(rows))
    manifest = DailyManifest(
        run_id=f"run-{day}", batch_id=f"run-{day}", batch_date=day, source=source, spans=spans,
        fetched_at=datetime(day.year, day.month, day.day, 22, tzinfo=UTC), objects=tuple(objects),
    )  # fmt: skip
    manifests.write_daily(store, manifest)


def put_windows(store: ObjectStore, live: LiveNames, batch: int, rows: Sequence[dict[str, Any]]) -> None:
    """One micro-batch of closed 15-minute windows: symbol, window_start and what differs from a plain window."""
    whole = [
        {"window_length": "15m", "window_end": row["window_start"] + timedelta(minutes=15), "source": "simulated",
         "first_event_time": row["window_start"], "last_event_time": row["window_start"], **row}
        for row in rows
    ]  # fmt: skip
    key = f"{live.processed_prefix}/query=15m/batch={batch:012d}/windows.parquet"
    reference = _put(store, key, _table(whole, WINDOW_COLUMNS, {}), len(rows))
    manifests.write_windows(store, live, WindowManifest(query="15m", batch=batch, objects=(reference,)))
