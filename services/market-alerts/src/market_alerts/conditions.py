"""What the rules look for: each condition measures a value and says whether it calls for an alert, or for its end."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from market_alerts import indicators
from market_alerts.rules import ChangePercent, Direction, MaCross, PriceCross, Rsi, Rule, Volatility, VolumeSpike

if TYPE_CHECKING:
    from market_alerts.series import Series

Measure = Callable[["Series"], float | None]

_NOISE_DIGITS = 9
"""Averages of equal prices differ in their last bits, which is no crossing."""


class Condition:
    """A value at or beyond a threshold on one side.

    It holds at or beyond `threshold`; it has ended once the value is back behind it by more than `hysteresis`. A
    crossing holds only where the value was seen behind the threshold, by more than `hysteresis`, since it last held.
    """

    __slots__ = ("_clear_at", "_sign", "crossing", "measure", "name", "text", "threshold")

    def __init__(
        self, name: str, measure: Measure, threshold: float, sign: int, hysteresis: float, text: str,
        *, crossing: bool = False,
    ) -> None:  # fmt: skip
        """Define a condition.

        Args:
            sign: 1 for at or above the threshold, -1 for at or below it.
            text: what to tell people, with {value}.
        """
        self.name, self.measure, self.threshold, self.text, self.crossing = name, measure, threshold, text, crossing
        self._sign = sign
        self._clear_at = sign * threshold - hysteresis

    def holds(self, value: float) -> bool | None:
        """True where it holds, False where it has ended, None in between."""
        signed = self._sign * value
        if signed >= self._sign * self.threshold:
            return True
        return False if signed < self._clear_at else None


def conditions_of(rule: Rule) -> Sequence[Condition]:
    """The conditions of a rule; one that looks both ways has two."""
    match rule:
        case PriceCross():
            return _both(rule.direction, lambda series: series.price, rule.level, rule.level, rule.hysteresis,
                         "price {value:,.4f} crossed " + f"{rule.level:,g}", crossing=True)  # fmt: skip
        case ChangePercent():
            window_ms = rule.window * 1000
            return _both(
                rule.direction, lambda series: series.change_percent(window_ms), rule.percent, -rule.percent,
                rule.hysteresis, "price moved {value:+.2f}% within " + _span(rule.window),
            )  # fmt: skip
        case Volatility():
            minutes = rule.window // 60
            return [
                Condition(
                    "above", lambda series: indicators.volatility(series.bars, minutes), rule.above, 1,
                    rule.hysteresis, f"volatility over {_span(rule.window)} is " "{value:.1f}% a year",
                )
            ]  # fmt: skip
        case Rsi():
            return _rsi(rule)
        case VolumeSpike():
            number = rule.bars
            return [
                Condition(
                    "above", lambda series: indicators.volume_ratio(series.bars, number), rule.factor, 1,
                    rule.hysteresis, "volume is {value:.1f} times the mean of " f"{number} bars",
                )
            ]  # fmt: skip
        case MaCross():
            return _both(
                rule.direction, _ma_gap(rule), 0.0, 0.0, rule.hysteresis,
                f"{rule.average.upper()} {rule.short} crossed {rule.average.upper()} {rule.long}", crossing=True,
            )  # fmt: skip


def _both(
    direction: Direction, measure: Measure, upper: float, lower: float, hysteresis: float, text: str,
    *, crossing: bool = False,
) -> list[Condition]:  # fmt: skip
    found = []
    if direction != "down":
        found.append(Condition("up", measure, upper, 1, hysteresis, f"{text} upwards" if crossing else text,
                               crossing=crossing))  # fmt: skip
    if direction != "up":
        found.append(Condition("down", measure, lower, -1, hysteresis, f"{text} downwards" if crossing else text,
                               crossing=crossing))  # fmt: skip
    return found


def _rsi(rule: Rsi) -> list[Condition]:
    period = rule.period

    def measure(series: "Series") -> float | None:
        return indicators.rsi(series.rsi[period], series.bars, period)

    text = f"RSI {period} is {{value:.1f}}"
    found = []
    if rule.over is not None:
        found.append(Condition("over", measure, rule.over, 1, rule.hysteresis, text))
    if rule.under is not None:
        found.append(Condition("under", measure, rule.under, -1, rule.hysteresis, text))
    return found


def _ma_gap(rule: MaCross) -> Measure:
    short, long = rule.short, rule.long

    def of_ema(series: "Series") -> float | None:
        upper = indicators.ema(series.ema[short], series.bars, short)
        lower = indicators.ema(series.ema[long], series.bars, long)
        return None if upper is None or lower is None else round(100 * (upper / lower - 1), _NOISE_DIGITS)

    def of_sma(series: "Series") -> float | None:
        upper, lower = indicators.sma(series.bars, short), indicators.sma(series.bars, long)
        return None if upper is None or lower is None else round(100 * (upper / lower - 1), _NOISE_DIGITS)

    return of_ema if rule.average == "ema" else of_sma


def _span(seconds: int) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
