"""Daily history in the lake: the table `daily_analytics`, listed from its metadata and read symbol by symbol."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from dashboard.store_guard import Guard
from ticklake.catalog import LakeTables, matching
from ticklake.errors import IntegrityError
from ticklake.records import Source
from ticklake.tables import DAILY_ANALYTICS, namespace_of

if TYPE_CHECKING:
    import pyarrow as pa

PREFERRED = (Source.YAHOO, Source.REPLAY, Source.SIMULATED)
"""Which source to take where none is asked for."""

NUMERIC = tuple(
    column.name for column in DAILY_ANALYTICS.columns
    if column.type in ("double", "bigint", "int") and column.name != "fact_versions"
)  # fmt: skip
"""The table's columns that hold numbers of a session."""
COLUMNS = ("session_date", *NUMERIC)
"""What is read of a symbol and held."""

_NAMESPACES = tuple(dict.fromkeys(namespace_of(source) for source in PREFERRED))
_EPOCH = date(1970, 1, 1)
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
class _Basis:
    """What a symbol's rows are computed from, and so which rows they are."""

    versions: int
    known_at: int
    first: date
    last: date
    sessions: int


class DailyLake:
    """The daily analytics. Safe for use from several threads.

    Args:
        refresh_seconds: least time between two looks for a new snapshot of the table.
        cache_bytes: most that the symbols' rows may take; the least recently used go first.
    """

    def __init__(self, guard: Guard[LakeTables], refresh_seconds: float, cache_bytes: int) -> None:
        self._guard, self._refresh_seconds, self._cache_bytes = guard, refresh_seconds, cache_bytes
        self._refreshing, self._lock = threading.Lock(), threading.Lock()
        self._looked: float | None = None
        self._snapshots: dict[str, int | None] = {}
        self._listed: dict[Key, _Basis] = {}
        self._summaries: dict[Key, Summary] = {}
        self._held: OrderedDict[Key, tuple[_Basis, pa.Table]] = OrderedDict()

    def refresh(self, *, force: bool = False) -> None:
        """Look for a new snapshot, unless that was done a moment ago.

        Raises:
            StageError: catalog or store do not answer, or refuse.
        """
        with self._refreshing:
            if not force and self._looked is not None and time.monotonic() - self._looked < self._refresh_seconds:
                return
            self._guard.call(self._look)
            self._looked = time.monotonic()

    def _look(self, tables: LakeTables) -> None:
        snapshots = {space: tables.version(space, DAILY_ANALYTICS) for space in _NAMESPACES}
        if snapshots == self._snapshots:
            return
        listed: dict[Key, _Basis] = {}
        for space, snapshot in snapshots.items():
            for file in tables.files(space, DAILY_ANALYTICS, snapshot=snapshot) if snapshot is not None else ():
                key = (file["symbol"][0], file["source"][0])
                first, last = (_EPOCH + timedelta(days=day) for day in file["session_date"])
                found = _Basis(file["fact_versions"][1], file["known_at"][1], first, last, file["rows"])
                listed[key] = _joined(listed[key], found) if key in listed else found
        changed = [key for key, basis in listed.items() if self._listed.get(key) != basis]
        summaries = _summaries(tables, snapshots, listed, changed)
        with self._lock:
            self._snapshots, self._listed = snapshots, listed
            self._summaries = {key: summary for key, summary in self._summaries.items() if key in listed} | summaries
            for gone in self._held.keys() - listed.keys():
                del self._held[gone]

    def sources(self) -> list[str]:
        """Sources of all symbols known, the preferred first."""
        found = {source for _, source in self._listed}
        return [source.value for source in PREFERRED if source.value in found]

    def listed(self) -> list[Key]:
        """Every symbol and source that has rows, by symbol and then the preferred source first."""
        order = {source.value: number for number, source in enumerate(PREFERRED)}
        return sorted(self._listed, key=lambda key: (key[0], order.get(key[1], len(order))))

    def best_source(self, symbol: str, asked: str | None = None) -> str | None:
        """The source to show of a symbol; None where there are no rows (from the one asked for)."""
        wanted = [asked] if asked else [source.value for source in PREFERRED]
        return next((source for source in wanted if (symbol, source) in self._listed), None)

    def summary(self, symbol: str, source: str) -> Summary | None:
        """One symbol's history in short; None where there is none."""
        return self._summaries.get((symbol, source))

    def rows(self, symbol: str, source: str) -> "pa.Table":
        """All sessions of a symbol in order; the columns `COLUMNS`.

        Raises:
            KeyError: there are none.
            StageError: catalog or store do not answer, or the table is damaged.
        """
        key = (symbol, source)
        try:
            return self._rows(key)
        except IntegrityError:
            # The snapshot, or a file of it, is gone since the look: there is a newer one.
            self.refresh(force=True)
            return self._rows(key)

    def _rows(self, key: Key) -> "pa.Table":
        with self._lock:
            basis, snapshots = self._listed[key], self._snapshots
            held = self._held.get(key)
            if held is not None and held[0] == basis:
                self._held.move_to_end(key)
                return held[1]
        space = namespace_of(Source(key[1]))
        wanted = matching(symbol=[key[0]], source=[key[1]])
        found = self._guard.call(lambda tables: tables.read(space, DAILY_ANALYTICS, wanted, COLUMNS, snapshots[space]))
        table = found.select(list(COLUMNS)).sort_by("session_date").combine_chunks()
        with self._lock:
            self._held[key] = (basis, table)
            self._held.move_to_end(key)
            while len(self._held) > 1 and sum(each.nbytes for _, each in self._held.values()) > self._cache_bytes:
                self._held.popitem(last=False)
        return table


def _joined(one: _Basis, other: _Basis) -> _Basis:
    return _Basis(
        max(one.versions, other.versions), max(one.known_at, other.known_at), min(one.first, other.first),
        max(one.last, other.last), one.sessions + other.sessions,
    )  # fmt: skip


def _summaries(
    tables: LakeTables, snapshots: dict[str, int | None], listed: dict[Key, _Basis], keys: list[Key]
) -> dict[Key, Summary]:  # fmt: skip
    """The summaries of `keys`, by one read of each namespace."""
    found: dict[Key, Summary] = {}
    for space in _NAMESPACES:
        symbols = {symbol for symbol, source in keys if namespace_of(Source(source)) == space}
        if not symbols:
            continue
        columns = ["symbol", "source", "session_date", "close"]
        wanted = matching(symbol=symbols)
        rows = tables.read(space, DAILY_ANALYTICS, wanted, tuple(columns), snapshots[space]).select(columns)
        rows = rows.sort_by([(name, "ascending") for name in columns[:3]])
        counts = rows.group_by(columns[:2], use_threads=False).aggregate([([], "count_all")])
        ends = [0]
        for count in counts["count_all"].to_pylist():
            ends.append(ends[-1] + count)
        groups = zip(counts["symbol"].to_pylist(), counts["source"].to_pylist(), pairwise(ends), strict=True)
        for symbol, source, (start, end) in groups:
            basis = listed[symbol, source]
            tail = rows.slice(max(start, end - _TAIL), min(_TAIL, end - start))
            days, closes = tail["session_date"].to_pylist(), tail["close"].to_pylist()
            found[symbol, source] = Summary(
                basis.first, basis.last, basis.sessions, tuple(zip(days, closes, strict=True))
            )  # fmt: skip
    return found
