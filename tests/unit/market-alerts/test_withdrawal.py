"""Rules that change under a partition's series: what continues, what is withdrawn, and each alert once."""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from market_alerts.active_alerts import ActiveAlert, AlertKey, Headers, PublishedAlerts
from market_alerts.alert_events import AlertEvent, Withdrawal
from market_alerts.evaluation import Counts, PartitionEvaluator
from market_alerts.rules import Rule
from market_alerts.rules_file import parse_rules
from ticklake.alerts import Alert
from ticklake.records import iso_ms

AT = 1_770_000_000_000
LEVEL: dict[str, Any] = {
    "name": "level",
    "kind": "price_cross",
    "level": 100,
    "direction": "up",
    "cooldown": "0s",
    "severity": "critical",
    "targets": ["slack"],
}
MOVE: dict[str, Any] = {"name": "move", "kind": "change_percent", "window": "10m", "percent": 5, "cooldown": "1m"}


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int


def record(offset: int, price: float, symbol: str = "AAPL", early_ms: int = 0) -> Record:
    at = AT + offset * 1000
    values = {
        "schema_version": 1,
        "symbol": symbol,
        "price": price,
        "volume": 1,
        "sequence": offset,
        "producer_run": "run",
        "event_time": iso_ms(datetime.fromtimestamp((at + early_ms) / 1000, UTC)),
        "source": "simulated",
    }
    return Record(offset, symbol.encode(), json.dumps(values).encode(), at)


def rules(*entries: dict[str, Any]) -> tuple[Rule, ...]:
    return parse_rules({"rules": list(entries)})


def partition(*entries: dict[str, Any], **more: Any) -> PartitionEvaluator:
    return PartitionEvaluator(3, "topic-id", rules(*entries), 10_000, 60, **more)


def saved(watched: PartitionEvaluator) -> dict[str, dict[str, Any]]:
    """The state of each symbol as it comes back from the topic."""
    return {symbol: json.loads(json.dumps(series.dump())) for (symbol, _), series in watched.series.items()}


def restarted(states: dict[str, dict[str, Any]], *entries: dict[str, Any], **more: Any) -> PartitionEvaluator:
    again = partition(*entries, **more)
    for symbol, state in states.items():
        again.restore(symbol, "simulated", state)
    return again


def topic(*earlier: AlertEvent | Withdrawal) -> PublishedAlerts:
    """What is on the alerts topic after these."""
    raised: dict[AlertKey, ActiveAlert] = {}
    for each in earlier:
        raised.pop(each.key, None)
        alert = each.alert()
        if alert.state == "raised":
            raised[each.key] = ActiveAlert(alert, each.headers.cleared_targets)
    return PublishedAlerts(frozenset(each.alert_id for each in earlier), raised)


def changes(events: list[AlertEvent]) -> list[tuple[str, str, float]]:
    return [
        (each.symbol, f"{each.transition.rule.name} {each.transition.state}", each.transition.value) for each in events
    ]


def messages(withdrawn: list[Withdrawal]) -> list[str]:
    return [each.alert().message for each in withdrawn]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("after", "why"),
    [
        ([MOVE], "rule level was removed (cleared)"),
        ([LEVEL | {"level": 90}, MOVE], "rule level was changed (cleared)"),
        ([LEVEL | {"hysteresis": 1}, MOVE], "rule level was changed (cleared)"),
        ([LEVEL | {"symbols": ["MSFT"]}, MOVE], "rule level no longer watches AAPL (cleared)"),
        ([LEVEL | {"severity": "info", "cooldown": "1h", "targets": [], "symbols": ["AAPL"]}, MOVE], None),
    ],
)
def test_what_is_raised_is_cleared_with_its_rule(restart: bool, after: list[dict[str, Any]], why: str) -> None:
    watched = partition(LEVEL, MOVE)
    # MSFT is raised no more, GOOGL never was.
    prices = [("AAPL", 99), ("MSFT", 99), ("MSFT", 101), ("MSFT", 99), ("GOOGL", 50), ("AAPL", 101.5), ("AAPL", 102)]
    events = watched.evaluate([record(n, price, symbol) for n, (symbol, price) in enumerate(prices)], Counts())
    (raised,) = (each for each in events if each.symbol == "AAPL")
    assert watched.take_withdrawals() == []
    watched.take_changed()
    if restart:
        watched = restarted(saved(watched), *after)
    else:
        watched.apply_rules(rules(*after))
    withdrawn = watched.take_withdrawals()
    assert messages(withdrawn) == ([f"AAPL: {why}"] if why else [])
    assert watched.take_withdrawals() == []
    for each in withdrawn:
        alert = each.alert()
        assert alert.model_dump(exclude={"alert_id", "message", "raised_at", "event_time"}) == {
            "schema_version": 1,
            "rule": "level",
            "symbol": "AAPL",
            "kind": "price_cross",
            "severity": "critical",
            "value": 101.5,
            "threshold": 100.0,
            "source": "simulated",
            "state": "cleared",
        }
        assert int(alert.event_time.timestamp() * 1000) == AT + 6000  # of the newest tick, not of the one that raised
        assert each.headers == Headers(("slack",))
        assert (each.raised.alert_id, each.alert_id != raised.alert_id) == (raised.alert_id, True)
        assert Alert.model_validate_json(alert.model_dump_json()) == alert
    # All of it is saved again: a state with the old rules would withdraw once more.
    changed = [symbol for symbol, _ in watched.take_changed()]
    assert changed == (["AAPL", "GOOGL", "MSFT"] if not restart else ["AAPL"] if why else [])
    assert restarted(saved(watched), *after).take_withdrawals() == []


