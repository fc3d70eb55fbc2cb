"""Our checking of the alert rules, against the very expectations that Prometheus' own tool is tested with."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ticklake.errors import ConfigurationError
from ticklake_local.alerting.promql import Query, Unsupported
from ticklake_local.alerting.ranges import increase, predict_linear, rate
from ticklake_local.alerting.rules import Alert, Checker, humanize, humanize_duration, read_rules
from ticklake_local.alerting.series import Labels, Samples

ROOT = Path(__file__).parents[3]
RULES = ROOT / "charts" / "ticklake" / "files" / "rules"
CASES = [
    (path.stem, test)
    for path in sorted((ROOT / "tests" / "unit" / "monitoring" / "rules").glob("*.yaml"))
    # As text throughout: to YAML itself, "0x60" is a number.
    for test in yaml.load(path.read_text(), yaml.CBaseLoader)["tests"]
]
SPANS = {"s": 1, "m": 60, "h": 3600}


def seconds(span: str) -> int:
    return sum(int(number) * SPANS[unit] for number, unit in re.findall(r"(\d+)([smh])", span))


def selector(text: str) -> tuple[str, Labels]:
    name, _, rest = text.partition("{")
    return name, frozenset(re.findall(r'(\w+)="([^"]*)"', rest))


def expanded(notation: str) -> Iterator[float | None]:
    """The values of promtool's notation: `1x3` is 1 four times, `0+15x2` is 0 15 30, `_x2` is nothing three times."""
    for word in notation.split():
        found = re.fullmatch(r"(?P<first>_|-?\d+)(?P<step>[+-]\d+)?(?:x(?P<more>\d+))?", word)
        assert found, word
        for number in range(int(found["more"] or 0) + 1):
            if found["first"] == "_":
                # "_x9" means nine values, unlike "1x9".
                if number or not found["more"]:
                    yield None
                continue
            yield float(found["first"]) + number * float(found["step"] or 0)


def replay(test: dict[str, Any], checker: Checker, interval: int) -> dict[int, list[Alert]]:
    """The active alerts at each evaluation."""
    due: dict[int, list[tuple[str, Labels, float]]] = {}
    every = seconds(test["interval"])
    for each in test["input_series"]:
        name, labels = selector(each["series"])
        for number, value in enumerate(expanded(each["values"])):
            if value is not None:
                due.setdefault(number * every, []).append((name, labels, value))
    end = max(seconds(step["eval_time"]) for step in test["alert_rule_test"])
    found = {}
    for time in sorted({*due, *range(0, end + 1, interval)}):
        for name, labels, value in due.get(time, ()):
            checker.samples.add(name, labels, time, value)
        if time % interval == 0 and time <= end:
            found[time] = checker.check(time)
    return found


@pytest.mark.parametrize(("file", "test"), CASES, ids=[f"{file}: {test['name']}" for file, test in CASES])
def test_it_finds_what_prometheus_finds(file: str, test: dict[str, Any]) -> None:
    interval = 15 if file == "live" else 60
    found = replay(test, Checker(read_rules(RULES)), interval)
    for step in test["alert_rule_test"]:
        firing = {
            (frozenset(alert.labels), frozenset(alert.annotations.items()))
            for alert in found[seconds(step["eval_time"])]
            if alert.firing and ("alertname", step["alertname"]) in alert.labels
        }
        assert firing == {
            (
                frozenset({**each["exp_labels"], "alertname": step["alertname"]}.items()),
                frozenset(each["exp_annotations"].items()),
            )
            for each in step["exp_alerts"]
        }, step["eval_time"]


def test_alerts_of_parts_that_are_not_there_are_left_out() -> None:
    names = {rule.name for rule in read_rules(RULES, {"archive-ticks"})}
    assert "TicklakeWriteErrors" in names
    assert "ticklake:threshold:lag_messages" in names
    assert not names & {"TicklakeKafkaOfflinePartitions", "TicklakeBatchLate"}


@pytest.mark.parametrize(
    "text", ["histogram_quantile(0.9, a)", "a[5m:1m]", "topk(3, a)", "a > bool 1", '{__name__="a"}', "a @ 100", "-a"]
)
def test_what_is_not_understood_is_rejected(text: str) -> None:
    with pytest.raises(Unsupported):
        Query(text)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("groups: [{name: x, rules: [{alert: X, expr: 'topk(1, a)'}]}]")
    with pytest.raises(ConfigurationError, match="topk"):
        read_rules(tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3000, "3k"), (12, "12"), (1234567, "1.235M"), (0.25, "250m"), (-1500, "-1.5k"), (999, "999")],
)
def test_humanize(value: float, text: str) -> None:
    assert humanize(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(45, "45s"), (60, "1m 0s"), (9000, "2h 30m 0s"), (90061, "1d 1h 1m 1s"), (0.5, "500ms"), (-61, "-1m 1s")],
)
def test_humanize_duration(value: float, text: str) -> None:
    assert humanize_duration(value) == text


def test_counters_that_begin_anew_and_ranges_that_are_not_full() -> None:
    # Grows by 10 each 10 s, restarts at 40: 10 + 10 + 5 (after the restart) + 10.
    points = [(10, 100), (20, 110), (30, 120), (40, 5), (50, 15)]
    assert increase(points, 10, 50) == pytest.approx(35)
    assert rate(points, 10, 50) == pytest.approx(35 / 40)
    # 2 s from the start and 3 s from the end of the range are within a usual distance of 10 s: carried on.
    assert increase([(12, 100), (22, 110), (32, 120)], 10, 35) == pytest.approx(25)
    # 30 s from the start are not: half a distance.
    assert increase([(40, 100), (50, 110)], 10, 50) == pytest.approx(15)
    assert increase([(40, 100)], 10, 50) is None
    assert predict_linear([(0, 10), (10, 8), (20, 6)], 0, 20, 30) == pytest.approx(0)


def test_a_target_that_exports_no_more_ends_its_series() -> None:
    samples = Samples(["a"], 600)
    labels = frozenset({("job", "x")})
    samples.scraped("t", 0, {("a", labels): 1.0, ("b", labels): 2.0})
    assert Query("a").at(samples, 100) == {labels: 1}
    samples.scraped("t", 110, {})
    assert Query("a").at(samples, 120) == {}
    assert Query("absent(a)").at(samples, 120) == {frozenset(): 1}
    assert Query('a{job!="x"} or b').at(samples, 100) == {}
