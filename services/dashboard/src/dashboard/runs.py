"""Pipeline runs from their result records in the lake."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from dashboard import graph
from dashboard.store_guard import StoreGuard
from ticklake.lineage import StageRecord, elapsed_seconds
from ticklake.names import lineage_prefix
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.pipeline import BATCH_STAGES
from ticklake.records import Source

_ROOT = "lineage/"
_RUN = "run"
_READERS = 16
_HELD_RECORDS = 2000

_ORDER = {stage.program: number for number, stage in enumerate(BATCH_STAGES)}


@dataclass(frozen=True)
class _Listed:
    """A run as the listing shows it."""

    folder: str
    objects: dict[str, ObjectInfo]
    """By the record's name."""

    @property
    def rank(self) -> tuple[int, str]:
        """When its first record was written, in milliseconds since 1970, and its folder: newest first by this."""
        times = [info.modified.timestamp() for info in self.objects.values() if info.modified is not None]
        return round(min(times, default=0) * 1000), self.folder


class _Summary(BaseModel):
    """What is needed of a run's summary; its copies of the stages' records are left alone."""

    reconciled: bool
    disagreements: tuple[str, ...] = ()
    warehouse_table: str


Record = StageRecord | _Summary


class Runs:
    """The runs in the lake. Safe for use from several threads.

    Args:
        refresh_seconds: least time between two listings.
    """

    def __init__(self, guard: StoreGuard, refresh_seconds: float) -> None:
        self._guard, self._refresh_seconds = guard, refresh_seconds
        self._lock, self._listing = threading.Lock(), threading.Lock()
        self._listed: tuple[float, list[_Listed]] | None = None
        self._records: OrderedDict[tuple[str, str], Record] = OrderedDict()
        self._pool = ThreadPoolExecutor(_READERS, "runs")

    def close(self) -> None:
        """End the readers."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def page(self, limit: int, after: tuple[int, str] | None) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
        """Runs behind `after`, newest first, as `models_platform.RunItem` has them, and where the next page begins.

        Raises:
            StageError: the store does not answer.
        """
        listed = [run for run in self._list() if after is None or run.rank < after]
        items = [short(records, summary) for records, summary in map(self._read, listed[:limit]) if records]
        return items, listed[limit - 1].rank if len(listed) > limit else None

    def detail(self, run_id: str) -> dict[str, Any] | None:
        """A run as `models_platform.RunDetail` has it; None where there is none.

        Raises:
            StageError: the store does not answer.
        """
        folder = lineage_prefix(run_id) + "/"
        found = self._guard.call(lambda store: _grouped(store.list_objects(folder)))
        records, summary = self._read(found[0]) if found else ([], None)
        if not records:
            return None
        whole = short(records, summary)
        return whole | {
            "disagreements": list(summary.disagreements) if summary else [],
            "stages": [_stage(record) for record in records],
            "symbols": _symbols(records),
            "lineage": graph.build(records, summary.warehouse_table if summary else None),
        }

    def _list(self) -> list[_Listed]:
        with self._listing:
            if self._listed is None or time.monotonic() - self._listed[0] >= self._refresh_seconds:
                found = self._guard.call(lambda store: _grouped(store.list_objects(_ROOT)))
                self._listed = (time.monotonic(), sorted(found, key=lambda run: run.rank, reverse=True))
            return self._listed[1]

    def _read(self, run: _Listed) -> tuple[list[StageRecord], _Summary | None]:
        """A run's stage records in the pipeline's order, and its summary if it has one."""
        wanted = [run.objects[name] for name in (*_ORDER, _RUN) if name in run.objects]
        found = list(self._pool.map(self._record, wanted))
        stages = [record for record in found if isinstance(record, StageRecord)]
        return stages, next((record for record in found if isinstance(record, _Summary)), None)

    def _record(self, info: ObjectInfo) -> Record | None:
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


def _fetch(store: ObjectStore, key: str) -> Record | None:
    kind: type[StageRecord] | type[_Summary] = _Summary if key.endswith(f"/{_RUN}.json") else StageRecord
    try:
        return kind.model_validate_json(store.get(key))
    except (KeyError, ValidationError):
        return None  # gone meanwhile, or of a schema that this version does not know


def _grouped(found: Iterable[ObjectInfo]) -> list[_Listed]:
    runs: dict[str, dict[str, ObjectInfo]] = {}
    for info in found:
        folder, _, name = info.key.rpartition("/")
        if folder.startswith(f"{_ROOT}run_id=") and name.endswith(".json"):
            runs.setdefault(folder, {})[name.removesuffix(".json")] = info
    return [_Listed(folder, objects) for folder, objects in runs.items()]


def short(records: list[StageRecord], summary: _Summary | None) -> dict[str, Any]:
    """A run in short, from its stages' records in order (one at least)."""
    first, last = records[0], max(records, key=lambda record: record.finished_at)
    started = min(record.started_at for record in records)
    done = len(records)
    reconciled = summary.reconciled if summary else None
    failed = any(not check.passed for record in records for check in record.checks)
    complete = done == len(BATCH_STAGES) and bool(reconciled) and not failed
    source: Source = first.source
    return {
        "run_id": first.run_id, "batch_date": first.batch_date, "source": source.value,
        "state": "succeeded" if complete else "incomplete", "started_at": started, "finished_at": last.finished_at,
        "seconds": (last.finished_at - started).total_seconds(), "rows_in": first.rows_in,
        "rows_out": records[-1].rows_out, "quarantined": sum(record.quarantined for record in records),
        "stages_done": done, "stages_total": len(BATCH_STAGES), "reconciled": reconciled,
    }  # fmt: skip


def _stage(record: StageRecord) -> dict[str, Any]:
    return {
        "stage": record.stage, "started_at": record.started_at, "finished_at": record.finished_at,
        "seconds": elapsed_seconds(record), "rows_in": record.rows_in, "rows_out": record.rows_out,
        "quarantined": record.quarantined, "notes": list(record.notes),
        "checks": [check.model_dump() | {"passed": check.passed} for check in record.checks],
        "timings": record.timings, "code_version": record.code_version, "objects": len(record.objects),
        "bytes": sum(ref.size for ref in record.objects),
    }  # fmt: skip


def _symbols(records: list[StageRecord]) -> list[dict[str, Any]]:
    """Each symbol as the last stage has it, with what any stage put into quarantine."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        for symbol, part in record.symbols.items():
            before = found.get(symbol, {"quarantined": 0, "missing_sessions": 0})
            found[symbol] = {
                "symbol": symbol, "status": part.status.value, "rows": part.rows,
                "quarantined": before["quarantined"] + (part.quarantined if record.quarantined else 0),
                "missing_sessions": max(before["missing_sessions"], len(part.missing_sessions)),
            }  # fmt: skip
    return [found[symbol] for symbol in sorted(found)]
