"""The service as a process: ticks on a real broker, alerts on their topic and at real receivers, restarts and ends."""

import json
import os
import random
import subprocess
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import other_clients
import pytest
import yaml
from sample_alert import ALERT

from market_alerts.evaluation import Counts, PartitionEvaluator
from market_alerts.rules_file import parse_rules
from ticklake import kafka
from ticklake.alerts import read_rules
from ticklake_local.processes import free_port

SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA")
Make = Callable[..., Any]

LEVEL = """
rules:
  - {name: level, kind: price_cross, level: 100, cooldown: 0s, severity: critical}
"""
TWO = """
rules:
  - {name: level, kind: price_cross, level: 100, direction: up, cooldown: 60s}
  - {name: move, kind: change_percent, symbols: [MSFT], window: 10m, percent: 5, direction: down, targets: [webhook],
     notify_cleared: false}
"""


def started(service: Any) -> None:
    service.start()
    service.wait_for("reading")


def test_aborted_ticks_raise_nothing_and_transactions_delay_nothing(service: Make, flow: Any) -> None:
    running = service(LEVEL, RULES_RELOAD_SECONDS="0.2")
    started(running)
    flow.send((0, "AAPL", 99))
    other_clients.transact(flow.kafka, flow.names.topic, flow.messages((1, "AAPL", 1e6)), commit=False)
    other_clients.transact(flow.kafka, flow.names.topic, flow.messages((2, "AAPL", 101)), commit=True)
    running.eventually(lambda: flow.changes() == [("AAPL", "level", 2.0, "raised")])
    running.kill()
    running.start()
    running.wait_for("reading", times=2)
    # Other rules wait until all that the service before may have evaluated is evaluated again. The last offset in the
    # log is that of a transaction's mark, which never comes as a message.
    Path(running.environment["TICKLAKE_ALERTS_RULES_FILE"]).write_text(LEVEL.replace("100", "102"))
    running.wait_for("rules changed")
    running.eventually(lambda: flow.changes()[-1] == ("AAPL", "level", 2.0, "cleared"))
    running.eventually(lambda: flow.lag() == 0)


def test_a_symbol_whose_ticks_are_in_several_partitions(service: Make, flow: Any) -> None:
    running = service(LEVEL, STATE_SECONDS="0.2")
    started(running)

    def send(partitioner: str, *ticks: tuple[float, str, float]) -> None:
        other_clients.produce(flow.kafka, flow.names.topic, flow.messages(*ticks), partitioner=partitioner)

    def alerts(*due: tuple[float, str]) -> None:
        wanted = [("AAPL", "level", second, state) for second, state in due]
        running.eventually(lambda: flow.changes() == wanted)

    # Two producers that choose the partition by different rules.
    for second, price in enumerate((99, 99.5, 101, 101.5)):
        send(("murmur2", "consistent")[second % 2], (second, "AAPL", price))
        running.eventually(lambda: flow.lag() == 0)
    assert len({r.partition for r in flow.log(flow.names.topic, 4)}) == 2, "they choose the same partition"
    alerts((2, "raised"))
    # The process ends; meanwhile partitions are added, by which the symbol moves.
    assert running.stop() == 0
    with kafka.admin(flow.kafka) as client:
        client.create_partitions({flow.names.topic: 11})
    started_before = len(running.logged("reading"))
    running.start()
    running.wait_for("reading", times=started_before + 1)
    send("murmur2", (4, "AAPL", 102))
    send("murmur2", (5, "AAPL", 99))
    alerts((2, "raised"), (5, "cleared"), (5, "raised"))
    assert running.stop() == 0


