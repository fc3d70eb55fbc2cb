"""The rules file is edited while the service runs, or before it starts again: what readers of the alerts get."""

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ticklake.alerts import read_rules
from ticklake_local.processes import free_port

Make = Callable[..., Any]

LEVEL = "{name: level, kind: price_cross, level: 100, direction: up, cooldown: 0s}"
MOVE = "{name: move, kind: change_percent, window: 10m, percent: 5, cooldown: 0s}"
HOOKED = MOVE.replace("}", ", targets: [webhook]}")
LOW = "{name: low, kind: price_cross, level: 90, direction: down, cooldown: 0s}"


def rules(*entries: str) -> str:
    return f"rules: [{', '.join(entries)}]"


def started(service: Any) -> None:
    before = len(service.logged("reading")) if service.log.exists() else 0
    service.start()
    service.wait_for("reading", before + 1)


def edit(service: Any, text: str) -> None:
    (service.folder / "rules.yaml").write_text(text)


def messages(flow: Any, symbol: str = "AAPL") -> list[str]:
    return [alert.message.removeprefix(f"{symbol}: ") for alert in flow.alerts() if alert.symbol == symbol]


@pytest.fixture
def port_of() -> Make:
    """Has the service serve its metrics on a port; gives a function that reads one without labels."""

    def prepare(running: Any) -> Callable[[str], float]:
        port = free_port()
        running.environment["TICKLAKE_METRICS_PORT"] = str(port)

        def read(name: str) -> float:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
            return float(next(line.split()[1] for line in lines if line.startswith(f"ticklake_market_alerts_{name} ")))

        return read

    return prepare


def test_rules_are_edited_while_it_runs(service: Make, flow: Any, http_receiver: Any, port_of: Make) -> None:
    running = service(
        rules(LEVEL, HOOKED),
        RULES_RELOAD_SECONDS="0.5",
        WEBHOOK_URL=f"{http_receiver.address}/hook",
        SLACK_WEBHOOK=f"{http_receiver.address}/slack",
    )
    metric = port_of(running)
    started(running)
    flow.send((0, "AAPL", 99), (0, "MSFT", 99), (1, "AAPL", 106), (1, "MSFT", 101))
    running.eventually(lambda: len(flow.alerts()) == 3)

    # Half a file, then one that names a target that is not set up: the old rules stay in force.
    edit(running, "rules: [{name: level,")
    running.wait_for("rules file rejected, the rules in force are kept")
    edit(running, rules(LEVEL, LOW.replace("}", ", targets: [email]}")))
    running.wait_for("rules file rejected, the rules in force are kept", 2)
    assert metric("rules_last_reload_successful") == 0
    flow.send((2, "MSFT", 99))
    running.eventually(lambda: len(flow.alerts()) == 4)
    assert flow.changes()[-1] == ("MSFT", "level", 2.0, "cleared")
    time.sleep(2)
    rejected = [line["error"] for line in running.logged("rules file rejected, the rules in force are kept")]
    assert len(rejected) == 2
    assert "is no YAML" in rejected[0]
    assert "rule low: targets: email is not set up" in rejected[1]

    begin = time.monotonic()
    edit(running, rules(LEVEL, LOW))
    running.eventually(lambda: len(flow.alerts()) == 5)
    seconds = time.monotonic() - begin
    print(f"from the edit to the withdrawn alert: {seconds:.1f} s")
    assert seconds < 30
    assert flow.changes()[-1] == ("AAPL", "move", 1.0, "cleared")
    assert messages(flow)[-1] == "rule move was removed (cleared)"
    assert metric("rules_last_reload_successful") == 1
    assert [rule["name"] for rule in read_rules(flow.kafka, flow.names)] == ["level", "low"]
    (changed,) = running.logged("rules changed")
    assert (changed["added"], changed["removed"], changed["changed"]) == (["low"], ["move"], [])

    # The new rule raises; the one that stayed still knows that it is raised for AAPL and not for MSFT.
    flow.send((3, "AAPL", 107), (3, "MSFT", 101), (4, "MSFT", 89), (5, "AAPL", 99))
    running.eventually(lambda: len(flow.alerts()) == 9)
    assert set(flow.changes()[5:]) == {
        ("MSFT", "level", 3.0, "raised"),
        ("MSFT", "level", 4.0, "cleared"),
        ("MSFT", "low", 4.0, "raised"),
        ("AAPL", "level", 5.0, "cleared"),
    }
    everything = {alert.alert_id for alert in flow.alerts()}
    move = {alert.alert_id for alert in flow.alerts() if alert.rule == "move"}
    assert (len(everything), len(move)) == (9, 2)

    def at(path: str) -> list[str]:
        return sorted(headers["idempotency-key"] for where, headers, _ in http_receiver.requests if where == path)

    # Slack is notified neither of a rule that goes to the webhook alone nor of its end.
    running.eventually(lambda: at("/hook") == sorted(everything) and at("/slack") == sorted(everything - move))
    hook = [body for where, _, body in http_receiver.requests if where == "/hook"]
    states = [body["state"] for body in hook if body["rule"] == "move"]
    assert states == ["raised", "cleared"]
    assert running.stop() == 0
    assert flow.lag() == 0


