"""What failed validation, from the lake, newest first."""

from concurrent.futures import Executor
from typing import Any

from pydantic import ValidationError

from dashboard.cached_answer import CachedAnswer
from dashboard.lake.store_guard import StoreGuard
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.quarantine import QuarantinedMessage

_PREFIX = "quarantine/"
_EXCERPT = 300

Rank = tuple[int, str]
"""When an object was written, in milliseconds since 1970, and its key."""


class QuarantineView:
    """The quarantine. Safe for use from several threads.

    Args:
        refresh_seconds: least time between two listings.
        pool: reads several objects at a time.
    """

    def __init__(self, guard: StoreGuard[ObjectStore], refresh_seconds: float, pool: Executor) -> None:
        self._guard, self._pool = guard, pool
        self._listed = CachedAnswer(refresh_seconds, self._list)

    def page(self, limit: int, after: Rank | None) -> tuple[list[dict[str, Any]], Rank | None]:
        """Items behind `after` as `models_platform.QuarantineItem` has them, and where the next page begins.

        Raises:
            StageError: the store does not answer.
        """
        listed = [info for info in self._listed.read() if after is None or _rank(info) < after]
        page = listed[:limit]
        items = self._pool.map(lambda info: self._guard.call(lambda store: _read(store, info)), page)
        return [item for item in items if item is not None], _rank(page[-1]) if len(listed) > limit else None

    def _list(self) -> list[ObjectInfo]:
        found = self._guard.call(lambda store: list(store.list_objects(_PREFIX)))
        return sorted(found, key=_rank, reverse=True)


def _rank(info: ObjectInfo) -> Rank:
    return round(info.modified.timestamp() * 1000) if info.modified else 0, info.key


def _read(store: ObjectStore, info: ObjectInfo) -> dict[str, Any] | None:
    try:
        message = QuarantinedMessage.model_validate_json(store.get(info.key))
        original = message.original
    except (KeyError, ValidationError, ValueError):
        return None  # gone meanwhile, or no quarantined message
    text = original[: _EXCERPT * 4].decode(errors="replace")
    excerpt = "".join(char if char.isprintable() else "·" for char in text[:_EXCERPT])
    return {
        "key": info.key,
        "at": message.record_time or info.modified,
        "where": _where(message),
        "stage": message.stage,
        "reason": message.reason,
        "symbol": message.symbol,
        "run_id": message.run_id,
        "excerpt": excerpt,
    }


def _where(message: QuarantinedMessage) -> str:
    if message.topic is not None:
        return f"{message.topic} partition {message.partition} offset {message.offset}"
    return f"run {message.run_id}, {message.symbol} row {message.position}"
