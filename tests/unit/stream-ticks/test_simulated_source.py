"""The simulator at the pace of a clock, with a producer that keeps what it is given."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from waiting import ENDS_SECONDS, wait_until

from stream_ticks.metrics import Metrics, Pulse
from stream_ticks.sender import Sender
from stream_ticks.settings import StreamOptions
from stream_ticks.simulated_source import stream_simulated
from stream_ticks.simulator import Start
from ticklake.records import Source, Tick


class Kept:
    """Confirms everything at once."""

    def __init__(self) -> None:
        self.ticks: list[Tick] = []

    def send(self, topic: str, *, key: bytes, value: bytes) -> None:
        self.ticks.append(Tick.model_validate_json(value))
        assert key == self.ticks[-1].symbol.encode()

    def check(self) -> int:
        return 0


@contextmanager
def streamed(options: StreamOptions, clock: Callable[[], float] = time.time) -> Iterator[tuple[Kept, Metrics]]:
    """Streams in the background while the block runs."""
    kept, metrics, stop = Kept(), Metrics(CollectorRegistry()), threading.Event()
    sender = Sender(kept, "topic", options.symbols, "run", Source.SIMULATED, metrics, Pulse())
    starts = [Start(100.0, 0.3)] * len(options.symbols)
    thread = threading.Thread(target=stream_simulated, args=(options, starts, sender, stop, clock))
    thread.start()
    try:
        yield kept, metrics
    finally:
        stop.set()
        thread.join(ENDS_SECONDS)
        assert not thread.is_alive()


@pytest.mark.parametrize("interval", [0.05, 2.0])
@pytest.mark.parametrize("step", [1200.0, -1200.0])
def test_a_live_flow_stays_with_the_wall_clock_when_it_is_set(step: float, interval: float) -> None:
    offset = [0.0]
    options = StreamOptions.model_validate({"symbols": "AAPL,MSFT", "interval": interval})
    with capture_logs() as logs, streamed(options, lambda: time.time() + offset[0]) as (kept, metrics):
        wait_until(lambda: kept.ticks, pause=0.01)
        before, offset[0] = time.time(), step
        wait_until(lambda: len(kept.ticks) > 4 and abs(kept.ticks[-1].event_time.timestamp() - before) > 1000)
        counted = metrics.skipped if step > 0 else metrics.set_back
    moved = [tick for tick in kept.ticks if abs(tick.event_time.timestamp() - before) > 1000]
    # It may have taken the machine a while, never more than since the step.
    assert 0 <= moved[0].event_time.timestamp() - (before + step) <= time.time() - before + 0.1
    assert [tick.sequence for tick in kept.ticks if tick.symbol == "AAPL"] == list(range(len(kept.ticks) // 2))
    assert counted._value.get() >= 1
    assert [line for line in logs if "wall clock" in line["event"] and 1190 < line["seconds"] < 1210 + ENDS_SECONDS]


def test_each_of_many_symbols_gets_ticks() -> None:
    symbols = ["BRK-B", "BF.B", "^GSPC", "M&M.NS", *(f"S{number}" for number in range(499))]
    options = StreamOptions.model_validate({"symbols": ",".join(symbols).lower(), "interval": 0.05})
    with streamed(options) as (kept, _):
        wait_until(lambda: len(kept.ticks) >= 3 * 503)
    assert [tick.symbol for tick in kept.ticks[: 3 * 503]] == symbols * 3


def test_symbols_that_a_set_end_leaves_no_tick_for_are_named() -> None:
    options = StreamOptions.model_validate({"symbols": "AAPL,MSFT,IBM", "interval": 0.05, "max_ticks": 2})
    with capture_logs() as logs, streamed(options) as (kept, _):
        wait_until(lambda: len(kept.ticks) == 2)
    assert [line["symbols"] for line in logs if "symbols get no tick" in line["event"]] == [["IBM"]]


def test_a_flow_with_a_set_end_has_the_same_times_whatever_the_clock_does() -> None:
    offset = [0.0]
    options = StreamOptions.model_validate({"symbols": "AAPL", "interval": 0.05, "max_ticks": 20})
    with streamed(options, lambda: time.time() + offset[0]) as (kept, metrics):
        wait_until(lambda: kept.ticks, pause=0.01)
        offset[0] = 1200
        wait_until(lambda: len(kept.ticks) == 20)
        assert metrics.skipped._value.get() == 0
    times = [tick.event_ms for tick in kept.ticks]
    assert [later - times[0] for later in times] == [50 * number for number in range(20)]
