"""One partition's evaluation: what is left out, and that a repetition makes the same alerts."""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from market_alerts.active_alerts import PublishedAlerts
from market_alerts.alert_events import AlertEvent
from market_alerts.evaluation import Counts, PartitionEvaluator
from market_alerts.rules_file import parse_rules
from ticklake.alerts import Alert, Severity
from ticklake.records import iso_ms

AT = 1_770_000_000_000
RULES = parse_rules(
    {"rules": [{"name": "level", "kind": "price_cross", "level": 100, "cooldown": "0s", "severity": "critical"}]}
)


class Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


def record(offset: int, price: Any, symbol: str = "AAPL", late_ms: int = 0, **changes: Any) -> Record:
    at = AT + offset * 1000 - late_ms
    values = {
        "schema_version": 1,
        "symbol": symbol,
        "price": price,
        "volume": 1,
        "event_time": iso_ms(datetime.fromtimestamp(at / 1000, UTC)),
        "sequence": offset,
        "producer_run": "run",
        "source": "simulated",
    }
    return Record(offset, symbol.encode(), json.dumps(values | changes).encode(), AT + offset * 1000)


def partition(**more: Any) -> PartitionEvaluator:
    return PartitionEvaluator(3, "topic-id", RULES, 10_000, 60, **more)


def changes(events: list[AlertEvent]) -> list[tuple[str, str, float]]:
    return [
        (each.symbol, f"{each.transition.condition.name} {each.transition.state}", each.transition.value)
        for each in events
    ]


def test_an_alert_has_what_happened() -> None:
    events = partition().evaluate([record(0, 99.5), record(1, 100.25), record(2, 99.75)], Counts())
    raised, cleared, other = [each.alert() for each in events]
    assert raised.model_dump(exclude={"alert_id", "raised_at", "event_time"}) == {
        "schema_version": 1,
        "rule": "level",
        "symbol": "AAPL",
        "kind": "price_cross",
        "severity": Severity.CRITICAL,
        "message": "AAPL: crosses above 100, now 100.2500",
        "value": 100.25,
        "threshold": 100.0,
        "source": "simulated",
        "state": "raised",
    }
    assert int(raised.event_time.timestamp() * 1000) == AT + 1000
    assert (cleared.state, other.state) == ("cleared", "raised")
    assert cleared.message == "AAPL: crosses above 100, now 99.7500 (cleared)"
    assert other.message == "AAPL: crosses below 100, now 99.7500"
    assert len({each.alert_id for each in (raised, cleared, other)}) == 3
    assert Alert.model_validate_json(raised.model_dump_json()) == raised


def test_what_is_left_out_is_counted_and_stops_nothing() -> None:
    counts = Counts()
    good = record(9, 101)
    events = partition().evaluate(
        [
            record(0, 99),
            Record(1, b"AAPL", b"no json", AT),
            Record(2, b"AAPL", None, AT),
            Record(3, b"MSFT", record(3, 101).value, AT),
            record(4, -1),
            record(5, "101"),
            record(6, 101, late_ms=20_000),
            record(7, 99),
            record(8, 105, late_ms=-60_001),
            good,
        ],
        counts,
    )
    assert changes(events) == [("AAPL", "up raised", 101)]
    assert (counts.ticks, counts.invalid, counts.late, counts.future) == (3, 5, 1, 1)


def test_sources_are_never_mixed() -> None:
    others = [record(number, 105, source="alpha_vantage") for number in (1, 3)]
    ticks = [record(0, 99), others[0], record(2, 99.5), others[1]]
    assert partition().evaluate(ticks, Counts()) == []


def test_evaluated_again_from_an_older_state_the_same_alerts_come_out() -> None:
    prices = [99, 101, 99, 98, 102, 103, 97, 100, 95, 100]
    records = [record(n, price) for n, price in enumerate(prices)] + [record(10, 99, "MSFT"), record(11, 105, "MSFT")]
    undisturbed = partition()
    whole = undisturbed.evaluate(records, Counts())
    first = partition()
    before = first.evaluate(records[:6], Counts())
    saved = json.loads(json.dumps(first.series["AAPL", "simulated"].dump()))
    assert first.take_changed() == [("AAPL", "simulated")]
    assert first.take_changed() == []
    # Committed at 4, though the state reaches to 6: what is in the state is not taken twice.
    for begin in (6, 4):
        again = partition(next_offset=begin)
        again.restore("AAPL", "simulated", saved)
        after = again.evaluate(records[begin:], Counts())
        assert [each.alert_id for each in before + after] == [each.alert_id for each in whole]
        assert again.series["AAPL", "simulated"].dump() == undisturbed.series["AAPL", "simulated"].dump()
    other = PartitionEvaluator(3, "topic recreated", RULES, 10_000, 60).evaluate(records, Counts())
    assert not {each.alert_id for each in other} & {each.alert_id for each in whole}


def test_before_the_first_start_nothing_is_raised() -> None:
    watched = partition(silent_until=2)
    events = watched.evaluate([record(0, 99), record(1, 101), record(2, 102), record(3, 99)], Counts())
    assert changes(events) == [("AAPL", "down raised", 99)]


def test_alerts_are_looked_for_from_the_old_place_until_the_catching_up_is_done() -> None:
    watched = partition(catch_up_until=4, alerts_from=7, published=PublishedAlerts(frozenset({"x"})))
    watched.evaluate([record(n, 99) for n in range(3)], Counts())
    watched.mark_published(20)
    assert (watched.alerts_from, watched.published) == (7, PublishedAlerts(frozenset({"x"})))
    watched.evaluate([record(3, 99)], Counts())
    watched.mark_published(20)
    assert (watched.alerts_from, watched.published) == (20, PublishedAlerts())


def beside(*numbers: int, **more: Any) -> dict[int, PartitionEvaluator]:
    """Partitions of one process."""
    found = {number: PartitionEvaluator(number, "topic-id", RULES, 10_000, 60, **more) for number in numbers}
    for each in found.values():
        each.others = found
    return found


def test_a_symbol_in_two_partitions_has_one_state() -> None:
    """As of two producers that choose the partition by different rules."""
    both = beside(3, 4)
    events: list[AlertEvent] = []
    for number, price in enumerate((99.5, 99.6, 100.25, 100.5, 100.75, 99.75, 99.5)):
        events += both[3 + number % 2].evaluate([record(number, price)], Counts())
    assert changes(events) == [
        ("AAPL", "up raised", 100.25),
        ("AAPL", "up cleared", 99.75),
        ("AAPL", "down raised", 99.75),
    ]
    assert [sorted(each.series) for each in both.values()] == [[("AAPL", "simulated")], []]
    assert (both[3].moved, both[4].moved) == (set(), {("AAPL", "simulated")})


def test_an_alert_goes_on_where_added_partitions_move_its_symbol() -> None:
    process = beside(3)
    before = process[3].evaluate([record(0, 99.5), record(1, 100.25)], Counts())
    saved = json.loads(json.dumps(process[3].series["AAPL", "simulated"].dump()))
    process = beside(3, 9)
    process[3].restore("AAPL", "simulated", saved)
    # The same offset as before, in another partition: it is another tick.
    after = process[9].evaluate([record(0, 100.5), record(1, 99.75)], Counts())
    assert changes(before) == [("AAPL", "up raised", 100.25)]
    assert changes(after) == [("AAPL", "up cleared", 99.75), ("AAPL", "down raised", 99.75)]
    # What was evaluated is in the state that moved.
    assert process[3].evaluate([record(0, 99.5), record(1, 100.25)], Counts()) == []
