"""Daily history in the lake: which batches there are, and one symbol's rows out of all of them.

Several batch dates hold the same sessions. Which row counts is decided as the warehouse's MERGE does: the newer batch's
row replaces the older one's unless it was computed from a shorter history.
"""

import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from dashboard.merge import merged, parse
from dashboard.store_guard import StoreGuard
from ticklake import lineage, manifests
from ticklake.errors import IntegrityError, StageError
from ticklake.lineage import ObjectRef
from ticklake.manifests import DailyManifest
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.records import Source

if TYPE_CHECKING:
    import pyarrow as pa

PREFERRED = (Source.YAHOO, Source.REPLAY, Source.SIMULATED)
"""Which source to take where none is asked for."""

_READERS = 16
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
class _Held:
    refs: tuple[ObjectRef, ...]
    """What was merged, oldest batch first."""
    table: "pa.Table"


class DailyLake:
    """The processed daily batches. Safe for use from several threads.

    Args:
        refresh_seconds: least time between two listings of the manifests.
        cache_bytes: most that the merged tables may take; the least recently used go first.
    """

    def __init__(self, guard: StoreGuard, refresh_seconds: float, cache_bytes: int) -> None:
        self._guard, self._refresh_seconds, self._cache_bytes = guard, refresh_seconds, cache_bytes
        self._refreshing, self._lock = threading.Lock(), threading.Lock()
        self._looked: float | None = None
        self._manifests: dict[str, tuple[str, DailyManifest]] = {}
        self._objects: dict[Key, tuple[ObjectRef, ...]] = {}
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._summaries: dict[Key, tuple[tuple[ObjectRef, ...], Summary]] = {}
        self._merging: dict[Key, threading.Lock] = {}
        self._pool = ThreadPoolExecutor(_READERS, "lake")

    def close(self) -> None:
        """End the readers."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def refresh(self, *, force: bool = False) -> None:
        """Look for new manifests, unless that was done a moment ago.

        Raises:
            StageError: the store does not answer.
        """
        with self._refreshing:
            if not force and self._looked is not None and time.monotonic() - self._looked < self._refresh_seconds:
                return
            self._guard.call(self._look)
            self._looked = time.monotonic()

    def _look(self, store: ObjectStore) -> None:
        listed = {found.key: found for found in manifests.list_daily(store)}
        changed = [f for f in listed.values() if self._manifests.get(f.key, ("", None))[0] != f.etag]
        if not changed and len(listed) == len(self._manifests):
            return

        def read(info: ObjectInfo) -> tuple[str, DailyManifest] | None:
            try:
                return info.etag, DailyManifest.model_validate_json(store.get(info.key))
            except (KeyError, ValueError):
                return None  # gone meanwhile, or written by a version that this one does not know

        found = zip(changed, self._pool.map(read, changed), strict=True)
        kept = {key: entry for key, entry in self._manifests.items() if key in listed}
        kept |= {info.key: entry for info, entry in found if entry is not None}
        objects: dict[Key, list[ObjectRef]] = {}
        for _, manifest in sorted(kept.values(), key=lambda entry: entry[1].batch_date):
            for ref in manifest.objects:
                if ref.symbol is not None and ref.rows:
                    objects.setdefault((ref.symbol, manifest.source.value), []).append(ref)
        with self._lock:
            self._manifests = kept
            self._objects = {key: tuple(refs) for key, refs in objects.items()}
            for gone in self._held.keys() - self._objects.keys():
                del self._held[gone]

    def sources(self) -> list[str]:
        """Sources of all batches known, the preferred first."""
        found = {source for _, source in self._objects}
        return [source.value for source in PREFERRED if source.value in found]

    def listed(self) -> list[Key]:
        """Every symbol and source that has rows, by symbol and then the preferred source first."""
        order = {source.value: number for number, source in enumerate(PREFERRED)}
        return sorted(self._objects, key=lambda key: (key[0], order.get(key[1], len(order))))

    def best_source(self, symbol: str, asked: str | None = None) -> str | None:
        """The source to show of a symbol; None where there are no rows (from the one asked for)."""
        wanted = [asked] if asked else [source.value for source in PREFERRED]
        return next((source for source in wanted if (symbol, source) in self._objects), None)

    def rows(self, symbol: str, source: str) -> "pa.Table":
        """All sessions of a symbol in order; the columns of `merge.COLUMNS`.

        Raises:
            KeyError: there are none.
            StageError: the store does not answer, or an object is not what its manifest names.
        """
        key = (symbol, source)
        try:
            return self._rows(key)
        except IntegrityError:
            # A run of the same date has switched to other files since the manifests were read.
            self.refresh(force=True)
            return self._rows(key)

    def summary(self, symbol: str, source: str) -> Summary:
        """One symbol's history in short; raises as `rows`."""
        known = self._summaries.get((symbol, source))
        if known is None or known[0] is not self._objects.get((symbol, source)):
            self.rows(symbol, source)
            known = self._summaries[symbol, source]
        return known[1]

    def known_summary(self, symbol: str, source: str) -> Summary | None:
        """The same as far as it is known without asking the store."""
        known = self._summaries.get((symbol, source))
        return known[1] if known else None

    def _rows(self, key: Key) -> "pa.Table":
        with self._lock:
            merging = self._merging.setdefault(key, threading.Lock())
        with merging:
            with self._lock:
                refs = self._objects[key]
                held = self._held.get(key)
                if held is not None:
                    self._held.move_to_end(key)
            table = held.table if held is not None and held.refs == refs else self._merge(key, refs, held)
            self._summaries[key] = (refs, _summary(table))
            return table

    def _merge(self, key: Key, refs: tuple[ObjectRef, ...], held: _Held | None) -> "pa.Table":
        # The usual change is one more batch at the end: what was merged before stands for those before it.
        known = held if held is not None and refs[: len(held.refs)] == held.refs else None
        new = refs[len(known.refs) :] if known else refs

        def fetch(ref: ObjectRef) -> "pa.Table":
            return parse(self._guard.call(lambda store: lineage.fetch(store, ref)), ref)

        parts = [known.table] if known else []
        parts += list(self._pool.map(fetch, new))
        table = merged(parts)
        if table.num_rows == 0:
            raise StageError(f"the batches of {key[0]} from {key[1]} hold no rows")
        with self._lock:
            self._held[key] = _Held(refs, table)
            self._held.move_to_end(key)
            while len(self._held) > 1 and sum(each.table.nbytes for each in self._held.values()) > self._cache_bytes:
                self._held.popitem(last=False)
        return table


def _summary(table: "pa.Table") -> Summary:
    days, closes = table["session_date"], table["close"]
    start = max(0, table.num_rows - _TAIL)
    tail = tuple(zip(days.slice(start).to_pylist(), closes.slice(start).to_pylist(), strict=True))
    return Summary(days[0].as_py(), days[-1].as_py(), table.num_rows, tail)
