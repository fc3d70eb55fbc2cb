"""The price crosses a level."""

from typing import ClassVar, Literal

from market_alerts.history import PriceHistory
from market_alerts.rules.base import CrossingRule, Direction, Positive, number


class PriceCross(CrossingRule):
    """The price crosses a level. Value: the price."""

    label: ClassVar = "Price level"
    value_format: ClassVar = "{:,.4f}"

    kind: Literal["price_cross"]
    level: Positive

    def measure(self, history: PriceHistory) -> float:
        """The price."""
        return history.price

    def thresholds(self) -> tuple[float, float]:
        """The level, from both sides."""
        return self.level, self.level

    def text_of(self, direction: Direction) -> str:
        """E.g. `crosses above 200`."""
        return self.crosses(number(self.level), direction)
