"""Daily history in the lake: which symbols there are, and one symbol's rows, out of the table `daily_analytics`."""

import threading
import time
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa

from dashboard.lake.row_cache import RowCache
from dashboard.lake.store_guard import StoreGuard
from ticklake import keys
from ticklake.catalog import LakeTables, matching
from ticklake.errors import IntegrityError
from ticklake.history import ANALYTICS, shaped
from ticklake.objects import ObjectStore
from ticklake.records import DAILY_SOURCES, Source
from ticklake.tables import DAILY_ANALYTICS, NAMESPACES, namespace_of

COLUMNS = tuple(ANALYTICS.names)
"""What is read of a symbol's rows and held."""
NUMERIC = tuple(name for name in COLUMNS if name not in ("session_date", "known_at"))
"""Those that hold numbers."""

_LISTED = ("symbol", "source", "session_date", "close")
_TAIL = 5

Key = tuple[str, str]
"""Symbol and source."""


@dataclass(frozen=True)
class Summary:
    """One symbol's history from one source in short."""

    first: date
    last: date
    sessions: int
    tail: tuple[tuple[date, float], ...]
    """The newest sessions with their closes, oldest first."""

    def close_before(self, day: date) -> float | None:
        """The close of the last of the newest sessions that lies before `day`."""
        return next((close for session, close in reversed(self.tail) if session < day), None)


@dataclass(frozen=True)
class _Listing:
    """What one snapshot of each namespace's table holds."""

    snapshots: dict[str, int | None] = field(default_factory=dict)
    summaries: dict[Key, Summary] = field(default_factory=dict)


class DailyLake:
    """The daily history of every symbol. Safe for use from several threads.

    Args:
        refresh_seconds: least time between two looks for a new snapshot.
        cache: holds the symbols' rows.
    """

    def __init__(
        self, store: StoreGuard[ObjectStore], tables: StoreGuard[LakeTables], refresh_seconds: float, cache: RowCache
    ) -> None:
        self._store, self._tables, self._cache = store, tables, cache
        self._refresh_seconds = refresh_seconds
        self._refreshing = threading.Lock()
        # PyIceberg says nothing of threads: its tables are asked by one at a time.
        self._asking = threading.Lock()
        self._looked: float | None = None
        self._listing = _Listing()

    def refresh(self, *, force: bool = False) -> None:
        """Look for new rows, unless that was done a moment ago.

        Raises:
            StageError: store or catalog does not answer or denies access.
        """
        with self._refreshing:
            if not force and self._looked is not None and time.monotonic() - self._looked < self._refresh_seconds:
                return
            # A catalog without the table would say nothing of a store that is away.
            self._store.call(lambda store: store.check_sign_in(f"{keys.PROCESSED_DAILY}/"))
            with self._asking:
                self._listing = self._tables.call(self._look)
            self._looked = time.monotonic()

    def _look(self, tables: LakeTables) -> _Listing:
        known = self._listing
        found = {space: tables.version(space, DAILY_ANALYTICS) for space in NAMESPACES}
        summaries: dict[Key, Summary] = {}
        for space, snapshot in found.items():
            if snapshot == known.snapshots.get(space):
                summaries |= {key: each for key, each in known.summaries.items() if _namespace(key) == space}
            else:
                summaries |= _summaries(tables.read(space, DAILY_ANALYTICS, columns=_LISTED, snapshot=snapshot))
        return _Listing(found, summaries)

    @property
    def failure(self) -> str:
        """Why store or catalog failed when last asked; empty while both answer."""
        return self._store.failure or self._tables.failure

    def sources(self) -> list[str]:
        """Sources of all rows known, the preferred first."""
        found = {source for _, source in self._listing.summaries}
        return [source.value for source in DAILY_SOURCES if source.value in found]

    def listed(self) -> list[Key]:
        """Every symbol and source that has rows, by symbol and then the preferred source first."""
        order = {source.value: number for number, source in enumerate(DAILY_SOURCES)}
        return sorted(self._listing.summaries, key=lambda key: (key[0], order.get(key[1], len(order))))

    def best_source(self, symbol: str, asked: str | None = None) -> str | None:
        """The source to show of a symbol; None where there are no rows (from the one asked for)."""
        wanted = [asked] if asked else [source.value for source in DAILY_SOURCES]
        return next((source for source in wanted if (symbol, source) in self._listing.summaries), None)

    def summary(self, symbol: str, source: str) -> Summary | None:
        """One symbol's history in short, as of the last look; None where there is none."""
        return self._listing.summaries.get((symbol, source))

    def rows(self, symbol: str, source: str) -> pa.Table:
        """All sessions of a symbol in order, none where it has no rows (any more); see `history.ANALYTICS`.

        Raises:
            StageError: store or catalog does not answer, or a file of the table is gone.
        """
        try:
            return self._rows((symbol, source))
        except IntegrityError:
            # The snapshot expired since it was listed.
            self.refresh(force=True)
            return self._rows((symbol, source))

    def _rows(self, key: Key) -> pa.Table:
        # Not behind those who ask: what is held is given also while catalog or store is away.
        if (held := self._cached(key)) is not None:
            return held
        with self._asking:
            if (held := self._cached(key)) is not None:
                return held
            snapshot = self._listing.snapshots.get(_namespace(key))
            table = self._tables.call(lambda tables: _read(tables, key, snapshot))
        self._cache.put(key, snapshot, table, table.nbytes)
        return table

    def _cached(self, key: Key) -> pa.Table | None:
        return self._cache.get(key, self._listing.snapshots.get(_namespace(key)))


def _namespace(key: Key) -> str:
    return namespace_of(Source(key[1]))


def _read(tables: LakeTables, key: Key, snapshot: int | None) -> pa.Table:
    rows = matching(symbol=key[:1], source=key[1:])
    found = tables.read(_namespace(key), DAILY_ANALYTICS, rows, COLUMNS, snapshot)
    return shaped(found.sort_by("session_date"), ANALYTICS)


def _summaries(rows: pa.Table) -> dict[Key, Summary]:
    """Every symbol's history in short.

    Args:
        rows: the columns `_LISTED`, in any order.
    """
    rows = rows.sort_by([(name, "ascending") for name in _LISTED[:3]]).combine_chunks()
    # On one thread, groups come in the order of their first rows, hence one after the other.
    groups = rows.group_by(["symbol", "source"], use_threads=False).aggregate(
        [("session_date", "min"), ("session_date", "max"), ("session_date", "count")]
    )
    counts = groups["session_date_count"].to_numpy()
    ends = np.cumsum(counts)
    found = {}
    for number, group in enumerate(groups.to_pylist()):
        size = min(int(counts[number]), _TAIL)
        tail = rows.slice(int(ends[number]) - size, size)
        closes = zip(tail["session_date"].to_pylist(), tail["close"].to_pylist(), strict=True)
        found[group["symbol"], group["source"]] = Summary(
            group["session_date_min"], group["session_date_max"], group["session_date_count"], tuple(closes)
        )
    return found
