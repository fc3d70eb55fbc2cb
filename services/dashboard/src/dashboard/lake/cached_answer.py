"""An answer that is asked for at a limited rate, however many pages are open."""

import threading
import time
from collections.abc import Callable
from typing import Any


class Held:
    """What `ask` last answered, for `seconds`; an error of it is not held. May be read from several threads."""

    def __init__(self, seconds: float, ask: Callable[[], list[dict[str, Any]]]) -> None:
        self._seconds, self._ask = seconds, ask
        self._lock = threading.Lock()
        self._found: tuple[float, list[dict[str, Any]]] | None = None

    def read(self) -> list[dict[str, Any]]:
        """The answer, at most `seconds` old."""
        with self._lock:
            if self._found is None or time.monotonic() - self._found[0] >= self._seconds:
                answer = self._ask()
                self._found = (time.monotonic(), answer)
            return self._found[1]
