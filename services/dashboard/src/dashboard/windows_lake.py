"""Closed windows in the lake, newest micro-batches first."""

import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from dashboard.store_guard import StoreGuard
from ticklake import lineage, manifests
from ticklake.errors import IntegrityError, StageError
from ticklake.names import LiveNames
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.tables import WINDOW_COLUMNS

NAMES = tuple(column.name for column in WINDOW_COLUMNS)
_SYMBOL, _START, _SOURCE = (NAMES.index(name) for name in ("symbol", "window_start", "source"))

_READERS = 16
_CHUNK = 64
_CACHED_ROWS = 200_000
"""About 600 bytes each."""
_LOOK_AGAIN = 5
"""Newest manifests listed again each time: a micro-batch that is repeated replaces its manifest."""

Row = tuple[Any, ...]


class WindowLake:
    """The closed windows of one live flow. Safe for use from several threads.

    Args:
        refresh_seconds: least time between two listings.
        most_batches: how many micro-batches of a length are looked through at most.
    """

    def __init__(
        self, guard: StoreGuard[ObjectStore], live: LiveNames, refresh_seconds: float, most_batches: int
    ) -> None:
        self._guard, self._live = guard, live
        self._refresh_seconds, self._most = refresh_seconds, most_batches
        self._lock = threading.Lock()
        self._listed: dict[str, tuple[float, list[ObjectInfo]]] = {}
        self._cached: OrderedDict[tuple[str, str], tuple[Row, ...]] = OrderedDict()
        self._rows_cached = 0
        self._pool = ThreadPoolExecutor(_READERS, "windows")

    def close(self) -> None:
        """End the readers."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def find(
        self, symbol: str, length: str, limit: int, first: datetime | None = None, last: datetime | None = None,
        source: str | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The newest `limit` windows of a symbol whose start lies in `first` to `last` (both included), oldest first.

        Windows close in the order of their ends, so the search ends at the first batch that is older than `first`.

        Raises:
            StageError: the store does not answer.
        """
        found: dict[tuple[str, datetime], Row] = {}
        batches = self._batches(length)
        for start in range(0, len(batches), _CHUNK):
            oldest: datetime | None = None
            for rows in self._pool.map(self._read, batches[start : start + _CHUNK]):
                for row in rows:
                    if row[_SYMBOL] != symbol or (source and row[_SOURCE] != source):
                        continue
                    oldest = min(oldest or row[_START], row[_START])
                    if (first is None or row[_START] >= first) and (last is None or row[_START] <= last):
                        # Of a window that two batches brought, the earlier batch's counts: see load-windows.
                        found[row[_SOURCE], row[_START]] = row
            if len(found) >= limit or (first is not None and oldest is not None and oldest < first):
                break
        newest = sorted(found.values(), key=lambda row: (row[_START], row[_SOURCE]))[-limit:]
        return [dict(zip(NAMES, row, strict=True)) for row in newest]

    def _batches(self, length: str) -> list[ObjectInfo]:
        """Manifests of the newest micro-batches, newest first."""
        with self._lock:
            looked, known = self._listed.get(length, (0.0, []))
            if not known or time.monotonic() - looked >= self._refresh_seconds:
                after = known[-_LOOK_AGAIN].key if len(known) > _LOOK_AGAIN else ""
                new = self._guard.call(lambda s: list(manifests.list_windows(s, self._live, length, after)))
                known = [info for info in known if not after or info.key <= after] if after else []
                known = (known + new)[-self._most :]
                self._listed[length] = (time.monotonic(), known)
        return known[::-1]

    def _read(self, info: ObjectInfo) -> tuple[Row, ...]:
        key = (info.key, info.etag)
        with self._lock:
            if key in self._cached:
                self._cached.move_to_end(key)
                return self._cached[key]
        rows = self._guard.call(lambda store: _read_batch(store, info.key))
        with self._lock:
            if key not in self._cached:
                self._cached[key] = rows
                self._rows_cached += len(rows)
            while self._rows_cached > _CACHED_ROWS:
                self._rows_cached -= len(self._cached.popitem(last=False)[1])
        return rows


def _read_batch(store: ObjectStore, key: str) -> tuple[Row, ...]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        manifest = manifests.read_windows(store, key)
        rows: list[Row] = []
        for ref in manifest.objects:
            table = pq.ParquetFile(pa.BufferReader(lineage.fetch(store, ref))).read(columns=list(NAMES))
            rows += zip(*(table[name].to_pylist() for name in NAMES), strict=True)
    except (KeyError, ValueError, IntegrityError, pa.ArrowException) as error:
        raise StageError(f"{key} and its windows do not read back just now: {error}") from error
    return tuple(rows)