def test_the_rest_continues_as_it_was() -> None:
    ticks = [record(n, price) for n, price in enumerate([100, 99, 105, 106, 99, 106, 112, 90])]
    undisturbed = partition(MOVE, LEVEL).evaluate(ticks, Counts())
    watched = partition(MOVE, LEVEL)
    other = {"name": "other", "kind": "price_cross", "level": 1}
    events = watched.evaluate(ticks[:3], Counts())
    watched.apply_rules(rules(other, LEVEL, MOVE))
    events += watched.evaluate(ticks[3:6], Counts())
    watched.apply_rules(rules(LEVEL, MOVE))
    events += watched.evaluate(ticks[6:], Counts())
    assert watched.take_withdrawals() == []
    assert sorted(each.alert_id for each in events) == sorted(each.alert_id for each in undisturbed)
    assert [each[1] for each in changes(undisturbed)].count("level raised") == 2


def test_a_new_rule_raises_at_the_next_tick_and_a_changed_one_starts_again() -> None:
    watched = partition(LEVEL)
    assert changes(watched.evaluate([record(0, 99), record(1, 101)], Counts())) == [("AAPL", "level raised", 101)]
    watched.apply_rules(
        rules(LEVEL | {"level": 103}, {"name": "low", "kind": "price_cross", "level": 98, "direction": "down"})
    )
    assert messages(watched.take_withdrawals()) == ["AAPL: rule level was changed (cleared)"]
    ticks = [record(2, 97), record(3, 104), record(4, 102)]
    assert changes(watched.evaluate(ticks, Counts())) == [
        ("AAPL", "low raised", 97),
        ("AAPL", "level raised", 104),
        ("AAPL", "low cleared", 104),
        ("AAPL", "level cleared", 102),
    ]
    watched.apply_rules(rules(LEVEL | {"name": "reached", "level": 102}))  # from above: no crossing
    ticks = [record(5, 103), record(6, 101), record(7, 102)]
    assert changes(watched.evaluate(ticks, Counts())) == [("AAPL", "reached raised", 102)]


def test_a_symbol_of_which_nothing_counted_yet_takes_new_rules() -> None:
    watched = partition(LEVEL)
    assert watched.evaluate([record(0, 99, early_ms=3_600_000)], Counts()) == []
    watched.apply_rules(rules(MOVE, LEVEL))
    assert changes(watched.evaluate([record(1, 99), record(2, 101)], Counts())) == [("AAPL", "level raised", 101)]


def test_both_sides_of_a_rule_are_withdrawn_each_for_itself() -> None:
    watched = partition(LEVEL | {"direction": "either", "hysteresis": 2})
    # Still above 98, so up is active, when 100 is crossed downwards.
    events = watched.evaluate([record(n, price) for n, price in enumerate([97, 101, 103, 99.5])], Counts())
    assert [each.transition.condition.name for each in events] == ["up", "down"]
    watched.apply_rules(())
    withdrawn = watched.take_withdrawals()
    assert [each.raised.alert_id for each in withdrawn] == [each.alert_id for each in events]
    assert len({each.alert_id for each in withdrawn}) == 2
    assert [each.raised.value for each in withdrawn] == [101, 99.5]


