"""A rule reads as a sentence, which is the same in the README, in what is published and in messages."""

from pathlib import Path
from typing import Any

import pytest

import market_alerts
from market_alerts.rules import KINDS, Rule
from market_alerts.rules_file import DEFAULT_FILE, parse_file, parse_rules

README = Path(market_alerts.__file__).parents[2] / "README.md"

SENTENCES: list[tuple[dict[str, Any], str, str]] = [
    (
        {"kind": "price_cross", "level": 200, "hysteresis": 0.25},
        "crosses 200 in either direction (rearms 0.25 on the other side)",
        "crosses above 200, now 200.5000",
    ),
    (
        {"kind": "price_cross", "level": 123456.78, "direction": "down", "hysteresis": 1},
        "crosses below 123,456.78 (rearms 1 above it)",
        "crosses below 123,456.78, now 200.5000",
    ),
    (
        {"kind": "change_percent", "window": "15m", "percent": 1, "hysteresis": 0.3},
        "moves 1 % or more in either direction within 15 minutes (rearms below 0.7 %)",
        "rises 1 % or more within 15 minutes, now +200.50 %",
    ),
    (
        {"kind": "change_percent", "window": "90s", "percent": 2.5, "direction": "down"},
        "falls 2.5 % or more within 90 seconds",
        "falls 2.5 % or more within 90 seconds, now +200.50 %",
    ),
    (
        {"kind": "change_percent", "window": "1h", "percent": 5, "direction": "up"},
        "rises 5 % or more within 1 hour",
        "rises 5 % or more within 1 hour, now +200.50 %",
    ),
    (
        {"kind": "volatility", "window": "30m", "above": 80, "hysteresis": 10},
        "realised volatility over 30 minutes is at least 80 % a year (rearms below 70 % a year)",
        "realised volatility over 30 minutes is at least 80 % a year, now 200.5 % a year",
    ),
    (
        {"kind": "rsi", "over": 75, "under": 25, "hysteresis": 5},
        "RSI(14) is at least 75 or at most 25 (rearms below 70 and above 30)",
        "RSI(14) is at least 75, now 200.5",
    ),
    ({"kind": "rsi", "under": 25, "hysteresis": 0}, "RSI(14) is at most 25", "RSI(14) is at most 25, now 200.5"),
    (
        {"kind": "volume_spike", "factor": 3, "hysteresis": 0.5},
        "one-minute volume is at least 3 times the mean of the 20 bars before (rearms below 2.5 times)",
        "one-minute volume is at least 3 times the mean of the 20 bars before, now 200.5 times",
    ),
    (
        {"kind": "ma_cross", "short": 5, "long": 20, "hysteresis": 0.02},
        "EMA(5) crosses EMA(20) in either direction (rearms 0.02 % on the other side)",
        "EMA(5) crosses above EMA(20), now +200.500 %",
    ),
    (
        {"kind": "ma_cross", "average": "sma", "short": 5, "long": 20, "direction": "up", "hysteresis": 0.02},
        "SMA(5) crosses above SMA(20) (rearms 0.02 % below it)",
        "SMA(5) crosses above SMA(20), now +200.500 %",
    ),
]


@pytest.mark.parametrize(("entry", "sentence", "message"), SENTENCES)
def test_a_rule_reads_as_a_sentence(entry: dict[str, Any], sentence: str, message: str) -> None:
    (rule,) = parse_rules({"rules": [{"name": "r"} | entry]})
    assert rule.sentence == sentence
    assert rule.message(rule.conditions()[0], 200.5) == message
    assert rule.published() == rule.model_dump(mode="json") | {"sentence": sentence, "label": KINDS[rule.kind].label}


def test_every_kind_has_a_sentence_and_a_row_in_the_readme() -> None:
    assert {entry["kind"] for entry, _, _ in SENTENCES} == set(KINDS)
    assert len({kind.label for kind in KINDS.values()}) == len(KINDS)
    text = README.read_text()
    assert [kind for kind in KINDS if f"| `{kind}` |" not in text] == []


@pytest.mark.parametrize("rule", parse_file(DEFAULT_FILE.read_bytes(), DEFAULT_FILE), ids=lambda rule: rule.name)
def test_the_readme_shows_the_default_rules_as_they_read(rule: Rule) -> None:
    assert f"| `{rule.name}` | {rule.sentence} |" in README.read_text()
