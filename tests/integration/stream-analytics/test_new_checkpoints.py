"""New checkpoints: after the live topic was recreated, after a checkpoint was lost, after retention deleted ticks.

No window may be written that lacks ticks, none twice, and none that could be whole may be left out.
"""

import json
import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from kafka import TopicPartition
from plain_windows import DELAY, LENGTHS, START, closed_by

from stream_analytics.query_failures import RESET
from ticklake.kafka import admin

SYMBOLS = ("AAPL", "MSFT", "NVDA")


def session(tick: Any, minutes: range, seed: int) -> list[Any]:
    """Ticks every 11 s of event time, each up to four minutes out of order, which the watermark allows."""
    chance, found = random.Random(seed), []
    for number in range(minutes.start * 60, minutes.stop * 60, 11):
        for symbol in SYMBOLS:
            moment = START + timedelta(seconds=number, milliseconds=chance.randrange(1000))
            found.append(tick(symbol, round(chance.uniform(95, 105), 2), 10, moment, number))
    return sorted(found, key=lambda t: t.event_time + timedelta(seconds=chance.uniform(0, 230)))


def at(tick: Any, minute: int, symbol: str = "MSFT") -> Any:
    return tick(symbol, 100.0, 1, START + timedelta(minutes=minute), 100_000 + minute)


def finals(bench: Any) -> dict[Any, int]:
    """The number of ticks of each window that the topic says is final."""
    found: dict[Any, int] = {}
    for record in bench.messages(bench.names.analytics_topic):
        value = json.loads(record.value)
        if value["final"]:
            start = datetime.fromisoformat(value["window_start"])
            found[value["symbol"], value["source"], value["window_length"], start] = value["tick_count"]
    return found


def until_written(bench: Any, count: int) -> None:
    bench.until(lambda: len(bench.windows()) >= count)
    bench.until(lambda: len(finals(bench)) >= count)


def assert_whole(bench: Any, compare: Any, every_window: dict[Any, Any], due: Iterable[Any]) -> None:
    """All windows that are due are written, and each one written has all its ticks; the topic has the same ones."""
    seen = bench.windows()
    assert set(due) <= seen.keys()
    compare(seen, {key: every_window[key] for key in seen})
    assert finals(bench) == {key: values["tick_count"] for key, values in seen.items()}


def skipped(bench: Any, reason: str) -> dict[str, float]:
    return {window: bench.metric(f'skipped_windows_total{{reason="{reason}",window="{window}"}}') for window in LENGTHS}


def by_length(keys: Iterable[Any]) -> dict[str, int]:
    lengths = [key[2] for key in keys]
    return {window: lengths.count(window) for window in LENGTHS}


@pytest.mark.timeout(1500)
def test_a_recreated_topic(bench: Any, tick: Any, reference: Any, compare: Any) -> None:
    old = [*session(tick, range(70), 1), at(tick, 70)]
    bench.send(old)
    bench.start(TICKLAKE_WINDOWS_CHECKPOINT="")
    before = closed_by(reference(old), old[-1])
    until_written(bench, len(before))
    bench.terminate()
    compare(bench.windows(), before)

    # The new log is longer than the old offsets, so Spark would not notice.
    old_id, new_id = bench.recreate_topic()
    first, new = at(tick, 71, "NVDA"), [*session(tick, range(71, 190), 2), at(tick, 200)]
    bench.send([first])
    bench.send(new)
    program = bench.start(TICKLAKE_WINDOWS_CHECKPOINT="")
    assert program.wait(300) == 2, bench.output()
    (line,) = bench.errors().splitlines()
    assert f"topic {bench.names.topic} was recreated (topic id {old_id}, now {new_id})" in line
    assert RESET in line
    compare(bench.windows(), before)

    # What the line says to do.
    every = reference([*old, first, *new])
    complete_after = first.event_time + DELAY
    due = {key: value for key, value in closed_by(every, new[-1]).items() if key[3] > complete_after}
    written = {name: max(key[3] + LENGTHS[name] for key in before if key[2] == name) for name in LENGTHS}
    closed_again = closed_by(reference([first, *new]), new[-1])
    repeated = {key for key in closed_again if key[3] + LENGTHS[key[2]] <= written[key[2]]}
    partial = closed_again.keys() - due.keys() - repeated
    assert min(by_length(partial).values()) > 10
    bench.start(TICKLAKE_WINDOWS_CHECKPOINT="reset-1")
    until_written(bench, len(before) + len(due))
    assert skipped(bench, "partial") == by_length(partial)
    bench.kill()
    assert_whole(bench, compare, every, due)

    # The same after a restart, with what is still open.
    last = [*session(tick, range(200, 260), 3), at(tick, 280)]
    bench.send(last)
    bench.start(TICKLAKE_WINDOWS_CHECKPOINT="reset-1")
    every = reference([*old, first, *new, *last])
    due = {key: value for key, value in closed_by(every, last[-1]).items() if key[3] > complete_after}
    until_written(bench, len(before) + len(due))
    bench.terminate()
    assert skipped(bench, "partial") == {"15m": 0, "1h": 0}
    assert_whole(bench, compare, every, due)

    # The checkpoint that was left stays rejected, as its topic is gone; held, the program says so until it is stopped.
    program = bench.start(TICKLAKE_WINDOWS_CHECKPOINT="", TICKLAKE_WINDOWS_HOLD_SECONDS="600")
    bench.until(lambda: "held until a person changes something" in bench.output())
    assert program.poll() is None
    assert not bench.ready()
    program.terminate()
    assert program.wait(60) == 2, bench.output()
    assert f"(topic id {old_id}, now {new_id})" in bench.errors()


