"""The rules file: what is taken, and that what is wrong is named by rule and field."""

import re
from pathlib import Path
from typing import Any

import pytest

from market_alerts.rules import Rule
from market_alerts.rules.change_percent import ChangePercent
from market_alerts.rules.price_cross import PriceCross
from market_alerts.rules_file import DEFAULT_FILE, parse_file, parse_rules, read_file
from market_alerts.settings import AlertSettings, DeliverySettings
from ticklake.errors import ConfigurationError


def price_cross(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "kind": "price_cross", "level": 10} | changes


def load_rules(path: Path) -> tuple[Rule, ...]:
    return parse_file(read_file(path), path)


def test_the_default_rules_go_to_every_target() -> None:
    rules = load_rules(DEFAULT_FILE)
    assert rules
    assert all(rule.targets is None for rule in rules)


def test_fields_and_their_defaults(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        """
        rules:
          - {name: one, kind: price_cross, level: 187.5, direction: up, symbols: [AAPL, BRK-B], severity: critical,
             cooldown: 2h, hysteresis: 0.5, targets: [slack, email], notify_cleared: false, description: A level}
          - {name: two, kind: change_percent, window: 90s, percent: 2}
        """
    )
    one, two = load_rules(file)
    assert isinstance(one, PriceCross)
    assert (one.level, one.direction, one.symbols, one.severity) == (187.5, "up", ("AAPL", "BRK-B"), "critical")
    assert (one.cooldown, one.hysteresis, one.targets, one.notify_cleared) == (7200, 0.5, ("slack", "email"), False)
    assert isinstance(two, ChangePercent)
    assert (two.window, two.percent, two.direction, two.symbols, two.cooldown) == (90, 2, "either", "all", 900)
    assert one.applies_to("BRK-B")
    assert not one.applies_to("MSFT")
    assert two.applies_to("MSFT")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (price_cross(level=0), "rule a: level: Input should be greater than 0"),
        (price_cross(level="10"), "rule a: level:"),
        (price_cross(level=True), "rule a: level:"),
        (price_cross(level=float("nan")), "rule a: level:"),
        (price_cross(lvl=1), "rule a: lvl: Extra inputs are not permitted"),
        (price_cross(cooldown="soon"), "rule a: cooldown: should be a duration like 90s, 15m or 1h"),
        (price_cross(cooldown=900), "rule a: cooldown: should be a duration"),
        (price_cross(cooldown="200h"), "rule a: cooldown:"),
        (price_cross(severity="bad"), "rule a: severity:"),
        (price_cross(symbols=[]), "rule a: symbols"),
        (price_cross(symbols=["aapl"]), "rule a: symbols"),
        (price_cross(symbols="AAPL"), "rule a: symbols"),
        (price_cross(targets=["pager"]), "rule a: targets.0:"),
        (price_cross(name="Bad Name"), "rule Bad Name: name:"),
        ({"kind": "price_cross", "level": 1}, "rule number 1: name: Field required"),
        ({"name": "a", "kind": "price"}, "rule a: kind: should be one of price_cross, "),
        ("text", "rule number 1: should be a mapping"),
        ({"name": "r", "kind": "rsi"}, "rule r: over, under or both are needed"),
        ({"name": "r", "kind": "rsi", "over": 30, "under": 70}, "rule r: under should be below over"),
        ({"name": "m", "kind": "ma_cross", "short": 20, "long": 5}, "rule m: short should be below long"),
        ({"name": "v", "kind": "volume_spike", "factor": 1}, "rule v: factor:"),
        ({"name": "v", "kind": "volatility", "window": "1m", "above": 1}, "rule v: window:"),
    ],
)
def test_a_wrong_rule_is_named_with_its_field(entry: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        parse_rules({"rules": [entry]})


def test_every_wrong_rule_is_named_and_names_are_unique() -> None:
    with pytest.raises(ValueError, match=r"rule a: level.*; rule b: kind"):
        parse_rules({"rules": [price_cross(level=-1), {"name": "b"}]})
    with pytest.raises(ValueError, match="rule a: there are 2 rules of this name"):
        parse_rules({"rules": [price_cross(), price_cross(level=11)]})
    contents: list[Any] = [None, [], {"rule": []}, {"rules": {}}, {"rules": [], "more": 1}]
    for content in contents:
        with pytest.raises(ValueError, match="one list called rules"):
            parse_rules(content)
    with pytest.raises(ValueError, match="100 is the most"):
        parse_rules({"rules": [price_cross(name=f"r{n}") for n in range(101)]})


@pytest.mark.parametrize(("text", "expected"), [("rules: [", "is no YAML"), ("rules: [{}]", "rule number 1: kind:")])
def test_a_broken_file_is_one_line_with_its_name(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_rules(file)
    assert str(caught.value).startswith(f"TICKLAKE_ALERTS_RULES_FILE: {file}")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load_rules(tmp_path / "none.yaml")


def test_only_what_is_measured_is_in_the_fingerprint() -> None:
    (plain,) = parse_rules({"rules": [price_cross()]})
    for changes, same in (
        ({"cooldown": "1h", "severity": "info", "targets": ["slack"], "symbols": ["V"]}, True),
        ({"level": 11}, False),
        ({"hysteresis": 1}, False),
        ({"direction": "up"}, False),
    ):
        (other,) = parse_rules({"rules": [price_cross(**changes)]})
        assert (other.fingerprint == plain.fingerprint) is same


def delivery(**values: Any) -> DeliverySettings:
    return DeliverySettings(**values)


def test_targets_are_whole_and_known_to_the_rules() -> None:
    mail = {"smtp_host": "mail", "email_from": "a@b.example", "email_to": "c@d.example, e@f.example"}
    assert delivery().targets() == ()
    assert delivery(webhook_url="http://h/x", **mail).targets() == ("webhook", "email")
    assert delivery(**mail).email_to == ("c@d.example", "e@f.example")
    with pytest.raises(ConfigurationError, match="TICKLAKE_ALERTS_EMAIL_FROM and TICKLAKE_ALERTS_EMAIL_TO"):
        delivery(smtp_host="mail").targets()
    with pytest.raises(ConfigurationError, match="TICKLAKE_ALERTS_SLACK_WEBHOOK: should begin") as caught:
        delivery(slack_webhook="hooks.slack/SECRET").targets()
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="SMTP_PASSWORD"):
        delivery(smtp_username="u").targets()
    rules = parse_rules({"rules": [price_cross(targets=["webhook", "slack"])]})
    with pytest.raises(ConfigurationError, match="rule a: targets: slack is not set up: set TICKLAKE_ALERTS_SLACK_WEB"):
        AlertSettings(delivery=delivery(webhook_url="http://h")).check_targets(rules)


def test_no_secret_in_a_settings_text() -> None:
    settings = delivery(
        webhook_url="https://h/SECRET1",
        webhook_token="SECRET2",
        slack_webhook="https://s/SECRET3",
        smtp_username="u",
        smtp_password="SECRET4",
    )
    assert "SECRET" not in f"{settings!r} {settings}"