def test_targets_are_notified_as_the_rule_wanted_that_raised() -> None:
    silent = LEVEL | {"notify_cleared": False}
    for entry, raise_goes, end_goes in ((LEVEL, ("slack",), ("slack",)), (silent, ("slack",), ())):
        watched = partition(entry)
        (events,) = watched.evaluate([record(0, 99), record(1, 101)], Counts())
        assert (events.headers.targets, events.headers.cleared_targets) == (raise_goes, end_goes)
        assert Headers.of(events.headers.pairs()) == events.headers
        # Those notified of the raise are notified of its end, whoever the rule is for by now.
        watched.apply_rules(rules(entry | {"targets": ["webhook"], "notify_cleared": True}))
        watched.apply_rules(())
        assert [each.headers.targets for each in watched.take_withdrawals()] == [end_goes]
    (events,) = partition(MOVE).evaluate([record(0, 99), record(1, 109)], Counts())
    assert events.headers.pairs() == []
    assert Headers.of([]) == Headers(None)


def test_however_a_withdrawal_comes_about_it_has_one_id() -> None:
    watched = partition(LEVEL)
    watched.evaluate([record(0, 99), record(1, 101)], Counts())
    before = saved(watched)
    watched.evaluate([record(2, 102)], Counts())
    later = saved(watched)
    watched.apply_rules(())
    ids = {each.alert_id for each in watched.take_withdrawals()}
    ids |= {each.alert_id for state in (before, later) for each in restarted(state).take_withdrawals()}
    ids |= {each.alert_id for each in restarted(before, LEVEL | {"level": 90}).take_withdrawals()}
    assert len(ids) == 1
    # The next raise is another one.
    again = restarted(later, LEVEL)
    again.evaluate([record(3, 99), record(4, 101)], Counts())
    again.apply_rules(())
    assert not ids & {each.alert_id for each in again.take_withdrawals()}


def test_a_state_from_before_raises_were_saved_still_loads() -> None:
    watched = partition(LEVEL)
    watched.evaluate([record(0, 99), record(1, 101)], Counts())
    old = saved(watched)
    (raised,) = old["AAPL"]["rules"]["level"].pop("raises")
    assert (raised["place"], raised["value"]) == ([3, 1], 101)
    assert restarted(old).take_withdrawals() == []  # what it was is not known
    # Its rule as it is now is enough, but for the value.
    again = restarted(old, LEVEL)
    again.apply_rules(())
    (withdrawn,) = again.take_withdrawals()
    assert (withdrawn.raised.value, withdrawn.raised.severity, withdrawn.targets) == (100, "critical", ("slack",))
    cleared = restarted(old, LEVEL).evaluate([record(2, 99)], Counts())
    assert changes(cleared) == [("AAPL", "level cleared", 99)]


def test_raised_after_the_saved_state_and_the_rule_gone_at_the_restart() -> None:
    first = partition(LEVEL | {"notify_cleared": False}, MOVE)
    ticks = [record(n, price) for n, price in enumerate([99, 99, 101, 106, 107])]
    first.evaluate(ticks[:1], Counts())
    state = saved(first)
    earlier = first.evaluate(ticks[1:4], Counts())
    assert changes(earlier) == [("AAPL", "level raised", 101), ("AAPL", "move raised", pytest.approx(100 * 7 / 99))]
    again = restarted(state, MOVE, next_offset=1, catch_up_until=4, published=topic(*earlier))
    assert again.take_withdrawals() == []
    assert [each.alert_id for each in again.evaluate(ticks[1:3], Counts())] == []
    assert again.take_withdrawals() == []  # not before everything was evaluated again
    assert [each.alert_id for each in again.evaluate(ticks[3:], Counts())] == [earlier[1].alert_id]
    (withdrawn,) = again.take_withdrawals()
    assert (withdrawn.raised.alert_id, withdrawn.alert().message) == (
        earlier[0].alert_id,
        "AAPL: rule level was removed (cleared)",
    )
    assert (withdrawn.targets, withdrawn.raised.value, withdrawn.event_ms) == ((), 101, AT + 4000)
    assert again.take_withdrawals() == []
    # Killed before that was saved, the next one finds it on the topic.
    third = restarted(state, MOVE, next_offset=1, catch_up_until=5, published=topic(*earlier, withdrawn))
    third.evaluate(ticks[1:], Counts())
    assert third.take_withdrawals() == []


