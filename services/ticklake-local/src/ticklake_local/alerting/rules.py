"""Alert rules in Prometheus' own files, and which alerts are active."""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from ticklake.errors import ConfigurationError
from ticklake_local.alerting.promql import Query, Unsupported
from ticklake_local.alerting.series import Labels, Samples

_PLACE = re.compile(r"\{\{ *\$(?P<what>value|labels\.(?P<label>\w+))(?: *\| *(?P<how>\w+))? *\}\}")
_SPAN = re.compile(r"(\d+)(ms|[smhd])")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Rule:
    """One rule."""

    name: str
    query: Query
    alerts: bool
    """Whether it is an alert; else its value is kept under its name."""
    wait_seconds: float = 0
    """How long it must hold before the alert fires."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Alert:
    """An active alert."""

    labels: Labels
    annotations: Mapping[str, str]
    since: float
    """When its condition began to hold, in seconds since 1970."""
    firing: bool
    """Whether it has held for as long as its rule wants."""


def read_rules(folder: Path, components: Collection[str] | None = None) -> list[Rule]:
    """The rules of all files in `folder`, those that alerts compare with first.

    Args:
        components: alerts of others are left out; None takes all.

    Raises:
        ConfigurationError: a file is no rule file, or asks for more than is understood here.
    """
    rules = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            groups = yaml.safe_load(path.read_text())["groups"]
            rules += [_rule(each) for group in groups for each in group["rules"]]
        except (yaml.YAMLError, KeyError, TypeError, Unsupported, ValueError) as error:
            raise ConfigurationError(f"{path} has no rules that can be checked here: {error}") from error
    if not rules:
        raise ConfigurationError(f"TICKLAKE_RULES_DIR: there are no rules in {folder}")
    wanted = [rule for rule in rules if not rule.alerts or components is None or rule.labels["component"] in components]
    return sorted(wanted, key=lambda rule: rule.alerts)


def _rule(entry: Mapping[str, Any]) -> Rule:
    alerts = "alert" in entry
    return Rule(
        entry["alert"] if alerts else entry["record"],
        Query(entry["expr"]),
        alerts,
        _span(entry.get("for", "0s")),
        entry.get("labels", {}),
        entry.get("annotations", {}),
    )


def _span(text: str) -> float:
    if not re.fullmatch(rf"({_SPAN.pattern})+", text):
        raise ValueError(f"{text!r} is no duration")
    return sum(int(number) * _UNITS[unit] for number, unit in _SPAN.findall(text))


class Checker:
    """Evaluates rules over samples and remembers since when each alert holds."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = list(rules)
        names = {name for rule in self._rules for name in (*rule.query.metrics, rule.name)}
        self.samples = Samples(names, max(rule.query.reach_seconds for rule in self._rules) + 60)
        self._since: dict[tuple[int, Labels], float] = {}

    def check(self, now: float) -> list[Alert]:
        """The alerts that are active at `now`, in seconds since 1970."""
        found: list[Alert] = []
        active: dict[tuple[int, Labels], float] = {}
        for number, rule in enumerate(self._rules):
            for labels, value in rule.query.at(self.samples, now).items():
                if not rule.alerts:
                    self.samples.add(rule.name, labels, now, value)
                    continue
                own = frozenset({**dict(labels), **rule.labels, "alertname": rule.name}.items())
                since = active[number, own] = self._since.get((number, own), now)
                texts = {name: filled(text, dict(labels), value) for name, text in rule.annotations.items()}
                found.append(Alert(own, texts, since, now - since >= rule.wait_seconds))
        self._since = active
        self.samples.forget(now)
        return found


def filled(template: str, labels: Mapping[str, str], value: float) -> str:
    """An annotation with its values in place.

    Raises:
        KeyError: it asks for a way of writing numbers that is not known here.
    """

    def text(place: re.Match[str]) -> str:
        if place["label"]:
            return labels.get(place["label"], "")
        return WAYS[place["how"]](value) if place["how"] else f"{value:g}"

    return _PLACE.sub(text, template)


def humanize(value: float) -> str:
    """With a prefix of the SI, four digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.4g}"
    steps, factor = ("", "k", "M", "G", "T", "P", "E", "Z", "Y"), 1000.0
    if abs(value) < 1:
        steps, factor = ("", "m", "u", "n", "p", "f", "a", "z", "y"), 0.001
    for prefix in steps:
        if (abs(value) < 1000) if factor > 1 else (abs(value) >= 1):
            return f"{value:.4g}{prefix}"
        value /= factor
    return f"{value:.4g}"


def humanize_duration(value: float) -> str:
    """Seconds as days, hours, minutes and seconds."""
    if not math.isfinite(value):
        return f"{value:.4g}"
    if abs(value) < 60:
        return f"{humanize(value)}s"
    rest = timedelta(seconds=int(abs(value)))
    minutes, seconds = divmod(rest.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(rest.days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    first = next(number for number, (count, _) in enumerate(parts) if count)
    return ("-" if value < 0 else "") + " ".join(f"{count}{unit}" for count, unit in parts[first:])


WAYS: dict[str, Callable[[float], str]] = {
    "humanize": humanize,
    "humanizeDuration": humanize_duration,
    "humanizePercentage": lambda value: f"{value * 100:.4g}%",
}
