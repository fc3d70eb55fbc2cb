"""The rules a user sets: a YAML file, read into one model per kind of rule."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from ticklake.alerts import Severity
from ticklake.errors import ConfigurationError
from ticklake.quarantine import reason_of
from ticklake.records import Symbol

DEFAULT_FILE = Path(__file__).with_name("rules.yaml")
_VARIABLE = "TICKLAKE_ALERTS_RULES_FILE"

_UNITS = {"s": 1, "m": 60, "h": 3600}
_MOST_BARS = 1000
_MOST_RULES = 100
_MOST_WINDOWS = 20
"""Distinct windows of `change_percent` rules: each has samples of its own per symbol."""


def _seconds(value: object) -> object:
    """`90s`, `15m` or `1h` as seconds."""
    if not isinstance(value, str) or not (found := re.fullmatch(r"(\d{1,6})([smh])", value.strip())):
        raise ValueError("should be a duration like 90s, 15m or 1h")
    return int(found[1]) * _UNITS[found[2]]


Duration = Annotated[int, BeforeValidator(_seconds), PlainSerializer(lambda seconds: f"{seconds}s", return_type=str)]
"""Seconds; written like 90s, 15m or 1h."""

Target = Literal["webhook", "slack", "email"]
TARGETS: tuple[Target, ...] = ("webhook", "slack", "email")

Direction = Literal["up", "down", "either"]
Bars = Annotated[int, Field(ge=2, le=_MOST_BARS)]
"""A number of one-minute bars."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class BaseRule(BaseModel):
    """What every rule has."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    delivery_fields: ClassVar[frozenset[str]] = frozenset(
        {"description", "symbols", "severity", "quiet", "targets", "notify_cleared"}
    )
    """Fields that change who is told and when, but not what is measured."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,59}$")]
    description: str = Field(default="", max_length=500)
    symbols: Literal["all"] | Annotated[tuple[Symbol, ...], Field(min_length=1, strict=False)] = "all"
    severity: Annotated[Severity, Field(strict=False)] = Severity.WARNING
    quiet: Annotated[Duration, Field(ge=0, le=7 * 86_400)] = 900
    """Event time after a raised alert in which the same rule raises no other for the same symbol."""
    hysteresis: NotNegative = 0.0
    """How far the value must go back behind the threshold before the alert is cleared, in the value's unit."""
    targets: Annotated[tuple[Target, ...], Field(strict=False)] | None = None
    """Where its alerts go; None is every target that is set up."""
    notify_cleared: bool = True
    """Whether targets hear of cleared alerts too."""

    def applies_to(self, symbol: str) -> bool:
        """Whether the rule watches `symbol`."""
        return self.symbols == "all" or symbol in self.symbols

    @property
    def fingerprint(self) -> str:
        """Changes when what the rule measures changes: its state from before then no longer fits."""
        measured = self.model_dump(mode="json", exclude=set(self.delivery_fields))
        return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()[:16]


class PriceCross(BaseRule):
    """The price crosses a level. Value: the price."""

    kind: Literal["price_cross"]
    level: Positive
    direction: Direction = "either"


class ChangePercent(BaseRule):
    """The price changes by so many percent within a window that slides with event time. Value: percent."""

    kind: Literal["change_percent"]
    window: Annotated[Duration, Field(ge=5, le=86_400)]
    percent: Positive
    direction: Direction = "either"


class Volatility(BaseRule):
    """Realised volatility over a window is above a limit. Value: percent a year."""

    kind: Literal["volatility"]
    window: Annotated[Duration, Field(ge=300, le=_MOST_BARS * 60)]
    above: Positive


class Rsi(BaseRule):
    """The relative strength index leaves its usual range. Value: 0 to 100."""

    kind: Literal["rsi"]
    period: Bars = 14
    over: Annotated[float, Field(gt=0, lt=100)] | None = None
    under: Annotated[float, Field(gt=0, lt=100)] | None = None
    hysteresis: NotNegative = 2.0

    @model_validator(mode="after")
    def _has_limits(self) -> Self:
        if self.over is None and self.under is None:
            raise ValueError("over, under or both are needed")
        if self.over is not None and self.under is not None and self.under >= self.over:
            raise ValueError("under should be below over")
        return self


