"""What every kind of rule has: the fields all rules share, its conditions, and the sentence that it reads as."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from market_alerts.history import Indicator, PriceHistory
from ticklake.alerts import Severity
from ticklake.records import Symbol

MAX_BARS = 1000
_UNITS = {"s": ("second", 1), "m": ("minute", 60), "h": ("hour", 3600)}


def _seconds(value: object) -> object:
    """`90s`, `15m` or `1h` as seconds."""
    if not isinstance(value, str) or not (found := re.fullmatch(r"(\d{1,6})([smh])", value.strip())):
        raise ValueError("should be a duration like 90s, 15m or 1h")
    return int(found[1]) * _UNITS[found[2]][1]


Duration = Annotated[int, BeforeValidator(_seconds), PlainSerializer(lambda seconds: f"{seconds}s", return_type=str)]
"""Seconds; written like 90s, 15m or 1h."""

Target = Literal["webhook", "slack", "email"]
TARGETS: tuple[Target, ...] = ("webhook", "slack", "email")

Direction = Literal["up", "down", "either"]
BarCount = Annotated[int, Field(ge=2, le=MAX_BARS)]
"""A number of one-minute bars."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Condition:
    """A value at or beyond a threshold on one side.

    It holds at or beyond `threshold`; it has ended, and is rearmed, once the value is back behind it by more than
    `hysteresis`. A crossing holds only where the value was behind the threshold, by more than `hysteresis`, since it
    last held.
    """

    name: str
    threshold: float
    sign: Literal[1, -1]
    """1 for at or above the threshold, -1 for at or below it."""
    hysteresis: float
    text: str
    """The condition in words, without its hysteresis."""
    crossing: bool = False

    def holds(self, value: float) -> bool | None:
        """True where it holds, False where it has ended, None in between."""
        signed, limit = self.sign * value, self.sign * self.threshold
        if signed >= limit:
            return True
        return False if signed < limit - self.hysteresis else None

    def rearms(self, unit: str) -> str:
        """At which values it is rearmed, in words."""
        side = "below" if self.sign > 0 else "above"
        return f"{side} {number(self.threshold - self.sign * self.hysteresis)}{unit}"


class BaseRule(BaseModel, ABC):
    """What every rule has."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    label: ClassVar[str]
    """What people call this kind of rule."""
    unit: ClassVar[str] = ""
    """Of value and threshold, with a space before it."""
    value_format: ClassVar[str] = "{:.1f}"
    notification_fields: ClassVar[frozenset[str]] = frozenset(
        {"description", "symbols", "severity", "cooldown", "targets", "notify_cleared"}
    )
    """Fields that change who is notified and when, but not what is measured."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,59}$")]
    description: str = Field(default="", max_length=500)
    symbols: Literal["all"] | Annotated[tuple[Symbol, ...], Field(min_length=1, strict=False)] = "all"
    severity: Annotated[Severity, Field(strict=False)] = Severity.WARNING
    cooldown: Annotated[Duration, Field(ge=0, le=7 * 86_400)] = 900
    """Event time after a raised alert in which the same rule raises no other for the same symbol."""
    hysteresis: NotNegative = 0.0
    """How far the value must go back behind the threshold before the alert is cleared, in the value's unit."""
    targets: Annotated[tuple[Target, ...], Field(strict=False)] | None = None
    """Where its alerts go; None is every target that is set up."""
    notify_cleared: bool = True
    """Whether targets are notified of cleared alerts too."""

    @property
    def bars_needed(self) -> int:
        """Sealed bars that `measure` looks back on."""
        return 1

    def indicators(self) -> Sequence[Indicator]:
        """New indicators, one of each that `measure` uses."""
        return ()

    @abstractmethod
    def measure(self, history: PriceHistory) -> float | None:
        """The value as of the newest tick, which all conditions are about; None while there is too little history."""

    @abstractmethod
    def conditions(self) -> Sequence[Condition]:
        """On what it raises; a rule that watches two sides has two."""

    @classmethod
    def check_all(cls, rules: "Sequence[BaseRule]") -> None:
        """Check those of `rules` that are of this kind together.

        Raises:
            ValueError: they are too many.
        """

    def applies_to(self, symbol: str) -> bool:
        """Whether the rule watches `symbol`."""
        return self.symbols == "all" or symbol in self.symbols

    @property
    def fingerprint(self) -> str:
        """Changes when what the rule measures changes: its state from before then no longer fits."""
        measured = self.model_dump(mode="json", exclude=set(self.notification_fields))
        return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def text(self) -> str:
        """When it raises, in words."""
        return " or ".join(each.text for each in self.conditions())

    @property
    def rearms(self) -> str:
        """When it can raise again, in words."""
        return " and ".join(each.rearms(self.unit) for each in self.conditions())

    @property
    def sentence(self) -> str:
        """The rule as a trader would put it; the only place where that is worded."""
        return f"{self.text} (rearms {self.rearms})" if self.hysteresis else self.text

    def message(self, condition: Condition, value: float) -> str:
        """What an alert says of `condition`."""
        return f"{condition.text}, now {self.value_format.format(value)}{self.unit}"

    def published(self) -> dict[str, Any]:
        """The rule as readers get it: its fields, what its kind is called and its sentence."""
        return self.model_dump(mode="json") | {"label": self.label, "sentence": self.sentence}


class DirectionalRule(BaseRule):
    """A rule that watches upward moves, downward moves or both."""

    direction: Direction = "either"
    crossing: ClassVar[bool] = False

    @abstractmethod
    def text_of(self, direction: Direction) -> str:
        """When it raises in `direction`, in words."""

    @abstractmethod
    def thresholds(self) -> tuple[float, float]:
        """The threshold upwards, and the one downwards."""

    def conditions(self) -> Sequence[Condition]:
        """One per direction."""
        upper, lower = self.thresholds()
        hysteresis, crossing = self.hysteresis, self.crossing
        sides = (
            Condition("up", upper, 1, hysteresis, self.text_of("up"), crossing),
            Condition("down", lower, -1, hysteresis, self.text_of("down"), crossing),
        )
        return [side for side in sides if self.direction in (side.name, "either")]

    @property
    def text(self) -> str:
        """When it raises, in words."""
        return self.text_of(self.direction)


class CrossingRule(DirectionalRule):
    """A rule on a value that crosses a threshold, and so was on the other side before."""

    crossing = True
    _CROSSES: ClassVar[dict[Direction, str]] = {
        "up": "crosses above {}",
        "down": "crosses below {}",
        "either": "crosses {} in either direction",
    }
    _BACK: ClassVar[dict[Direction, str]] = {"up": "below it", "down": "above it", "either": "on the other side"}

    @property
    def rearms(self) -> str:
        """When it can raise again, in words."""
        return f"{number(self.hysteresis)}{self.unit} {self._BACK[self.direction]}"

    def crosses(self, what: str, direction: Direction) -> str:
        """That `what` is crossed, in words."""
        return self._CROSSES[direction].format(what)


def number(value: float) -> str:
    """A number in words: no zeros at its end, thousands separated."""
    return f"{value:,.10g}"


def duration(seconds: int) -> str:
    """A duration in words."""
    unit, length = next(each for each in reversed(_UNITS.values()) if seconds % each[1] == 0)
    count = seconds // length
    return f"{count} {unit}{'' if count == 1 else 's'}"
