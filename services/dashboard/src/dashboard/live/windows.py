"""Windows from the analytics topic: the running ones, and those that closed since this process started."""

import threading
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from ticklake.records import WINDOW_LENGTHS, WindowMessage

_HELD = 400
"""Newest windows per symbol, source and length."""

Series = tuple[str, str, str]
"""Symbol, source, window length."""


def with_bands(window: dict[str, Any]) -> dict[str, Any]:
    """The window with bands of two standard deviations around its mean price."""
    mean, deviation = window["moving_average"], window["volatility"]
    upper, lower = (None, None) if deviation is None else (mean + 2 * deviation, mean - 2 * deviation)
    return window | {"upper_band": upper, "lower_band": lower}


class WindowState:
    """The newest version of each window. One thread adds, any number reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[Series, dict[datetime, WindowMessage]] = {}
        self._changed: dict[tuple[Series, datetime], WindowMessage] = {}

    def add(self, value: bytes) -> bool:
        """Take a message; False for one that is no window or older than what is held."""
        try:
            window = WindowMessage.model_validate_json(value)
        except ValidationError:
            return False
        series = (window.symbol, window.source, window.window_length)
        start: datetime = window.window_start
        with self._lock:
            mine = self._windows.setdefault(series, {})
            held = mine.get(start)
            if held is not None and held.version > window.version:
                return False
            mine[start] = window
            self._changed[series, start] = window
            if len(mine) > _HELD:
                del mine[min(mine)]
        return True

    def find(self, symbol: str, length: str, source: str | None = None) -> list[dict[str, Any]]:
        """All windows held of a symbol as `models.Window` has them, oldest first; of the newest source."""
        with self._lock:
            found = {
                series[1]: list(held.values())
                for series, held in self._windows.items()
                if series[0] == symbol and series[2] == length and source in (None, series[1]) and held
            }
        if not found:
            return []
        newest = max(found, key=lambda name: max(window.last_event_time for window in found[name]))
        return [_shown(window) for window in sorted(found[newest], key=lambda window: window.window_start)]

    def running(self) -> list[dict[str, Any]]:
        """Of each symbol and length the fullest running window: the one that closes next."""
        with self._lock:
            fullest = [_fullest(held) for held in self._windows.values()]
        return [_shown(window) for window in fullest if window is not None]

    def take_changed(self) -> list[dict[str, Any]]:
        """Windows to report since the last call: every closed one, and of the running ones the fullest."""
        with self._lock:
            changed, self._changed = self._changed, {}
            fullest = {series: _fullest(self._windows[series]) for series, _ in changed}
        return [_shown(w) for (series, _), w in changed.items() if w.final or w is fullest[series]]


def _fullest(held: dict[datetime, WindowMessage]) -> WindowMessage | None:
    running = [window for window in held.values() if not window.final]
    if not running:
        return None
    # One whose end was never reported (its flow stopped) is not running any more.
    newest = max(held)
    closed = max((start for start, window in held.items() if window.final), default=None)
    length = WINDOW_LENGTHS[running[0].window_length]
    open_ = [
        window
        for window in running
        if window.window_start > newest - length and (closed is None or window.window_start > closed)
    ]
    return min(open_, key=lambda window: window.window_start, default=None)


def _shown(window: WindowMessage) -> dict[str, Any]:
    return with_bands(window.model_dump())