@pytest.mark.parametrize("log", ["shorter", "longer"])
def test_a_topic_that_is_recreated_while_it_is_read(
    bench: Any, tick: Any, reference: Any, compare: Any, log: str
) -> None:
    ticks = [*session(tick, range(40), 8), at(tick, 70)]
    bench.send(ticks)
    program = bench.start(TICKLAKE_WINDOWS_CHECKPOINT=str(bench.logs / "checkpoints"))
    before = closed_by(reference(ticks), ticks[-1])
    until_written(bench, len(before))
    with bench.asleep():
        old_id, new_id = bench.recreate_topic()
        # Read from the old offsets on, the longer one would give windows without their first ticks.
        bench.send([*session(tick, range(70, 150), 9), at(tick, 160)] if log == "longer" else [at(tick, 71)])
    assert program.wait(300) == 2, bench.output()
    (line,) = bench.errors().splitlines()
    assert f"topic {bench.names.topic} was recreated (topic id {old_id}, now {new_id})" in line
    assert RESET in line
    compare(bench.windows(), before)


@pytest.mark.timeout(900)
def test_a_lost_checkpoint_of_a_topic_that_is_whole(bench: Any, tick: Any, reference: Any, compare: Any) -> None:
    first, more = [*session(tick, range(60), 4), at(tick, 60)], [*session(tick, range(60, 90), 5), at(tick, 150)]
    bench.send(first)
    bench.start(TICKLAKE_WINDOWS_CHECKPOINT="")
    before = closed_by(reference(first), first[-1])
    until_written(bench, len(before))
    bench.terminate()
    prefix = f"{bench.names.checkpoint_prefix}/"
    bench.store.delete_all(found.key for found in bench.store.list_objects(prefix))
    bench.send(more)
    bench.start(TICKLAKE_WINDOWS_CHECKPOINT="")
    every = reference([*first, *more])
    due = closed_by(every, more[-1])
    until_written(bench, len(due))
    assert skipped(bench, "written") == by_length(before)
    assert skipped(bench, "partial") == {"15m": 0, "1h": 0}
    bench.terminate()
    assert_whole(bench, compare, every, due)
    assert bench.windows().keys() == due.keys()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("lost", ["the start of one partition", "all of one partition"])
def test_ticks_that_retention_deleted(bench: Any, tick: Any, reference: Any, compare: Any, lost: str) -> None:
    ticks, more = session(tick, range(100), 6), [*session(tick, range(100, 200), 7), at(tick, 260)]
    bench.send(ticks)
    everything = bench.messages(bench.names.topic)
    partition = next(record.partition for record in everything if record.key == b"AAPL")
    mine = sorted((r for r in everything if r.partition == partition), key=lambda record: record.offset)
    cut = len(mine) // 3 if lost == "the start of one partition" else len(mine)
    with admin(bench.kafka) as client:
        client.delete_records({TopicPartition(bench.names.topic, partition): mine[cut - 1].offset + 1})
    bench.start(TICKLAKE_WINDOWS_CHECKPOINT="")
    bench.until(lambda: bench.metric("rows_total") > 0)
    bench.send(more[:1])
    bench.send(more[1:])
    every = reference([*ticks, *more])
    first = datetime.fromisoformat(json.loads(mine[cut].value)["event_time"]) if cut < len(mine) else more[0].event_time
    due = {key: value for key, value in closed_by(every, more[-1]).items() if key[3] > first + DELAY}
    assert len(due) > 300
    until_written(bench, len(due))
    bench.terminate()
    assert_whole(bench, compare, every, due)
    assert bench.windows().keys() == due.keys()
