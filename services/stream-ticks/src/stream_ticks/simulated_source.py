"""The simulator at the pace of the clock."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

from stream_ticks.sender import Sender
from stream_ticks.settings import StreamOptions
from stream_ticks.simulator import Encoder, Simulator, Start
from ticklake import logs

log = logs.get(__name__)

_CHUNK_TICKS = 2000
_CHECK_SECONDS = 0.5
_SHORTEST_SLEEP = 0.01
"""At high rates several rounds go at a time: one by one they would cost more in overhead than in work."""
_OFF_SECONDS = 1.0
"""How far a live flow's event time may be from the wall clock."""


def stream_simulated(
    options: StreamOptions,
    starts: Sequence[Start],
    sender: Sender,
    stop: threading.Event,
    wall_clock: Callable[[], float] = time.time,
) -> None:
    """Send rounds when they are due, until `stop` is set or the end that the options set.

    A live flow's ticks carry the time: where it was held up (Kafka away, the machine suspended) or the wall clock was
    set, it goes on at the wall clock, forwards or back. One whose start or end is set sends every round, late or not,
    so that it has the same ticks each time.

    Args:
        wall_clock: seconds since 1970.

    Raises:
        StageError: a tick cannot be delivered.
    """
    count = len(sender.symbols)
    clock_step = count / options.rate if options.rate else options.interval / options.speed_up
    event_step = clock_step * options.speed_up
    total = _total_ticks(options, count, event_step)
    free = options.start_event_time is None and options.speed_up == 1 and total is None
    start = options.start_event_time.timestamp() if options.start_event_time else wall_clock()
    simulator = Simulator(starts, options.seed, math.floor(start * 1000), event_step * 1000)
    encoder = Encoder(sender.symbols, sender.producer_run, sender.source)
    log.info(
        "pace",
        seconds_between_rounds=clock_step,
        event_seconds_between_rounds=event_step,
        first_event_time=datetime.fromtimestamp(start).astimezone().isoformat(),
        ticks=total,
    )
    if total is not None and total < count:
        log.warning("symbols get no tick, as there are more of them than ticks", symbols=list(sender.symbols[total:]))
    # The monotonic clock stands still while the machine is suspended and does not follow the wall clock when it is set.
    clock, anchor = (wall_clock, start) if free else (time.monotonic, time.monotonic())
    done = 0
    while not stop.is_set() and (total is None or sender.sent < total):
        late = clock() - (anchor + done * clock_step)
        if free and not -clock_step - _OFF_SECONDS <= late <= _OFF_SECONDS:
            _follow(late, clock_step, simulator, sender)
            anchor, late = anchor + late, 0.0
        if late < 0:
            stop.wait(min(_CHECK_SECONDS, max(_SHORTEST_SLEEP, -late)))
            sender.check()
            continue
        due = math.floor(late / clock_step) + 1
        rounds = simulator.next(min(due, max(1, _CHUNK_TICKS // count)))
        done += len(rounds.event_ms)
        left = None if total is None else total - sender.sent
        sender.send(islice(encoder.messages(rounds), left), int(rounds.event_ms[-1]))


def _follow(seconds: float, step: float, simulator: Simulator, sender: Sender) -> None:
    """Move event time by `seconds` to the wall clock."""
    simulator.move(round(seconds * 1000))
    if seconds > 0:
        rounds = math.floor(seconds / step)
        log.warning("fell behind the wall clock, leaving out rounds", rounds=rounds, seconds=round(seconds, 1))
        sender.metrics.skipped.inc(rounds)
    else:
        log.warning("the wall clock was set back, and event time with it", seconds=round(-seconds, 1))
        sender.metrics.set_back.inc()


def _total_ticks(options: StreamOptions, symbols: int, event_step: float) -> int | None:
    limits = [options.max_ticks] if options.max_ticks else []
    if options.duration_event_seconds is not None:
        # A round at the very end belongs to the next period.
        limits.append(symbols * max(1, math.ceil(options.duration_event_seconds / event_step - 1e-9)))
    return min(limits, default=None)
