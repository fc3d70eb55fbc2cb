"""The rules file while the service runs: what is applied, what is rejected, and that each is logged once."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from market_alerts import rules_reload
from market_alerts.metrics import Metrics
from market_alerts.rules_reload import RulesReloader
from market_alerts.settings import AlertOptions, AlertSettings, DeliverySettings
from ticklake.errors import ConfigurationError

ONE = "rules: [{name: one, kind: price_cross, level: 1}, {name: two, kind: price_cross, level: 2}]"
OTHER = "rules: [{name: two, kind: price_cross, level: 3}, {name: three, kind: rsi, over: 70}]"


class Log:
    """What is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **more: Any) -> None:
        self.lines.append((event, more))

    warning = info


class Watched:
    """A rules file with the reloader that reads it."""

    def __init__(self, file: Path, log: Log) -> None:
        self.file, self.log, self.registry = file, log, CollectorRegistry()
        delivery = DeliverySettings(webhook_url="http://h")
        settings = AlertSettings(alerts=AlertOptions(rules_file=file), delivery=delivery)
        self.reloader = RulesReloader(settings, Metrics(self.registry))

    def poll(self, times: int = 2) -> list[str] | None:
        """Names of the next rules after so many polls."""
        for _ in range(times):
            self.reloader.poll()
        return None if self.reloader.pending is None else [rule.name for rule in self.reloader.pending]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"ticklake_market_alerts_{name}", labels)

    @property
    def rejected(self) -> list[str]:
        return [more["error"] for event, more in self.log.lines if event.startswith("rules file rejected")]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    file, log = tmp_path / "rules.yaml", Log()
    monkeypatch.setattr(rules_reload, "log", log)
    file.write_text(ONE)
    return Watched(file, log)


def test_new_rules_are_applied_once_the_file_is_stable(watched: Watched) -> None:
    assert watched.poll(5) is None
    watched.file.write_text(ONE[:47] + "]")  # half of it, and valid
    assert watched.poll(1) is None
    watched.file.write_text(OTHER)
    assert watched.poll(1) is None
    assert watched.poll(1) == ["two", "three"]
    assert [rule.name for rule in watched.reloader.rules] == ["one", "two"]
    watched.reloader.apply()
    assert [rule.name for rule in watched.reloader.rules] == ["two", "three"]
    assert watched.poll(3) is None
    assert watched.log.lines == [("rules changed", {"added": ["three"], "removed": ["one"], "changed": ["two"]})]
    assert (
        watched.metric("rules_last_reload_successful"),
        watched.metric("rules_reloads_total", result="applied"),
    ) == (1, 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "should hold one list called rules"),
        (b"rules: [", "is no YAML"),
        (b"\xff\xfe\x00", "is no YAML"),
        (b"rules: 2026-13-45", "is no YAML"),
        (b"rules: !!bool maybe", "is no YAML"),
        (b"[" * 3000, "is no YAML"),
        (b"rules: [{name: a, kind: rsi, over: 700}]", "rule a: over: Input should be less than 100"),
        (b"rules: [{name: a, kind: rsi, over: 70, targets: [slack]}]", "rule a: targets: slack is not set up"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_logged_once_and_changes_nothing(
    watched: Watched, content: bytes | None, expected: str
) -> None:
    if content is None:
        watched.file.unlink()
    else:
        watched.file.write_bytes(content)
    assert watched.poll(6) is None
    assert len(watched.rejected) == 1
    assert expected in watched.rejected[0]
    assert "\n" not in watched.rejected[0]
    assert [rule.name for rule in watched.reloader.rules] == ["one", "two"]
    assert watched.metric("rules_last_reload_successful") == 0
    # Other content is another warning, and what is in force is no change.
    watched.file.write_text("rules: {}")
    assert watched.poll(4) is None
    assert len(watched.rejected) == 2
    assert watched.metric("rules_reloads_total", result="rejected") == 2
    watched.file.write_text(f"# the same\n{ONE}")
    assert watched.poll(4) is None
    assert watched.metric("rules_last_reload_successful") == 1
    assert watched.metric("rules_reloads_total", result="applied") == 0


def test_rules_that_wait_are_forgotten_for_a_file_that_is_rejected(watched: Watched) -> None:
    watched.file.write_text(OTHER)
    assert watched.poll() == ["two", "three"]
    watched.file.write_text("rules: [")
    assert watched.poll() is None
    watched.reloader.apply()
    assert [rule.name for rule in watched.reloader.rules] == ["one", "two"]


def test_a_link_replaced_as_in_a_volume_of_kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_reload, "log", Log())
    for name, content in (("..1", ONE), ("..2", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yaml").write_text(content)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "rules.yaml").symlink_to("..data/rules.yaml")
    watched = Watched(tmp_path / "rules.yaml", Log())
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert watched.poll() == ["two", "three"]


def test_at_the_start_a_wrong_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("rules: [")
    with pytest.raises(ConfigurationError, match="is no YAML"):
        Watched(tmp_path / "rules.yaml", Log())
