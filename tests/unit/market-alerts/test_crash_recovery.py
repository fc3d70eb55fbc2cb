"""Ticks, saves, new rules and crashes in any order: in the end the topic shows what is active, each alert once."""

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from market_alerts.active_alerts import ActiveAlert, AlertKey, PublishedAlerts
from market_alerts.alert_events import AlertEvent, Withdrawal
from market_alerts.evaluation import Counts, PartitionEvaluator
from market_alerts.rules import Rule
from market_alerts.rules_file import parse_rules
from ticklake.records import iso_ms

AT = 1_770_000_000_000
SYMBOLS = ("AAPL", "MSFT", "V")
FILES: list[list[dict[str, Any]]] = [
    [],
    [{"name": "up", "level": 100, "direction": "up"}, {"name": "down", "level": 99, "direction": "down"}],
    [{"name": "up", "level": 100, "direction": "up", "hysteresis": 0.5}, {"name": "move", "percent": 1}],
    [{"name": "up", "level": 101, "direction": "up"}, {"name": "move", "percent": 1, "symbols": ["MSFT"]}],
    [{"name": "move", "percent": 1, "hysteresis": 0.5}, {"name": "down", "level": 99, "direction": "down"}],
]


class Crash(Exception):
    """The process is killed."""


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int


def rules(entries: list[dict[str, Any]]) -> tuple[Rule, ...]:
    kinds = ({"kind": "price_cross"}, {"kind": "change_percent", "window": "1m"})
    return parse_rules({"rules": [kinds["percent" in entry] | {"cooldown": "0s"} | entry for entry in entries]})


@dataclass
class World:
    """What outlives the process: the ticks, the alerts topic, the saved states and the commit."""

    rng: random.Random
    ticks: list[Record] = field(default_factory=list)
    topic: list[AlertEvent | Withdrawal] = field(default_factory=list)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    commit: tuple[int, int] = (0, 0)
    prices: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, 99.5))
    crashes_at: int | None = None
    steps: int = 0

    def step(self) -> None:
        """A point at which the process can be killed."""
        self.steps += 1
        if self.steps == self.crashes_at:
            raise Crash

    def tick(self) -> None:
        symbol, number = self.rng.choice(SYMBOLS), len(self.ticks)
        self.prices[symbol] *= 1 + self.rng.gauss(0, 5e-3)
        at = datetime.fromtimestamp(AT / 1000 + number, UTC)
        values = {
            "schema_version": 1,
            "symbol": symbol,
            "price": round(self.prices[symbol], 2),
            "volume": 1,
            "event_time": iso_ms(at),
            "sequence": number,
            "producer_run": "run",
            "source": "simulated",
        }
        self.ticks.append(Record(number, symbol.encode(), json.dumps(values).encode(), AT + number * 1000))

    def published(self) -> PublishedAlerts:
        raised = {
            key: ActiveAlert(events.alert(), None) for key, events in active_on(self.topic[self.commit[1] :]).items()
        }
        return PublishedAlerts(frozenset(each.alert_id for each in self.topic[self.commit[1] :]), raised)


def active_on(topic: list[AlertEvent | Withdrawal]) -> dict[AlertKey, AlertEvent | Withdrawal]:
    """The active alerts by the topic."""
    found: dict[AlertKey, AlertEvent | Withdrawal] = {}
    for each in topic:
        found.pop(each.key, None)
        if each.alert().state == "raised":
            found[each.key] = each
    return found


class Process:
    """The order of things in the service, over a World in place of the broker."""

    def __init__(self, world: World, entries: list[dict[str, Any]]) -> None:
        offset, alerts_from = world.commit
        self.world = world
        self.partition = PartitionEvaluator(
            0,
            "topic",
            rules(entries),
            10_000,
            60,
            next_offset=offset,
            catch_up_until=len(world.ticks),
            alerts_from=alerts_from,
            published=world.published(),
        )
        for symbol, state in world.states.items():
            self.partition.restore(symbol, "simulated", state)

    def send(self, events: list[Any]) -> None:
        for each in events:
            if each.alert_id not in self.partition.published.ids:
                self.world.topic.append(each)
                self.world.step()

    def evaluate(self, most: int) -> None:
        self.send(self.partition.take_withdrawals())
        begin = self.partition.next_offset
        self.send(self.partition.evaluate(self.world.ticks[begin : begin + most], Counts()))
        self.world.step()

    def save(self) -> None:
        self.send(self.partition.take_withdrawals())
        for symbol, source in self.partition.take_changed():
            self.world.states[symbol] = json.loads(json.dumps(self.partition.series[symbol, source].dump()))
            self.world.step()
        self.partition.mark_published(len(self.world.topic))
        self.world.commit = (self.partition.next_offset, self.partition.alerts_from)
        self.world.step()

    def change_rules(self, entries: list[dict[str, Any]]) -> None:
        if not self.partition.caught_up:
            return
        self.save()
        self.partition.apply_rules(rules(entries))
        self.save()


@pytest.mark.parametrize("seed", range(25))
def test_in_the_end_the_topic_shows_what_is_active(seed: int) -> None:
    rng = random.Random(seed)
    world, entries, crashes = World(rng), FILES[1], 0
    process = Process(world, entries)
    for _ in range(60):
        world.crashes_at = world.steps + rng.randint(1, 25)
        try:
            for _ in range(rng.randint(1, 8)):
                match rng.randrange(4):
                    case 0:
                        process.save()
                    case 1:
                        entries = rng.choice(FILES)
                        process.change_rules(entries)
                    case _:
                        for _ in range(rng.randint(1, 12)):
                            world.tick()
                        process.evaluate(rng.randint(1, 20))
        except Crash:
            crashes += 1
            # The file can have been changed once more while nothing ran.
            entries = rng.choice([entries, rng.choice(FILES)])
            process = Process(world, entries)
    world.crashes_at = None
    process.evaluate(len(world.ticks))
    process.save()

    ids = [each.alert_id for each in world.topic]
    assert len(set(ids)) == len(ids)
    active = {
        (state.rule.name, symbol, condition.threshold)
        for (symbol, _), series in process.partition.series.items()
        for state in series.rules
        for status, condition in zip(state.states, state.conditions, strict=True)
        if status == 2
    }
    assert {(key.rule, key.symbol, key.threshold) for key in active_on(world.topic)} == active
    assert crashes > 10
    assert any(isinstance(each, Withdrawal) for each in world.topic)