def test_rules_are_edited_between_two_runs(service: Make, flow: Any, http_receiver: Any) -> None:
    running = service(rules(LEVEL, HOOKED), WEBHOOK_URL=http_receiver.address, RULES_RELOAD_SECONDS="0")
    started(running)
    flow.send((0, "AAPL", 99), (1, "AAPL", 106))
    running.eventually(lambda: len(flow.alerts()) == 2)
    edit(running, rules(LEVEL.replace("100", "200")))
    time.sleep(1)
    assert running.stop() == 0
    assert running.logged("rules changed") == []
    for _ in range(2):
        started(running)
        running.eventually(lambda: len(flow.alerts()) == 4)
        assert running.stop() == 0
    assert messages(flow)[2:] == ["rule level was changed (cleared)", "rule move was removed (cleared)"]
    assert sorted(set(http_receiver.ids)) == sorted(alert.alert_id for alert in flow.alerts())


@pytest.mark.parametrize("point", ["unsaved", "before-rules", "withdrawn", "after-rules"])
def test_killed_while_rules_change_each_alert_is_published_once(service: Make, flow: Any, point: str) -> None:
    running = service(rules(LEVEL, MOVE), RULES_RELOAD_SECONDS="0.3")
    running.start(crash="" if point == "unsaved" else point)
    running.wait_for("reading")
    flow.send((0, "AAPL", 99), (0, "MSFT", 99), (1, "AAPL", 106), (1, "MSFT", 101))
    running.eventually(lambda: len(flow.alerts()) == 3)
    assert running.logged("rules changed") == []
    if point == "unsaved":  # and the raised alerts are in no saved state
        running.kill()
    edit(running, rules(LEVEL, LOW))
    if point != "unsaved":
        assert running.process.wait(60) == -9, running.log.read_text()
        running.process = None
    before = len(flow.alerts())
    assert before == (3 if point in ("unsaved", "before-rules") else 4)
    flow.send((2, "AAPL", 105), (2, "MSFT", 102), (3, "MSFT", 89))
    started(running)
    running.eventually(lambda: len(flow.alerts()) >= 6)
    running.eventually(lambda: ("MSFT", "low", 3.0, "raised") in flow.changes())
    assert running.stop() == 0
    started(running)
    running.eventually(lambda: flow.lag() == 0)
    assert running.stop() == 0
    assert len({alert.alert_id for alert in flow.alerts()}) == len(flow.alerts()) == 6
    found = sorted((symbol, rule, state) for symbol, rule, _, state in flow.changes())
    assert found == [
        ("AAPL", "level", "raised"),
        ("AAPL", "move", "cleared"),
        ("AAPL", "move", "raised"),
        ("MSFT", "level", "cleared"),
        ("MSFT", "level", "raised"),
        ("MSFT", "low", "raised"),
    ]
    assert "rule move was removed (cleared)" in messages(flow)


def test_two_processes_read_the_same_new_file(service: Make, flow: Any, tmp_path: Path) -> None:
    symbols = ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "NVDA", "INTC")
    first = service(rules(LEVEL), RULES_RELOAD_SECONDS="0.5")
    second = service(rules(LEVEL), RULES_RELOAD_SECONDS="0.5")
    second.log = tmp_path / "second-log"
    started(first)
    started(second)
    flow.send(*[(second_, symbol, price) for second_, price in ((0, 99), (1, 101)) for symbol in symbols])
    first.eventually(lambda: len(flow.alerts()) == len(symbols))
    edit(first, rules(LOW))
    first.eventually(lambda: len(flow.alerts()) == 2 * len(symbols))
    for each in (first, second):
        each.wait_for("rules changed")
    first.kill()
    flow.send(*[(2, symbol, 89) for symbol in symbols])
    second.eventually(lambda: len(flow.alerts()) == 3 * len(symbols))
    assert second.stop() == 0
    for symbol in symbols:
        mine = [(rule, state) for name, rule, _, state in flow.changes() if name == symbol]
        assert mine == [("level", "raised"), ("level", "cleared"), ("low", "raised")]
    assert len({alert.alert_id for alert in flow.alerts()}) == 3 * len(symbols)
