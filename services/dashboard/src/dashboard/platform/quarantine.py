"""What failed validation, from the lake, newest first."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import ValidationError

from dashboard.lake.store_guard import StoreGuard
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.quarantine import QuarantinedMessage

_PREFIX = "quarantine/"
_READERS = 16
_EXCERPT = 300

Rank = tuple[int, str]
"""When an object was written, in milliseconds since 1970, and its key."""


class QuarantineView:
    """The quarantine. Safe for use from several threads.

    Args:
        refresh_seconds: least time between two listings.
    """

    def __init__(self, guard: StoreGuard[ObjectStore], refresh_seconds: float) -> None:
        self._guard, self._refresh_seconds = guard, refresh_seconds
        self._listing = threading.Lock()
        self._listed: tuple[float, list[ObjectInfo]] | None = None
        self._pool = ThreadPoolExecutor(_READERS, "quarantine")

    def close(self) -> None:
        """End the readers."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def page(self, limit: int, after: Rank | None) -> tuple[list[dict[str, Any]], Rank | None]:
        """Items behind `after` as `models_platform.QuarantineItem` has them, and where the next page begins.

        Raises:
            StageError: the store does not answer.
        """
        listed = [info for info in self._list() if after is None or _rank(info) < after]
        page = listed[:limit]
        items = self._pool.map(lambda info: self._guard.call(lambda store: _read(store, info)), page)
        return [item for item in items if item is not None], _rank(page[-1]) if len(listed) > limit else None

    def _list(self) -> list[ObjectInfo]:
        with self._listing:
            if self._listed is None or time.monotonic() - self._listed[0] >= self._refresh_seconds:
                found = self._guard.call(lambda store: list(store.list_objects(_PREFIX)))
                self._listed = (time.monotonic(), sorted(found, key=_rank, reverse=True))
            return self._listed[1]


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
