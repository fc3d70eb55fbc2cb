"""The alert rules, by Prometheus' own tool: each is seen to fire and to clear."""

import os
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import quick_yaml

ROOT = Path(__file__).parents[3]
RULES = sorted((ROOT / "charts" / "ticklake" / "files" / "rules").glob("*.yaml"))
CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))


def _rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in quick_yaml.load(path.read_text())["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in _rules() if "alert" in rule]


def test_the_rules_are_well_formed(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", *RULES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_rules_do_what_they_are_for(promtool: str, path: Path) -> None:
    # Go's garbage collector takes a fifth of the time where it may not use some 250 MB.
    environment = {**os.environ, "GOGC": "400"}
    done = subprocess.run(
        [promtool, "test", "rules", path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_to_fire_and_then_to_clear() -> None:
    fired_then_clear: dict[str, bool] = defaultdict(bool)
    for path in CASES:
        for test in quick_yaml.load(path.read_text())["tests"]:
            steps: dict[str, list[bool]] = defaultdict(list)
            for step in test["alert_rule_test"]:
                steps[step["alertname"]].append(bool(step["exp_alerts"]))
            for name, fires in steps.items():
                fired_then_clear[name] |= fires[0] is False and True in fires and fires[-1] is False
    assert {rule["alert"] for rule in ALERTS} == {name for name, both in fired_then_clear.items() if both}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['component']}")
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("#")]
    assert anchor in {line.lstrip("# ").lower().replace(" ", "-") for line in headings}


def test_every_threshold_is_used_and_known() -> None:
    known = {rule["record"] for rule in _rules() if "record" in rule}
    text = " ".join(rule["expr"] for rule in ALERTS)
    used = {word for word in text.replace("(", " ").replace(")", " ").split() if word.startswith("ticklake:threshold:")}
    assert used == known