def test_raised_after_the_saved_state_and_the_rule_changed_at_the_restart() -> None:
    ticks = [record(n, price) for n, price in enumerate([99, 101, 104, 98])]
    earlier = partition(LEVEL).evaluate(ticks[:3], Counts())
    # As changed it raises later, and the same threshold is then the other one's: a reader's last word is that.
    changed = LEVEL | {"hysteresis": 0.5, "cooldown": "1h"}
    again = partition(changed, catch_up_until=3, published=topic(*earlier))
    events = again.evaluate(ticks[:3], Counts())
    assert changes(events) == [("AAPL", "level raised", 101)]
    assert {each.alert_id for each in events}.isdisjoint(each.alert_id for each in earlier)
    assert again.take_withdrawals() == []
    # Where it does not raise, the raise of before is withdrawn.
    again = partition(LEVEL | {"level": 105}, catch_up_until=3, published=topic(*earlier))
    assert again.evaluate(ticks[:3], Counts()) == []
    assert messages(again.take_withdrawals()) == ["AAPL: rule level was changed (cleared)"]
    # Unchanged it stays active, and what was cleared needs no end.
    again = partition(LEVEL, catch_up_until=3, published=topic(*earlier))
    again.evaluate(ticks[:3], Counts())
    assert again.take_withdrawals() == []
    earlier = partition(LEVEL).evaluate(ticks, Counts())
    again = partition(catch_up_until=4, published=topic(*earlier))
    again.evaluate(ticks, Counts())
    assert again.take_withdrawals() == []


def test_a_rule_that_is_changed_and_then_removed_between_two_crashes() -> None:
    ticks = [record(n, price) for n, price in enumerate([99, 101, 98, 102])]
    watched = partition(LEVEL)
    earlier: list[AlertEvent | Withdrawal] = [*watched.evaluate(ticks[:2], Counts())]
    state = saved(watched)
    second = restarted(state, LEVEL | {"hysteresis": 0.5}, next_offset=2)
    earlier += [*second.take_withdrawals(), *second.evaluate(ticks[2:], Counts())]
    assert [each.alert().state for each in earlier] == ["raised", "cleared", "raised"]
    third = restarted(state, next_offset=2, catch_up_until=4, published=topic(*earlier))
    third.evaluate(ticks[2:], Counts())
    new = [each for each in third.take_withdrawals() if each.alert_id not in third.published.ids]
    assert [each.raised.alert_id for each in new] == [earlier[2].alert_id]


def test_a_rule_that_comes_back_after_it_was_withdrawn_starts_again() -> None:
    watched = partition(MOVE)
    (raised,) = watched.evaluate([record(0, 99), record(1, 106)], Counts())
    state = saved(watched)
    watched.apply_rules(())
    (withdrawn,) = watched.take_withdrawals()
    # Killed before that was saved; the rule is in the file again.
    again = restarted(state, MOVE | {"cooldown": "0s"}, next_offset=2, published=topic(raised, withdrawn))
    assert again.take_withdrawals() == []
    assert [what for _, what, _ in changes(again.evaluate([record(2, 106)], Counts()))] == ["move raised"]
    again.apply_rules(())
    (other,) = again.take_withdrawals()
    assert other.alert_id != withdrawn.alert_id


def test_what_is_withdrawn_from_the_state_is_not_withdrawn_from_the_topic_too() -> None:
    watched = partition(LEVEL)
    earlier = watched.evaluate([record(0, 99), record(1, 101)], Counts())
    # The commit is older than the state, so the raise is among what may be met again.
    again = restarted(saved(watched), next_offset=0, catch_up_until=2, published=topic(*earlier))
    assert [each.raised.alert_id for each in again.take_withdrawals()] == [earlier[0].alert_id]
    again.evaluate([record(0, 99), record(1, 101)], Counts())
    assert again.take_withdrawals() == []


@pytest.mark.parametrize("changed_at", [1, 2, 4])
def test_rules_that_change_while_it_catches_up(changed_at: int) -> None:
    ticks = [record(n, price) for n, price in enumerate([99, 99, 101, 102, 103])]
    earlier = partition(LEVEL).evaluate(ticks, Counts())
    again = partition(LEVEL, catch_up_until=5, published=topic(*earlier))
    events = again.evaluate(ticks[:changed_at], Counts())
    assert again.take_withdrawals() == []
    again.apply_rules(rules(MOVE))
    events += again.evaluate(ticks[changed_at:], Counts())
    assert {each.alert_id for each in events} <= {each.alert_id for each in earlier}
    (withdrawn,) = again.take_withdrawals()
    assert withdrawn.raised.alert_id == earlier[0].alert_id
    assert again.take_withdrawals() == []
