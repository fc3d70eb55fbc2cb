"""What a valid tick is, and that every reader of the live topic judges by it."""

import json
import math
from collections.abc import Callable
from typing import Any

import hostile_ticks
import pyarrow as pa
import pytest
from hostile_ticks import APPENDED, FUTURE, INVALID, TEXT, VALID, WRONG_KEYS, Message
from hypothesis import example, given, settings
from prometheus_client import CollectorRegistry

from archive_ticks.parsing import parse
from dashboard.live.alerts import AlertState
from dashboard.live.consumer import LiveConsumer
from dashboard.live.prices import LiveState
from dashboard.live.windows import WindowState
from dashboard.metrics import Metrics
from dashboard.settings import DashboardSettings
from market_alerts.evaluation import Counts, PartitionEvaluator
from market_alerts.rules_file import parse_rules
from stream_analytics.partial_aggregates import _of_messages
from ticklake.records import Tick
from ticklake.settings import CatalogSettings, LiveSettings
from ticklake.ticks import InvalidTick, read_tick

TOLERANCE = 60.0


def read(message: Message, tolerance: float | None = TOLERANCE) -> Tick | InvalidTick:
    return read_tick(message.key, message.value, message.timestamp, tolerance)


@pytest.mark.parametrize("value", VALID.values(), ids=VALID)
def test_a_valid_tick_reads_back(value: bytes) -> None:
    tick = read(Message(b"AAPL", value))
    assert isinstance(tick, Tick)
    assert read(Message(b"AAPL", tick.model_dump_json().encode())) == tick


@pytest.mark.parametrize("value", INVALID.values(), ids=INVALID)
def test_what_is_no_tick_has_a_reason_of_one_line(value: bytes | None) -> None:
    for tolerance in (TOLERANCE, None):
        found = read(Message(b"AAPL", value), tolerance)
        assert isinstance(found, InvalidTick)
        assert not found.from_future
        assert 0 < len(found.reason) <= 1000
        assert "\n" not in found.reason


@pytest.mark.parametrize("value", FUTURE.values(), ids=FUTURE)
def test_a_tick_from_the_future_is_valid_where_any_distance_is_allowed(value: bytes) -> None:
    found = read(Message(b"AAPL", value))
    assert found == InvalidTick("event_time: lies more than 60 s after the time of its arrival", from_future=True)
    assert isinstance(read(Message(b"AAPL", value), None), Tick)


@pytest.mark.parametrize("key", WRONG_KEYS)
def test_the_key_is_the_symbol(key: bytes | None) -> None:
    assert read(Message(key, TEXT.encode())) == InvalidTick("key: should be the symbol AAPL")


@given(hostile_ticks.messages())
@settings(max_examples=300, deadline=None)
def test_a_name_is_there_once(message: Message) -> None:
    if not isinstance(read(message), Tick):
        return
    names = json.loads(message.value or b"", object_pairs_hook=lambda pairs: [name for name, _ in pairs])
    assert len(names) == len(set(names))


# --- the readers -----------------------------------------------------------------------------------------------------

RULES = parse_rules({"rules": [{"name": "level", "kind": "price_cross", "level": 100, "cooldown": "0s"}]})
Verdict = str
"""valid, invalid or future."""


def archive(message: Message) -> Verdict:
    batch, invalid = parse(0, [message], TOLERANCE)
    assert batch.num_rows + len(invalid) == 1
    if not invalid:
        return "valid"
    return "future" if "after the time of its arrival" in invalid[0].reason else "invalid"


def alerts(message: Message) -> Verdict:
    counts = Counts()
    PartitionEvaluator(0, "id", RULES, 10_000, TOLERANCE).evaluate([message], counts)
    found = {"valid": counts.ticks, "invalid": counts.invalid, "future": counts.future}
    assert sum(found.values()) == 1
    return max(found, key=lambda name: found[name])


def stream(message: Message) -> Verdict:
    columns: dict[str, Any] = {
        "key": pa.array([message.key], pa.binary()),
        "value": pa.array([message.value], pa.binary()),
        "timestamp": pa.array([message.timestamp * 1000], pa.timestamp("us", "UTC")),
    }
    *panes, counts = [
        row for part in _of_messages(60_000_000, TOLERANCE, [pa.record_batch(columns)]) for row in part.to_pylist()
    ]
    found = {"valid": len(panes), "invalid": counts["invalid"], "future": counts["future"]}
    assert (sum(found.values()), counts["rows"]) == (1, 1)
    for pane in panes:
        assert all(math.isfinite(pane[name]) for name in ("turnover", "price_mean", "deviations", "high", "low"))
    return max(found, key=lambda name: found[name])


@pytest.fixture(scope="module")
def page() -> Callable[[Message], bool]:
    """Whether the page takes a message."""
    chosen = DashboardSettings(
        live=LiveSettings(namespace="", future_tolerance_seconds=TOLERANCE),
        catalog=CatalogSettings(uri="sqlite:////dev/null"),
    )
    metrics = Metrics(CollectorRegistry())

    def take(message: Message) -> bool:
        live = LiveState(100, 10, "XNYS")
        consumer = LiveConsumer(chosen, live, WindowState(), AlertState(), metrics, lambda: None)
        taken = consumer._take_tick(message)
        assert live.symbols() == (["AAPL"] if taken else [])
        if taken:
            json.dumps(live.quote("AAPL", 1e-12, full=True), default=str, allow_nan=False)
        return taken

    return take


def assert_all_agree(page: Callable[[Message], bool], message: Message) -> Verdict:
    found = {"archive": archive(message), "alerts": alerts(message), "stream": stream(message)}
    assert len(set(found.values())) == 1, found
    assert page(message) == (found["archive"] == "valid")
    return found["archive"]


def test_readers_agree_on_what_is_known(page: Callable[[Message], bool]) -> None:
    groups = {"valid": VALID, "invalid": INVALID, "future": FUTURE}
    for wanted, group in groups.items():
        for name, value in group.items():
            assert assert_all_agree(page, Message(b"AAPL", value)) == wanted, name
    for key in WRONG_KEYS:
        assert assert_all_agree(page, Message(key, TEXT.encode())) == "invalid", key


@given(message=hostile_ticks.messages())
@example(message=Message(b"AAPL", TEXT.encode(), -1))
@settings(max_examples=400, deadline=None)
def test_readers_agree_on_any_message(page: Callable[[Message], bool], message: Message) -> None:
    assert_all_agree(page, message)


def test_readers_agree_on_all_at_once() -> None:
    values = [*VALID.values(), *INVALID.values(), *FUTURE.values()]
    all_messages = [Message(b"AAPL", value, APPENDED, offset) for offset, value in enumerate(values)]
    _, invalid = parse(0, all_messages, TOLERANCE)
    assert [each.offset for each in invalid] == list(range(len(VALID), len(values)))
    counts = Counts()
    PartitionEvaluator(0, "id", RULES, 10_000, TOLERANCE).evaluate(all_messages, counts)
    assert (counts.ticks + counts.late, counts.invalid, counts.future) == (len(VALID), len(INVALID), len(FUTURE))
