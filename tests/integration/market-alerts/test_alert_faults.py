"""The broker goes away and comes back; a second process joins, and takes over when the first is killed."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ticklake.kafka import ensure_topics
from ticklake.settings import KafkaSettings, LiveSettings
from ticklake.topics import live_topics
from ticklake_local import platform
from ticklake_local.broker import Broker
from ticklake_local.processes import free_port

RULES = "rules: [{name: level, kind: price_cross, level: 100, cooldown: 0s}]"
SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "NVDA", "INTC")


@pytest.fixture
def broker(local_tools: platform.Tools, tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own."""
    made = Broker(local_tools.java, local_tools.jars["kafka"], tmp_path / "data", tmp_path / "log-dir", free_port())
    made.start()
    made.wait_ready()
    yield made
    made.stop()


def test_the_broker_is_killed_and_comes_back(
    service: Callable[..., Any], flow: Any, live: LiveSettings, broker: Broker, http_receiver: Any
) -> None:
    flow.kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
    ensure_topics(flow.kafka, live_topics(live.names))
    running = service(RULES, WEBHOOK_URL=http_receiver.address)
    running.environment["TICKLAKE_KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
    running.start()
    running.wait_for("reading")
    flow.send((0, "AAPL", 99), (1, "AAPL", 101))
    running.eventually(lambda: len(http_receiver.requests) == 1)
    assert broker.child is not None
    os.killpg(broker.child.pid, signal.SIGKILL)
    running.wait_for("will try again")
    broker.start()
    broker.wait_ready()
    flow.send((2, "AAPL", 99), (3, "AAPL", 102))
    # Up to three for what the first tick crossed downwards, if that was evaluated before the end.
    running.eventually(lambda: ("AAPL", "level", 3.0, "raised") in flow.changes())
    running.eventually(lambda: set(http_receiver.ids) == {alert.alert_id for alert in flow.alerts()})
    assert [what[1:] for what in flow.changes()] == [
        ("level", 1.0, "raised"),
        ("level", 2.0, "cleared"),
        ("level", 2.0, "raised"),
        ("level", 3.0, "cleared"),
        ("level", 3.0, "raised"),
    ]
    assert running.stop() == 0


def test_two_processes_share_the_work_and_one_takes_over(
    service: Callable[..., Any], flow: Any, tmp_path: Path
) -> None:
    first, second = service(RULES), service(RULES)
    second.log = tmp_path / "second-log"
    first.start()
    first.wait_for("reading")
    flow.send(*[(second_, symbol, price) for second_, price in ((0, 99), (1, 101)) for symbol in SYMBOLS])
    first.eventually(lambda: len(flow.changes()) == len(SYMBOLS))
    second.start()
    second.wait_for("reading")
    flow.send(*[(2, symbol, 99) for symbol in SYMBOLS])
    first.eventually(lambda: len(flow.changes()) == 3 * len(SYMBOLS))
    assert second.logged("alert raised")
    first.kill()
    flow.send(*[(3, symbol, 101) for symbol in SYMBOLS])
    second.eventually(lambda: len(flow.changes()) == 5 * len(SYMBOLS))
    assert second.stop() == 0
    for symbol in SYMBOLS:
        mine = [what[2:] for what in flow.changes() if what[0] == symbol]
        assert mine == [(1.0, "raised"), (2.0, "cleared"), (2.0, "raised"), (3.0, "cleared"), (3.0, "raised")]
    assert len({alert.alert_id for alert in flow.alerts()}) == len(flow.alerts())


def test_a_lost_place_in_the_group_is_asked_for_again(service: Callable[..., Any], flow: Any) -> None:
    running = service(RULES)
    running.start(crash="deaf")
    running.wait_for("rejoining the group")
    running.wait_for("reading")
    flow.send((0, "AAPL", 99), (1, "AAPL", 101))
    running.eventually(lambda: flow.changes() == [("AAPL", "level", 1.0, "raised")])
    assert running.stop() == 0
