"""What failed validation, from the lake, newest first: to search, and each one in full."""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dashboard.cached_answer import CachedAnswer
from dashboard.lake.store_guard import StoreGuard
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.quarantine import QuarantinedMessage, objects_below, printable, read_object
from ticklake.quarantine_decisions import Decided, Decisions, commands

_EXCERPT = 300
_DETAIL_BYTES = 4096
_INDEX_BYTES = 32 * 1024 * 1024
"""Of the newest objects, which are searched: about 50,000 messages. `ticklake quarantine list` searches all."""

Rank = tuple[int, str]
"""When a message came in, in milliseconds since 1970, and its id."""


@dataclass(frozen=True)
class Search:
    """Which messages are asked for."""

    text: str = ""
    """Part of reason, symbol, place, run, stage or id, in either case."""
    topic: str | None = None
    run: str | None = None
    decided: bool = False
    """Also those that somebody has decided on."""

    def finds(self, item: dict[str, Any]) -> bool:
        """Whether it is one of them, but for `decided`."""
        if self.topic is not None and item["topic"] != self.topic:
            return False
        if self.run is not None and item["run_id"] != self.run:
            return False
        texts = (item[name] or "" for name in ("reason", "symbol", "where", "run_id", "stage", "id", "replay_of"))
        return self.text.lower() in "\n".join(texts).lower()


@dataclass(frozen=True)
class _Index:
    items: list[dict[str, Any]]
    """Newest first, each message once."""
    decisions: dict[str, Decided]
    whole: bool
    """Whether nothing older was left out."""


class QuarantineView:
    """The quarantine. Safe for use from several threads.

    Args:
        refresh_seconds: least time between two listings.
        pool: reads several objects at a time.
    """

    def __init__(self, guard: StoreGuard[ObjectStore], refresh_seconds: float, pool: Executor) -> None:
        self._guard, self._pool = guard, pool
        self._decisions = Decisions(guard.store)
        self._objects: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._index = CachedAnswer(refresh_seconds, self._read)

    def page(self, limit: int, after: Rank | None, search: Search) -> tuple[list[dict[str, Any]], Rank | None, bool]:
        """Items behind `after` as `models_platform.QuarantineItem` has them, where the next page begins, and whether
        all there is was searched.

        Raises:
            StageError: the store does not answer.
        """
        index = self._index.read()
        found: list[dict[str, Any]] = []
        for item in index.items:
            decision = index.decisions.get(item["id"])
            if (after is not None and _rank(item) >= after) or not search.finds(item):
                continue
            if decision is not None and not (search.decided or decision.open):
                continue
            if len(found) == limit:
                return found, _rank(found[-1]), index.whole
            found.append(item | {"decision": decision and decision.description()})
        return found, None, index.whole

    def detail(self, message_id: str) -> dict[str, Any] | None:
        """One message as `models_platform.QuarantineDetail` has it; None where none of those searched has the id.

        Raises:
            StageError: the store does not answer.
        """
        index = self._index.read()
        item = next((item for item in index.items if item["id"] == message_id), None)
        if item is None:
            return None
        there = self._guard.call(lambda store: read_object(store, item["object"]))
        message = next((each for each in there if each.id == message_id), None)
        if message is None:
            return None
        original, decision = message.original, index.decisions.get(message_id)
        return item | {
            "decision": decision and decision.description(),
            "commands": commands(message, decision),
            "bytes": len(original),
            "message_key": None if message.key is None else printable(message.key),
            "text": printable(original[:_DETAIL_BYTES]),
            "hex": original[:_DETAIL_BYTES].hex(" "),
        }

    def _read(self) -> _Index:
        listed = self._guard.call(lambda store: list(objects_below(store)))
        infos, whole = _newest(listed)
        new = [info for info in infos if (info.key, info.etag) not in self._objects]
        read = self._pool.map(lambda info: self._guard.call(lambda store: _items(store, info)), new)
        known = self._objects | {(info.key, info.etag): items for info, items in zip(new, read, strict=True)}
        self._objects = {(info.key, info.etag): known[info.key, info.etag] for info in infos}
        once = {item["id"]: item for items in self._objects.values() for item in items}
        decisions = self._guard.call(lambda _: self._decisions.now())
        return _Index(sorted(once.values(), key=_rank, reverse=True), decisions, whole)


def _newest(infos: Iterable[ObjectInfo]) -> tuple[list[ObjectInfo], bool]:
    """The newest objects of up to `_INDEX_BYTES`, and whether they are all."""
    found: list[ObjectInfo] = []
    size = 0
    for info in sorted(infos, key=_written, reverse=True):
        size += info.size
        if found and size > _INDEX_BYTES:
            return found, False
        found.append(info)
    return found, True


def _written(info: ObjectInfo) -> datetime:
    return info.modified or datetime.fromtimestamp(0, UTC)


def _rank(item: dict[str, Any]) -> Rank:
    return round(item["at"].timestamp() * 1000), item["id"]


def _items(store: ObjectStore, info: ObjectInfo) -> list[dict[str, Any]]:
    return [
        {
            "id": message.id,
            "object": info.key,
            "at": message.record_time or _written(info),
            "where": _where(message),
            "stage": message.stage,
            "reason": message.reason,
            "symbol": message.about,
            "topic": message.topic,
            "run_id": message.run_id,
            "replay_of": message.replay_of,
            "excerpt": printable(message.original[: _EXCERPT * 4])[:_EXCERPT],
        }
        for message in read_object(store, info.key)
    ]


def _where(message: QuarantinedMessage) -> str:
    if message.topic is not None:
        return f"{message.topic} partition {message.partition} offset {message.offset}"
    return f"run {message.run_id}, {message.symbol} row {message.position}"
