"""A bar's volume is a multiple of the mean of the bars before it."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from market_alerts.bars import Bars
from market_alerts.history import PriceHistory
from market_alerts.rules.base import BarCount, BaseRule, Condition, number


class VolumeSpike(BaseRule):
    """A bar's volume is a multiple of the mean of the bars before it. Value: the multiple."""

    label: ClassVar = "Volume spike"
    unit: ClassVar = " times"

    kind: Literal["volume_spike"]
    bars: BarCount = 20
    factor: Annotated[float, Field(gt=1, allow_inf_nan=False)]

    @property
    def bars_needed(self) -> int:
        """One more than those before the last full one."""
        return self.bars + 1

    def measure(self, history: PriceHistory) -> float | None:
        """The multiple."""
        return volume_ratio(history.bars, self.bars)

    def conditions(self) -> Sequence[Condition]:
        """The factor."""
        text = f"one-minute volume is at least {number(self.factor)} times the mean of the {self.bars} bars before"
        return [Condition("above", self.factor, 1, self.hysteresis, text)]


def volume_ratio(bars: Bars, count: int) -> float | None:
    """Volume over the mean of the `count` bars before: the greater of the last full bar's and the running bar's.

    A running bar that is over the limit already will not come back under it; one that has just begun says nothing,
    therefore the full one counts beside it. None without that many bars, or where they had no volume.
    """
    *ended, running = bars.open
    found = [_ratio(bars, running.volume, [bar.volume for bar in ended], count)]
    if ended:
        found.append(_ratio(bars, ended[-1].volume, [bar.volume for bar in ended[:-1]], count))
    elif bars.volumes and len(bars.volumes) > count:
        last = bars.volumes[-1]
        mean = (bars.sum_of_volumes(count + 1) - last) / count
        found.append(last / mean if mean else None)
    return max((ratio for ratio in found if ratio is not None), default=None)


def _ratio(bars: Bars, volume: int, before: list[int], count: int) -> float | None:
    before = before[-count:]
    sealed = count - len(before)
    if sealed > len(bars.volumes):
        return None
    mean = (bars.sum_of_volumes(sealed) + sum(before)) / count
    return volume / mean if mean else None