class VolumeSpike(BaseRule):
    """A bar's volume is a multiple of the mean of the bars before it. Value: the multiple."""

    kind: Literal["volume_spike"]
    bars: Bars = 20
    factor: Annotated[float, Field(gt=1, allow_inf_nan=False)]


class MaCross(BaseRule):
    """A short moving average crosses a long one. Value: short over long, minus 1, in percent."""

    kind: Literal["ma_cross"]
    average: Literal["sma", "ema"] = "ema"
    short: Bars
    long: Bars
    direction: Direction = "either"

    @model_validator(mode="after")
    def _short_is_shorter(self) -> Self:
        if self.short >= self.long:
            raise ValueError("short should be below long")
        return self


Rule = PriceCross | ChangePercent | Volatility | Rsi | VolumeSpike | MaCross

KINDS: dict[str, type[Rule]] = {
    "price_cross": PriceCross, "change_percent": ChangePercent, "volatility": Volatility, "rsi": Rsi,
    "volume_spike": VolumeSpike, "ma_cross": MaCross,
}  # fmt: skip


def load_rules(path: Path) -> tuple[Rule, ...]:
    """The rules in a YAML file.

    Raises:
        ConfigurationError: the file cannot be read or a rule is wrong; names every wrong rule and field.
    """
    return rules_in(read_file(path), path)


def read_file(path: Path) -> bytes:
    """The content of a rules file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{_VARIABLE}: {path} cannot be read: {error.strerror}") from error


def rules_in(content: bytes, path: Path) -> tuple[Rule, ...]:
    """The rules in the content of the file at `path`.

    Raises:
        ConfigurationError: it is no YAML or a rule is wrong; names every wrong rule and field.
    """
    try:
        found = yaml.safe_load(content.decode())
    # Not only YAMLError: the library lets through what Python says of dates that are none, or of nesting without end.
    except Exception as error:
        raise ConfigurationError(f"{_VARIABLE}: {path} is no YAML: {' '.join(str(error).split())}") from error
    try:
        return parse_rules(found)
    except ValueError as error:
        raise ConfigurationError(f"{_VARIABLE}: {path}: {error}") from error


def parse_rules(content: Any) -> tuple[Rule, ...]:
    """The rules in a file's content.

    Raises:
        ValueError: something is wrong; names every wrong rule and field.
    """
    if not isinstance(content, dict) or set(content) != {"rules"} or not isinstance(content["rules"], list):
        raise ValueError("should hold one list called rules")
    if len(content["rules"]) > _MOST_RULES:
        raise ValueError(f"has {len(content['rules'])} rules; {_MOST_RULES} is the most")
    found: list[Rule] = []
    wrong: list[str] = []
    for number, entry in enumerate(content["rules"], 1):
        try:
            found.append(_parse(entry))
        except ValidationError as error:
            wrong.append(f"{_called(entry, number)}: {reason_of(error)}")
        except ValueError as error:
            wrong.append(f"{_called(entry, number)}: {error}")
    names = [rule.name for rule in found]
    wrong += [f"rule {name}: there are {names.count(name)} rules of this name" for name in _repeated(names)]
    if len({rule.window for rule in found if isinstance(rule, ChangePercent)}) > _MOST_WINDOWS:
        wrong.append(f"window: change_percent rules may have {_MOST_WINDOWS} different ones in all")
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(found)


def _parse(entry: Any) -> Rule:
    if not isinstance(entry, dict):
        raise ValueError("should be a mapping with name, kind and more")
    model = KINDS.get(entry["kind"]) if isinstance(entry.get("kind"), str) else None
    if model is None:
        raise ValueError(f"kind: should be one of {', '.join(KINDS)}")
    return model.model_validate(entry)


def _called(entry: Any, number: int) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"rule {name}" if isinstance(name, str) and name else f"rule number {number}"


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
