"""The store, and the tables in it, as the dashboard uses them: when one is away, requests learn so at once."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ticklake.errors import IntegrityError, StageError

S = TypeVar("S")
T = TypeVar("T")


class StoreGuard(Generic[S]):
    """A circuit breaker around a store.

    After a failure, calls fail at once with the same words until `pause_seconds` have passed; then one call tries
    again while the others go on failing.

    Args:
        pause_seconds: least time between two tries while the store is away.
    """

    def __init__(self, store: S, pause_seconds: float) -> None:
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

    def call(self, work: Callable[[S], T]) -> T:
        """`work` done with the store.

        Raises:
            StageError: the store is away or denies access, now or a moment ago.
        """
        with self._lock:
            if self._failure:
                if time.monotonic() < self._next_try:
                    raise StageError(self._failure)
                self._next_try = time.monotonic() + self._pause
        try:
            result = work(self.store)
        except IntegrityError:
            self._failure, self._asked = "", True  # it answers; what it holds is another matter
            raise
        except StageError as error:
            with self._lock:
                self._failure, self._asked = str(error), True
                self._next_try = time.monotonic() + self._pause
            raise
        self._failure, self._asked = "", True
        return result
