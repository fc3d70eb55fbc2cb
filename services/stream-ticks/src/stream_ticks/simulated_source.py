"""The simulator at the pace of the clock."""

import math
import threading
import time
from collections.abc import Sequence
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
_BEHIND_SECONDS = 1.0


def stream_simulated(options: StreamOptions, starts: Sequence[Start], sender: Sender, stop: threading.Event) -> None:
    """Send rounds when they are due, until `stop` is set or the end that the options set.

    A live flow that was held up (Kafka away) leaves out what it missed, since its ticks carry the time; one whose
    start or end is set sends every round, late or not, so that it has the same ticks each time.
    """
    count = len(sender.symbols)
    clock_step = count / options.rate if options.rate else options.interval / options.speed_up
    event_step = clock_step * options.speed_up
    total = _total_ticks(options, count, event_step)
    free = options.start_event_time is None and options.speed_up == 1 and total is None
    start = options.start_event_time.timestamp() if options.start_event_time else time.time()
    simulator = Simulator(starts, options.seed, math.floor(start * 1000), event_step * 1000)
    encoder = Encoder(sender.symbols, sender.producer_run, sender.source)
    log.info(
        "pace",
        seconds_between_rounds=clock_step,
        event_seconds_between_rounds=event_step,
        first_event_time=datetime.fromtimestamp(start).astimezone().isoformat(),
        ticks=total,
    )
    anchor, done = time.monotonic(), 0
    while not stop.is_set() and (total is None or sender.sent < total):
        due = math.floor((time.monotonic() - anchor) / clock_step) + 1 - done
        if due <= 0:
            stop.wait(min(_CHECK_SECONDS, max(_SHORTEST_SLEEP, anchor + done * clock_step - time.monotonic())))
            sender.check()
            continue
        if free and (due - 1) * clock_step > _BEHIND_SECONDS:
            log.warning("fell behind, leaving out rounds", rounds=due - 1)
            simulator.skip(due - 1)
            sender.metrics.skipped.inc(due - 1)
            anchor += (due - 1) * clock_step
            due = 1
        rounds = simulator.next(min(due, max(1, _CHUNK_TICKS // count)))
        done += len(rounds.event_ms)
        left = None if total is None else total - sender.sent
        sender.send(islice(encoder.messages(rounds), left), int(rounds.event_ms[-1]))


def _total_ticks(options: StreamOptions, symbols: int, event_step: float) -> int | None:
    limits = [options.max_ticks] if options.max_ticks else []
    if options.duration_event_seconds is not None:
        # A round at the very end belongs to the next period.
        limits.append(symbols * max(1, math.ceil(options.duration_event_seconds / event_step - 1e-9)))
    return min(limits, default=None)
