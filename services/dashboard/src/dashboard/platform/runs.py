"""Pipeline runs from what their stages leave in the lake."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dashboard.cached_answer import CachedAnswer
from dashboard.lake.store_guard import StoreGuard
from dashboard.platform import run_items
from dashboard.platform.run_items import Part, RunParts, Summary
from ticklake.keys import lineage_prefix
from ticklake.lineage import RunLineage, StageFailure, StageRecord
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.runs import PREFIX, folder_of, kind_of

_HELD_RECORDS = 2000
_READ_AS: dict[type | None, type[StageRecord] | type[StageFailure] | type[Summary]] = {
    StageRecord: StageRecord,
    StageFailure: StageFailure,
    RunLineage: Summary,
}


@dataclass(frozen=True)
class _Listed:
    """A run as the listing shows it."""

    folder: str
    objects: tuple[ObjectInfo, ...]

    @property
    def rank(self) -> tuple[int, str]:
        """When its first record was written, in milliseconds since 1970, and its folder: newest first by this."""
        times = [info.modified.timestamp() for info in self.objects if info.modified is not None]
        return round(min(times, default=0) * 1000), self.folder


class Runs:
    """The runs in the lake. Safe for use from several threads.

    Args:
        refresh_seconds: least time between two listings.
        pool: reads several objects at a time.
    """

    def __init__(self, guard: StoreGuard[ObjectStore], refresh_seconds: float, pool: Executor) -> None:
        self._guard, self._pool = guard, pool
        self._listed = CachedAnswer(refresh_seconds, self._list)
        self._lock = threading.Lock()
        self._records: OrderedDict[tuple[str, str], Part] = OrderedDict()

    def page(self, limit: int, after: tuple[int, str] | None) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
        """Runs behind `after`, newest first, as `models_platform.RunItem` has them, and where the next page begins.

        Raises:
            StageError: the store does not answer.
        """
        listed = [run for run in self._listed.read() if after is None or run.rank < after]
        items = [run_items.short(run) for run in map(self._read, listed[:limit]) if run is not None]
        return items, listed[limit - 1].rank if len(listed) > limit else None

    def detail(self, run_id: str) -> dict[str, Any] | None:
        """A run as `models_platform.RunDetail` has it; None where there is none.

        Raises:
            StageError: the store does not answer.
        """
        folder = lineage_prefix(run_id) + "/"
        found = self._guard.call(lambda store: _grouped(store.list_objects(folder)))
        run = self._read(found[0]) if found else None
        return run_items.detail(run) if run is not None else None

    def _list(self) -> list[_Listed]:
        found = self._guard.call(lambda store: _grouped(store.list_objects(PREFIX)))
        return sorted(found, key=lambda run: run.rank, reverse=True)

    def _read(self, run: _Listed) -> RunParts | None:
        """What there is of a run; None where nothing of it can be read."""
        return RunParts.of(self._pool.map(self._record, run.objects))

    def _record(self, info: ObjectInfo) -> Part | None:
        key = (info.key, info.etag)
        with self._lock:
            if key in self._records:
                self._records.move_to_end(key)
                return self._records[key]
        record = self._guard.call(lambda store: _fetch(store, info.key))
        if record is not None:
            with self._lock:
                self._records[key] = record
                while len(self._records) > _HELD_RECORDS:
                    self._records.popitem(last=False)
        return record


def _fetch(store: ObjectStore, key: str) -> Part | None:
    model = _READ_AS.get(kind_of(key))
    if model is None:
        return None
    try:
        return model.model_validate_json(store.get(key))
    except (KeyError, ValidationError):
        return None  # gone meanwhile, or of a schema that this version does not know


def _grouped(found: Iterable[ObjectInfo]) -> list[_Listed]:
    folders: dict[str, list[ObjectInfo]] = {}
    for info in found:
        if kind_of(info.key) is not None:
            folders.setdefault(folder_of(info.key), []).append(info)
    return [_Listed(folder, tuple(objects)) for folder, objects in folders.items()]
