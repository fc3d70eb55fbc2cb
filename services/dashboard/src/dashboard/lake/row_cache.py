"""Rows held in memory: the least recently used go first."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class RowCache:
    """What was read from the lake, each under a key and with the version that it is of. Safe for several threads.

    Args:
        most_bytes: most that all of it may take; what was put last always stays.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, tuple[Any, Any, int]] = OrderedDict()

    def get(self, key: Hashable, version: Any) -> Any | None:
        """What is held under `key`, None where there is nothing of that version."""
        with self._lock:
            found = self._held.get(key)
            if found is None or found[0] != version:
                return None
            self._held.move_to_end(key)
            return found[1]

    def put(self, key: Hashable, version: Any, rows: Any, size: int) -> None:
        """Hold `rows`, which take `size` bytes."""
        with self._lock:
            self._held[key] = (version, rows, size)
            self._held.move_to_end(key)
            while len(self._held) > 1 and sum(each for _, _, each in self._held.values()) > self._most_bytes:
                self._held.popitem(last=False)
