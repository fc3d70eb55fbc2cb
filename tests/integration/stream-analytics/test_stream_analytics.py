"""The program on a real broker and store: exact windows through kills and stops, idle windows, backlogs, bad input."""

import json
import random
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

START = datetime(2026, 1, 30, 14, 30, tzinfo=UTC)
SYMBOLS = ("AAPL", "MSFT", "NVDA")
DELAY = timedelta(minutes=5)


def session(tick: Any, minutes: range, seed: int) -> list[Any]:
    """Ticks every 7 s of event time, each up to four minutes out of order, which the watermark allows."""
    chance, found = random.Random(seed), []
    for number in range(minutes.start * 60, minutes.stop * 60, 7):
        for symbol in SYMBOLS:
            moment = START + timedelta(seconds=number, milliseconds=chance.randrange(1000))
            price = round(chance.uniform(95, 105), 2)
            found.append(tick(symbol, price, chance.choice([0, 10, 250]), moment, number))
    found.sort(key=lambda t: t.event_time + timedelta(seconds=chance.uniform(0, 230)))
    return found


@pytest.mark.timeout(900)
def test_kills_stops_and_late_ticks_change_no_window(bench: Any, tick: Any, reference: Any, compare: Any) -> None:
    checkpoint_in_the_lake = {"TICKLAKE_WINDOWS_CHECKPOINT": ""}
    first, second = session(tick, range(80), 1), session(tick, range(80, 100), 2)
    malformed = [b"no tick", b"", b'{"symbol":"AAPL"}', first[0].message().replace(b'"symbol": "', b'"symbol": "?')]

    bench.send(first, raw=malformed)
    bench.transact([tick("AAPL", 1e6, 5, first[-1].event_time, 88_888)], commit=False)
    bench.start(**checkpoint_in_the_lake)
    bench.until(lambda: len(bench.windows()) > 0)
    bench.kill()

    bench.send(second[: len(second) // 2])
    bench.start(**checkpoint_in_the_lake)
    bench.until(lambda: bench.metric("rows_total") > 0)
    assert bench.get("/readyz").strip() == "ok"
    assert bench.terminate() < 20
    assert bench.errors() == ""

    # Everything closes up to five minutes before this tick; it moves the watermark for the late ones after it.
    last = tick("MSFT", 100.0, 1, START + timedelta(minutes=200), 99_999)
    bench.transact([*second[len(second) // 2 :], last], commit=True)
    bench.start(**checkpoint_in_the_lake)
    everything = [*first, *second]
    watermark = last.event_time - DELAY
    lengths = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1)}
    expected = {k: v for k, v in reference([*everything, last]).items() if k[3] + lengths[k[2]] <= watermark}
    bench.until(lambda: len(bench.windows()) >= len(expected))
    compare(bench.windows(), expected)

    ages = (6, 9, 9, 17, 58, 80)
    late = [tick("AAPL", 90.0, 5, last.event_time - timedelta(minutes=age), age) for age in ages]
    bench.send(late)
    bench.until(lambda: bench.metric('late_ticks_total{missed="all",window="1h"}') > 0)
    # A tick misses the windows that end at or before the watermark, five minutes back.
    counted = {
        (missed, window): bench.metric(f'late_ticks_total{{missed="{missed}",window="{window}"}}')
        for missed in ("some", "all")
        for window in lengths
    }
    assert counted == {("some", "15m"): 4, ("all", "15m"): 2, ("some", "1h"): 5, ("all", "1h"): 1}

    closing = tick("MSFT", 101.0, 1, START + timedelta(minutes=300), 100_000)
    bench.send([closing])
    final = reference(
        [*everything, last, *late, closing],
        missed=lambda t, end: t in late and end <= watermark,
    )
    final = {k: v for k, v in final.items() if k[3] + lengths[k[2]] <= closing.event_time - DELAY}
    bench.until(lambda: len(bench.windows()) >= len(final))
    bench.terminate()
    assert bench.errors() == ""
    compare(bench.windows(), final)
    _assert_live_readers_see(bench, final)


def _assert_live_readers_see(bench: Any, closed: dict[Any, Any]) -> None:
    newest: dict[bytes, dict[str, Any]] = {}
    for record in bench.messages(bench.names.analytics_topic):
        value = json.loads(record.value)
        if value["version"] > newest.get(record.key, {"version": 0})["version"]:
            newest[record.key] = value
    finals = {key: value for key, value in newest.items() if value["final"]}
    assert len(finals) == len(closed)
    for (symbol, source, length, start), wanted in closed.items():
        value = finals[f"{symbol}|{length}|{start:%Y-%m-%dT%H:%M:%S}.000Z|{source}".encode()]
        assert (value["symbol"], value["source"], value["window_length"]) == (symbol, source, length)
        assert (value["open"], value["close"], value["tick_count"]) == (
            wanted["open"],
            wanted["close"],
            wanted["tick_count"],
        )
        assert (value["volatility"] is None) == (wanted["volatility"] is None)
    running = [value for value in newest.values() if not value["final"]]
    assert running
    assert all(value["tick_count"] > 0 for value in running)


def test_heartbeats_close_idle_windows_and_make_no_backlog_late(bench: Any, tick: Any, reference: Any) -> None:
    settings = {
        "TICKLAKE_WINDOWS_HEARTBEAT": "true",
        "TICKLAKE_LIVE_FUTURE_TOLERANCE_SECONDS": "60",
        "TICKLAKE_WINDOWS_WATERMARK_SECONDS": "5",
        "TICKLAKE_WINDOWS_SLIDE_15M_SECONDS": "5",
        "TICKLAKE_WINDOWS_CHECKPOINT": str(bench.logs / "checkpoints"),
        "TICKLAKE_WINDOWS_RUNNING": "false",
    }
    kinds = {"15m": (timedelta(minutes=15), timedelta(seconds=5)), "1h": (timedelta(hours=1), timedelta(minutes=5))}

    def now_ticks(first: int, count: int) -> list[Any]:
        return [
            tick(symbol, 100.0 + number, 10, datetime.now(UTC).replace(microsecond=0), number)
            for number in range(first, first + count)
            for symbol in SYMBOLS
        ]

    ticks = now_ticks(0, 2)
    future = tick("AAPL", 1.0, 1, datetime.now(UTC) + timedelta(minutes=30), 7)
    bench.send([*ticks, future])
    bench.start(**settings)
    bench.until(lambda: any(key[2] == "15m" for key in bench.windows()))  # with no further tick
    assert bench.metric("future_ticks_total") == 1
    bench.terminate()
    assert bench.errors() == ""

    # Older than the watermark's delay by the time it is read, as after any downtime; and in several partitions.
    backlog = now_ticks(10, 3)
    bench.send(backlog)
    time.sleep(8)
    bench.start(**settings)
    ends = max(t.event_time for t in backlog) + timedelta(seconds=5)
    wanted = {
        key: value
        for key, value in reference([*ticks, *backlog], kinds=kinds).items()
        if key[2] == "15m" and key[3] + timedelta(minutes=15) <= ends
    }
    bench.until(lambda: wanted.keys() <= bench.windows().keys())
    seen = bench.windows()
    for key, values in wanted.items():
        assert {name: seen[key][name] for name in ("tick_count", "close", "volume")} == {
            name: values[name] for name in ("tick_count", "close", "volume")
        }, key
    assert any(values["tick_count"] == 5 for values in wanted.values())
    assert "late ticks" not in bench.output()
    bench.terminate()


def test_enough_closed_windows_end_the_program(bench: Any, tick: Any) -> None:
    bench.send(session(tick, range(20), 3))
    bench.send([tick("AAPL", 100.0, 1, START + timedelta(minutes=90), 99_999)])
    program = bench.start(
        TICKLAKE_WINDOWS_UNTIL_CLOSED_WINDOWS="2",
        TICKLAKE_WINDOWS_UNTIL_SECONDS="400",
        TICKLAKE_WINDOWS_CHECKPOINT=str(bench.logs / "checkpoints"),
    )
    assert program.wait(500) == 0, bench.output()
    assert bench.errors() == ""
    lengths = [key[2] for key in bench.windows()]
    assert min(lengths.count("15m"), lengths.count("1h")) >= 2


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({"TICKLAKE_LIVE_NAMESPACE": "nowhere"}, 2, "has no topic stock-market-realtime.nowhere: create it"),
        ({"TICKLAKE_WINDOWS_TRIGGER_SECONDS": "-1"}, 2, "TICKLAKE_WINDOWS_TRIGGER_SECONDS"),
        ({"TICKLAKE_STORE_BUCKET": "no-such-bucket"}, 2, "has no bucket no-such-bucket: create it"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_line(bench: Any, settings: dict[str, str], code: int, message: str) -> None:
    env = bench.environment(**settings)
    done = subprocess.run([bench.program], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
