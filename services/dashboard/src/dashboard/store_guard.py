"""The store as the dashboard uses it: when it is away, requests learn so at once instead of waiting one by one."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from ticklake.errors import IntegrityError, StageError
from ticklake.objects import ObjectStore

T = TypeVar("T")


class StoreGuard:
    """A circuit breaker around the store.

    After a failure, calls fail at once with the same words until `pause_seconds` have passed; then one call tries
    again while the others go on failing.

    Args:
        pause_seconds: least time between two tries while the store is away.
    """

    def __init__(self, store: ObjectStore, pause_seconds: float) -> None:
        self.store = store
        self._pause = pause_seconds
        self._lock = threading.Lock()
        self._failure = ""
        self._asked = False
        self._next_try = 0.0

    @property
    def failure(self) -> str:
        """Why the last call failed; empty while the store answers."""
        return self._failure if self._asked else "not asked yet"

    def call(self, work: Callable[[ObjectStore], T]) -> T:
        """`work` done with the store.

        Raises:
            StageError: the store is away or refuses, now or a moment ago.
        """
        with self._lock:
            if self._failure:
                if time.monotonic() < self._next_try:
                    raise StageError(self._failure)
                self._next_try = time.monotonic() + self._pause
        try:
            result = work(self.store)
        except IntegrityError:
            raise  # the store answers; what it holds is another matter
        except StageError as error:
            with self._lock:
                self._failure, self._asked = str(error), True
                self._next_try = time.monotonic() + self._pause
            raise
        self._failure, self._asked = "", True
        return result
