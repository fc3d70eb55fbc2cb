"""An answer that is asked for at a limited rate, however many pages are open."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class CachedAnswer(Generic[T]):
    """What `ask` last answered, for `seconds`; an error of it is not kept. May be read from several threads."""

    def __init__(self, seconds: float, ask: Callable[[], T]) -> None:
        self._seconds, self._ask = seconds, ask
        self._lock = threading.Lock()
        self._found: tuple[float, T] | None = None

    def read(self) -> T:
        """The answer, at most `seconds` old."""
        with self._lock:
            if self._found is None or time.monotonic() - self._found[0] >= self._seconds:
                self._found = (time.monotonic(), self._ask())
            return self._found[1]
