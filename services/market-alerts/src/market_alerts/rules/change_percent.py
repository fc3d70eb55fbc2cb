"""The price changes by so many percent within a sliding window."""

from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from market_alerts.history import Indicator, PriceHistory
from market_alerts.rules.base import BaseRule, Direction, DirectionalRule, Duration, Positive, duration, number

_MAX_SLICES = 240
"""Into which a window is divided."""
_MAX_WINDOWS = 20
"""Distinct windows of all rules: each has slices of its own per symbol."""


class ChangePercent(DirectionalRule):
    """The price changes by so many percent within a window that slides with event time. Value: percent."""

    label: ClassVar = "Price change"
    unit: ClassVar = " %"
    value_format: ClassVar = "{:+.2f}"

    kind: Literal["change_percent"]
    window: Annotated[Duration, Field(ge=5, le=86_400)]
    percent: Positive

    def indicators(self) -> Sequence[Indicator]:
        """The window."""
        return (SlidingWindow(self.window * 1000),)

    def measure(self, history: PriceHistory) -> float:
        """Percent by which the price differs from the first one in the window: 100 x (price / first - 1)."""
        return 100 * (history.price / history.indicator(SlidingWindow, self.window * 1000).first() - 1)

    def thresholds(self) -> tuple[float, float]:
        """The percentage, upwards and downwards."""
        return self.percent, -self.percent

    def text_of(self, direction: Direction) -> str:
        """E.g. `rises 1 % or more within 15 minutes`."""
        verb = {"up": "rises", "down": "falls", "either": "moves"}[direction]
        either = " in either direction" if direction == "either" else ""
        return f"{verb} {number(self.percent)} % or more{either} within {duration(self.window)}"

    @property
    def rearms(self) -> str:
        """E.g. `below 0.7 %`, of the move in its own direction."""
        return f"below {number(self.percent - self.hysteresis)} %"

    @classmethod
    def check_all(cls, rules: Sequence[BaseRule]) -> None:
        """Check how many windows there are.

        Raises:
            ValueError: they are too many.
        """
        if len({rule.window for rule in rules if isinstance(rule, cls)}) > _MAX_WINDOWS:
            raise ValueError(f"window: change_percent rules may have {_MAX_WINDOWS} different ones in all")


class SlidingWindow(Indicator):
    """The first price of each slice of a sliding window of event time; up to 240 slices, none under a second."""

    name = "samples"

    def __init__(self, window_ms: int) -> None:
        super().__init__(window_ms)
        self.slice_ms = max(1000, -(-window_ms // _MAX_SLICES))
        self._items: deque[tuple[int, float]] = deque()

    def on_tick(self, event_ms: int, price: float, newest_ms: int) -> None:
        """Add a tick; `newest_ms` is the newest event time, this tick's included."""
        items = self._items
        if not items or event_ms // self.slice_ms > items[-1][0] // self.slice_ms:
            items.append((event_ms, price))
        elif event_ms < items[-1][0]:
            self._add_late(event_ms, price)
        oldest = newest_ms - self.parameter
        while items[0][0] < oldest and len(items) > 1:
            items.popleft()

    def _add_late(self, event_ms: int, price: float) -> None:
        slice_ = event_ms // self.slice_ms
        for position in range(len(self._items) - 1, -1, -1):
            other = self._items[position][0] // self.slice_ms
            if other == slice_:
                if event_ms < self._items[position][0]:
                    self._items[position] = (event_ms, price)
                return
            if other < slice_:
                self._items.insert(position + 1, (event_ms, price))
                return
        self._items.appendleft((event_ms, price))

    def first(self) -> float:
        """The oldest price in the window."""
        return self._items[0][1]

    def dump(self) -> list[tuple[int, float]]:
        """The slices as JSON has them."""
        return list(self._items)

    def restore(self, dumped: list[list[Any]]) -> None:
        """Continue from what `dump` gave."""
        self._items.extend((int(at), float(price)) for at, price in dumped)
