"""The newest batch runs as recorded in the lake; only what is new or changed is read."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import ValidationError

from ticklake import logs
from ticklake.lineage import RunLineage, StageFailure, StageRecord
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.runs import State, folder_of, kind_of, state_of, unrecovered

_READERS = 8
_NEVER = datetime.min.replace(tzinfo=UTC)

log = logs.get(__name__)


@dataclass
class RunState:
    """What is known of one run."""

    records: dict[str, StageRecord] = field(default_factory=dict)
    """By stage."""
    failures: dict[str, StageFailure] = field(default_factory=dict)
    """By stage; the latest of each, also where a later try went well."""
    summary: RunLineage | None = None

    @property
    def started_at(self) -> datetime:
        """When its first stage started."""
        parts: list[StageRecord | StageFailure] = [*self.records.values(), *self.failures.values()]
        return min((part.started_at for part in parts), default=_NEVER)

    @property
    def failed(self) -> tuple[StageFailure, ...]:
        """Failures that no later try of their stage has recovered."""
        return unrecovered(self.records, self.failures)

    @property
    def state(self) -> State:
        """How far it is."""
        return state_of(self.records, self.failures, None if self.summary is None else self.summary.reconciled)


@dataclass(frozen=True)
class News:
    """What one read of the lake found that was not there, or not so, before."""

    records: tuple[StageRecord, ...] = ()
    failures: tuple[StageFailure, ...] = ()
    unreadable: int = 0
    """Objects that are no record this version can read."""


class Runs:
    """The newest runs of the lake. Not for use from several threads."""

    def __init__(self, store: ObjectStore, recent: int) -> None:
        self._store, self._recent = store, recent
        self._seen: dict[str, str] = {}
        self.by_folder: dict[str, RunState] = {}

    def refresh(self, listed: Iterable[ObjectInfo]) -> News:
        """Take in what is new.

        Args:
            listed: the objects below `lineage/`.

        Raises:
            StageError: the store does not answer; what was known stays.
        """
        folders: dict[str, list[ObjectInfo]] = {}
        for info in listed:
            folders.setdefault(folder_of(info.key), []).append(info)
        newest = sorted(folders, key=lambda name: _touched(folders[name]), reverse=True)[: self._recent]
        due = [info for name in newest for info in folders[name] if self._seen.get(info.key) != info.etag]
        with ThreadPoolExecutor(_READERS) as pool:
            bodies = list(pool.map(self._body, due))
        for name in set(self.by_folder) - set(newest):
            del self.by_folder[name]
        self._seen = {key: etag for key, etag in self._seen.items() if folder_of(key) in self.by_folder}
        records, failures, unreadable = [], [], 0
        for info, body in zip(due, bodies, strict=True):
            if body is None:
                continue
            kind = kind_of(info.key)
            try:
                part = None if kind is None else kind.model_validate_json(body)
            except ValidationError as error:
                unreadable += 1
                log.warning("no readable record", key=info.key, reason=error.errors()[0]["msg"])
                part = None
            self._seen[info.key] = info.etag
            run = self.by_folder.setdefault(folder_of(info.key), RunState())
            if isinstance(part, StageRecord):
                run.records[part.stage] = part.model_copy(update={"symbols": {}, "offsets": ()})
                records.append(part)
            elif isinstance(part, StageFailure):
                run.failures[part.stage] = part
                failures.append(part)
            elif part is not None:
                run.summary = part.model_copy(update={"symbols": {}, "stages": ()})
        return News(tuple(records), tuple(failures), unreadable)

    def _body(self, info: ObjectInfo) -> bytes | None:
        try:
            return self._store.get(info.key)
        except KeyError:
            return None


def _touched(infos: Iterable[ObjectInfo]) -> datetime:
    return max(info.modified or _NEVER for info in infos)