def test_ticks_become_alerts_on_the_topic_and_at_every_target(
    service: Make, flow: Any, http_receiver: Any, mail_receiver: Any, certificate: Path
) -> None:
    port = free_port()
    running = service(
        TWO,
        WEBHOOK_URL=f"{http_receiver.address}/hook",
        SLACK_WEBHOOK=f"{http_receiver.address}/slack/SECRET",
        SMTP_HOST="127.0.0.1",
        SMTP_PORT=str(mail_receiver.port),
        SMTP_USERNAME="me",
        SMTP_PASSWORD="mail-secret",
        SMTP_CA_FILE=str(certificate),
        EMAIL_FROM="a@b.example",
        EMAIL_TO="c@d.example",
    )
    running.environment["TICKLAKE_METRICS_PORT"] = str(port)
    started(running)
    running.eventually(lambda: get(port, "/readyz") == "ok\n")
    flow.send(
        (0, "AAPL", 99),
        (0, "MSFT", 400),
        (1, "AAPL", 101),
        (2, "AAPL", 99),
        (3, "AAPL", 102),
        (3, "MSFT", 379),
        (4, "MSFT", 399),
        (70, "AAPL", 103),
        (71, "MSFT", 99),
        (72, "MSFT", 420),
    )
    expected = {
        ("AAPL", "level", 1.0, "raised"),
        ("AAPL", "level", 2.0, "cleared"),
        ("AAPL", "level", 70.0, "raised"),
        ("MSFT", "move", 3.0, "raised"),
        ("MSFT", "move", 4.0, "cleared"),
        ("MSFT", "level", 72.0, "raised"),
    }
    running.eventually(lambda: len(flow.changes()) >= len(expected))
    assert set(flow.changes()) == expected
    assert len(flow.changes()) == len(expected)
    ids = {a.alert_id: a for a in flow.alerts()}
    level = {name for name, alert in ids.items() if alert.rule == "level"}
    move = {name for name, alert in ids.items() if (alert.rule, alert.state) == ("move", "raised")}

    def at(path: str) -> set[str]:
        return {headers["idempotency-key"] for where, headers, _ in http_receiver.requests if where == path}

    running.eventually(lambda: at("/hook") == level | move and at("/slack/SECRET") == level)
    running.eventually(lambda: {message["Idempotency-Key"] for message in mail_receiver.messages} == level)
    assert len(http_receiver.requests) == 2 * len(level) + 1
    for where, _, body in http_receiver.requests:
        assert where != "/hook" or body == json.loads(ids[body["alert_id"]].model_dump_json())

    metrics = get(port, "/metrics")
    (delays,) = (
        line for line in metrics.splitlines() if line.startswith("ticklake_market_alerts_alert_delay_seconds_sum")
    )
    print(f"from append to confirmed alert: {float(delays.split()[1]) / len(expected) * 1000:.0f} ms on average")
    for line in (
        'raised_total{rule="level",severity="warning"} 3.0',
        'cleared_total{rule="move"} 1.0',
        'suppressed_total{rule="level"} 1.0',
        'delivered_total{target="email"} 4.0',
        "ticks_total 10.0",
        'delivered_total{target="webhook"} 5.0',
        "alert_delay_seconds_count 6.0",
    ):
        assert f"ticklake_market_alerts_{line}" in metrics
    assert running.stop() == 0
    assert flow.lag() == 0
    log = running.log.read_text()
    assert "SECRET" not in log
    assert "mail-secret" not in log
    assert [line["name"] for line in read_rules(flow.kafka, flow.names)] == ["level", "move"]


