"""Closed windows in the lake: the newest of one symbol, out of the table `windows`."""

import threading
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from dashboard.lake.store_guard import StoreGuard
from ticklake.catalog import LakeTables, between, matching
from ticklake.records import Source
from ticklake.settings import LiveSettings
from ticklake.tables import WINDOW_COLUMNS, WINDOWS, namespace_of

NAMES = tuple(column.name for column in WINDOW_COLUMNS)

_FIRST_SPAN = timedelta(hours=12)
"""Looked through at first, before the newest window; then eight times as much, and so on."""
_HELD = 256

Row = dict[str, Any]


class _Asked(NamedTuple):
    symbol: str
    length: str
    limit: int
    first: datetime | None
    last: datetime | None
    source: str | None


class WindowLake:
    """The closed windows of one live flow. Safe for use from several threads.

    Args:
        refresh_seconds: how long an answer is held.
    """

    def __init__(self, guard: StoreGuard[LakeTables], live: LiveSettings, refresh_seconds: float) -> None:
        self._guard, self._flow = guard, live.namespace
        self._refresh_seconds = refresh_seconds
        # PyIceberg says nothing of threads: its tables are asked by one at a time.
        self._asking = threading.Lock()
        self._held: OrderedDict[_Asked, tuple[float, list[Row]]] = OrderedDict()

    def find(
        self,
        symbol: str,
        length: str,
        limit: int,
        first: datetime | None = None,
        last: datetime | None = None,
        source: str | None = None,
    ) -> list[Row]:
        """The newest `limit` windows of a symbol whose start lies in `first` to `last` (both included), oldest first.

        Raises:
            StageError: store or catalog does not answer or denies access.
        """
        asked = _Asked(symbol, length, limit, first, last, source)
        with self._asking:
            when, rows = self._held.get(asked, (0.0, []))
            if asked not in self._held or time.monotonic() - when >= self._refresh_seconds:
                rows = self._guard.call(lambda tables: self._find(tables, asked))
                self._held[asked] = (time.monotonic(), rows)
                self._held.move_to_end(asked)
                while len(self._held) > _HELD:
                    self._held.popitem(last=False)
        return rows

    def _find(self, tables: LakeTables, asked: _Asked) -> list[Row]:
        sources = [Source(asked.source)] if asked.source else list(Source)
        found = [
            row
            for namespace in sorted({namespace_of(source) for source in sources})
            for row in self._newest(tables, namespace, asked)
        ]
        return sorted(found, key=lambda row: (row["window_start"], row["source"]))[-asked.limit :]

    def _newest(self, tables: LakeTables, namespace: str, asked: _Asked) -> list[Row]:
        equal = {"flow": [self._flow], "window_length": [asked.length], "symbol": [asked.symbol]}
        equal |= {"source": [asked.source]} if asked.source else {}
        end = asked.last and asked.last + timedelta(microseconds=1)
        snapshot = tables.version(namespace, WINDOWS)
        wanted = matching(between("window_start", asked.first, end), **equal)
        bounds = [file["window_start"] for file in tables.files(namespace, WINDOWS, wanted, snapshot)]
        if not bounds:
            return []
        oldest, newest = _time(min(low for low, _ in bounds)), _time(max(high for _, high in bounds))
        span = _FIRST_SPAN
        while True:
            begin = max(oldest, newest - span, *([asked.first] if asked.first else []))
            rows = matching(between("window_start", begin, end), **equal)
            found = tables.read(namespace, WINDOWS, rows, NAMES, snapshot)
            if found.num_rows >= asked.limit or newest - span <= oldest or begin == asked.first:
                return list(found.select(list(NAMES)).to_pylist())
            span *= 8


def _time(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