def get(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_a_dead_receiver_holds_up_neither_evaluation_nor_the_other_target(
    service: Make, flow: Any, http_receiver: Any
) -> None:
    http_receiver.answers = [(500, {})] * 3
    dead = free_port()
    running = service(
        LEVEL,
        WEBHOOK_URL=http_receiver.address,
        SLACK_WEBHOOK=f"http://127.0.0.1:{dead}/SECRET",
        RETRY_CAP_SECONDS="0.5",
    )
    started(running)
    flow.send((0, "AAPL", 99), (1, "AAPL", 101))
    running.eventually(lambda: len(http_receiver.requests) == 4)
    # Three answers 500, then 200: the same alert each time, then no more.
    assert len(set(http_receiver.ids)) == 1
    running.wait_for("alert delivered")
    assert running.logged("alert delivered")[0]["attempts"] == 4
    flow.send(*[(2 + n, "AAPL", 99 if n % 2 == 0 else 101) for n in range(50)])
    running.eventually(lambda: len(flow.alerts()) == 101)
    running.eventually(lambda: set(http_receiver.ids) == {alert.alert_id for alert in flow.alerts()})
    waiting = running.logged("delivery failed, retrying")
    assert {line["reason"] for line in waiting if line["target"] == "slack"} == {"ConnectError"}
    assert "SECRET" not in running.log.read_text()
    assert running.stop() == 0


def test_what_was_not_delivered_is_delivered_after_a_restart(service: Make, flow: Any, http_receiver: Any) -> None:
    http_receiver.always = 503
    running = service(LEVEL, WEBHOOK_URL=http_receiver.address)
    started(running)
    flow.send((0, "AAPL", 99), (1, "AAPL", 101), (2, "AAPL", 99))
    running.eventually(lambda: len(flow.alerts()) == 3 and len(http_receiver.requests) >= 2)
    assert set(http_receiver.ids) == {flow.alerts()[0].alert_id}
    running.kill()
    http_receiver.always = 200
    http_receiver.requests.clear()
    running.start()
    running.eventually(lambda: len(http_receiver.requests) == 3)
    assert http_receiver.ids == [alert.alert_id for alert in flow.alerts()]
    assert len(flow.alerts()) == 3


def test_an_alert_too_old_to_matter_is_given_up(service: Make, flow: Any, http_receiver: Any) -> None:
    http_receiver.always = 503
    running = service(LEVEL, WEBHOOK_URL=http_receiver.address, GIVE_UP_SECONDS="2")
    started(running)
    flow.send((0, "AAPL", 99), (1, "AAPL", 101))
    running.wait_for("alert not delivered")
    assert running.logged("alert not delivered")[0]["reason"] == "too old"
    http_receiver.always = 200
    flow.send((2, "AAPL", 99))
    running.wait_for("alert delivered", 2)
    assert running.stop() == 0


def test_a_receiver_that_asks_to_wait_for_long_keeps_no_alert_past_its_time(
    service: Make, flow: Any, http_receiver: Any
) -> None:
    old = ALERT.model_copy(update={"raised_at": datetime.now(UTC) - timedelta(seconds=3580)})
    with kafka.ConfirmedProducer(flow.kafka, "test") as producer:
        producer.send(flow.names.alerts_topic, key=b"AAPL", value=old.model_dump_json().encode())
    http_receiver.answers = [(503, {"Retry-After": "9" * 1000})]
    running = service(LEVEL, WEBHOOK_URL=http_receiver.address, GIVE_UP_SECONDS="3600")
    started(running)
    running.wait_for("alert not delivered")
    flow.send((0, "AAPL", 99), (1, "AAPL", 101))
    running.wait_for("alert delivered")
    assert running.stop() == 0


def test_killed_at_every_point_it_loses_and_repeats_nothing(service: Make, flow: Any) -> None:
    rules = """
    rules:
      - {name: level, kind: price_cross, level: 100, cooldown: 20s, hysteresis: 0.02}
      - {name: move, kind: change_percent, window: 2m, percent: 0.8, cooldown: 30s}
      - {name: rsi, kind: rsi, period: 5, over: 70, under: 30, cooldown: 0s}
      - {name: trend, kind: ma_cross, short: 2, long: 5, cooldown: 0s}
    """
    points = ["alert", "commit", "half", "state", "alert", "commit", "commit", ""]
    ticks = walk(200 * len(points))
    running = service(rules, STATE_SECONDS="2")
    started(running)
    running.kill()
    part = len(ticks) // len(points)
    for number, point in enumerate(points):
        running.start(crash=point)
        flow.send(*ticks[number * part : (number + 1) * part])
        if point:
            assert running.process.wait(60) == -9, running.log.read_text()
            running.process = None
    running.eventually(lambda: flow.lag() == 0)
    assert running.stop() == 0

    # What one uninterrupted evaluation of the log makes of it.
    topic_id = kafka.topic_id(flow.kafka, flow.names.topic)
    expected: list[str] = []
    rules_in_force = parse_rules(yaml.safe_load(rules))
    for number in range(4):
        records = [record for record in flow.log(flow.names.topic, 4) if record.partition == number]
        whole = PartitionEvaluator(number, topic_id, rules_in_force, 10_000, None)
        expected += [
            each.alert_id for each in whole.evaluate(records, Counts()) if each.transition.state != "suppressed"
        ]
    found = [alert.alert_id for alert in flow.alerts()]
    assert sorted(found) == sorted(expected)
    assert len(found) > 100
    assert running.logged("alert already published")


def walk(seconds: int) -> list[tuple[float, str, float]]:
    """Six random walks around 100, a tick a second each."""
    rng, price, ticks = random.Random(3), dict.fromkeys(SYMBOLS, 100.0), []
    for second in range(seconds):
        for symbol in SYMBOLS:
            price[symbol] *= 1 + rng.gauss(0, 1e-3)
            ticks.append((float(second), symbol, round(price[symbol], 4)))
    return ticks


@pytest.mark.parametrize(
    ("rules", "change", "code", "expected"),
    [
        ("rules: [{name: a, kind: rsi, over: 700}]", {}, 2, "rule a: over: Input should be less than 100"),
        ("rules: {", {}, 2, "is no YAML"),
        (LEVEL.replace("}", ", targets: [slack]}"), {}, 2, "rule level: targets: slack is not set up"),
        (LEVEL, {"TICKLAKE_ALERTS_RULES_FILE": "/no/such/file"}, 2, "/no/such/file cannot be read"),
        (LEVEL, {"TICKLAKE_ALERTS_EMAIL_TO": "nobody"}, 2, "TICKLAKE_ALERTS_EMAIL_TO"),
        (LEVEL, {"TICKLAKE_LIVE_NAMESPACE": "no-such-flow"}, 2, "no topic"),
        (LEVEL, {"TICKLAKE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "TICKLAKE_KAFKA_TIMEOUT_SECONDS": "2"}, 1, ":1"),
    ],
)
def test_what_a_user_can_cause_is_one_line(
    service: Make, programs: Path, rules: str, change: dict[str, str], code: int, expected: str
) -> None:
    done = subprocess.run(
        [programs / "market-alerts"],
        env=os.environ | service(rules).environment | change,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert expected in done.stderr
