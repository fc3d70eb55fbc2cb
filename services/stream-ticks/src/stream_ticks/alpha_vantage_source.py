"""Ticks from Alpha Vantage's quotes, symbol after symbol."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from stream_ticks.alpha_vantage import Client, Limited, Pace, Quote, Unknown
from stream_ticks.sender import Sender
from stream_ticks.settings import StreamSettings
from ticklake import logs
from ticklake.backoff import exponential
from ticklake.errors import ConfigurationError
from ticklake.records import Source, Tick

log = logs.get(__name__)

_CHECK_SECONDS = 0.5
_UNKNOWN_FIRST, _UNKNOWN_LAST = 300.0, 86_400.0
_CERTAIN = 3
"""So many answers in a row make certain that a symbol is unknown."""


class QuoteTicks:
    """One symbol's quotes to ticks.

    A quote that is the same as the one before (trading day, price and volume) means that nothing was traded: no tick.
    A tick's volume is what the day's volume grew by since the last quote: 0 for the first quote of a run, as how much
    of it belongs to that print is unknown, and the whole day's for the first quote of a new session.
    """

    def __init__(self, symbol: str, producer_run: str) -> None:
        self.symbol, self._run = symbol, producer_run
        self._last: Quote | None = None
        self._sequence = 0

    def tick(self, quote: Quote, now: datetime) -> Tick | None:
        """The tick of `quote`, answered at `now`; None if nothing was traded."""
        last, self._last = self._last, quote
        if quote == last:
            return None
        volume = 0
        if last is not None:
            same_day = quote.trading_day == last.trading_day
            volume = max(0, quote.day_volume - last.day_volume) if same_day else quote.day_volume
        tick = Tick(
            symbol=self.symbol,
            price=quote.price,
            volume=volume,
            event_time=now,
            sequence=self._sequence,
            producer_run=self._run,
            source=Source.ALPHA_VANTAGE,
        )
        self._sequence += 1
        return tick


class Turns:
    """Which symbol to ask for: one after the other, one that is unknown ever more rarely, at least once a day.

    Args:
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, symbols: Iterable[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._unknown = dict.fromkeys(symbols, 0)
        self._not_before = dict.fromkeys(self._unknown, float("-inf"))
        self._queue = deque(self._unknown)
        self._any_known = False

    def next(self) -> str | None:
        """The symbol to ask for; None while all wait."""
        now = self._clock()
        for _ in self._unknown:
            self._queue.rotate(-1)
            if self._not_before[self._queue[-1]] <= now:
                return self._queue[-1]
        return None

    def known(self, symbol: str) -> None:
        """Note that there was a quote."""
        self._unknown[symbol], self._any_known = 0, True

    def unknown(self, symbol: str) -> float:
        """Note that there was none; returns for how many seconds it is left out.

        Raises:
            ConfigurationError: it is certain that no symbol is known.
        """
        self._unknown[symbol] += 1
        if not self._any_known and min(self._unknown.values()) >= _CERTAIN:
            raise ConfigurationError("Alpha Vantage knows none of TICKLAKE_STREAM_SYMBOLS")
        seconds = exponential(self._unknown[symbol] - 1, _UNKNOWN_FIRST, _UNKNOWN_LAST)
        self._not_before[symbol] = self._clock() + seconds
        return seconds


def stream_quotes(settings: StreamSettings, sender: Sender, stop: threading.Event) -> None:
    """Ask for one symbol after the other, as fast as the limits allow, until `stop` is set or the end in the options.

    Raises:
        ConfigurationError: the key is wrong, or it is certain that no symbol is known.
        StageError: a tick cannot be delivered.
    """
    options = settings.stream
    pace = Pace(settings.alpha_vantage, len(options.symbols), options.interval, time.monotonic)
    ticks = {symbol: QuoteTicks(symbol, sender.producer_run) for symbol in options.symbols}
    turns = Turns(options.symbols, time.monotonic)
    daily = settings.alpha_vantage.daily_limit
    if daily < len(options.symbols):
        days = round(len(options.symbols) / daily, 1)
        log.warning("the daily limit is less than a round of all symbols", daily_limit=daily, days_for_a_round=days)
    started = time.monotonic()
    client = Client(settings.alpha_vantage)
    while not stop.is_set():
        sender.check()
        if options.max_ticks and sender.sent >= options.max_ticks:
            return
        if options.duration_event_seconds and time.monotonic() - started >= options.duration_event_seconds:
            return
        if wait := pace.wait_seconds():
            stop.wait(min(wait, _CHECK_SECONDS))
        elif (symbol := turns.next()) is None:
            stop.wait(_CHECK_SECONDS)
        else:
            _ask(client, pace, turns, ticks[symbol], sender)


def _ask(client: Client, pace: Pace, turns: Turns, ticks: QuoteTicks, sender: Sender) -> None:
    symbol = ticks.symbol
    pace.spend()
    answer = client.quote(symbol)
    if isinstance(answer, Quote):
        pace.succeeded()
        turns.known(symbol)
        tick = ticks.tick(answer, datetime.now(UTC))
        if tick is not None:
            message = (symbol.encode(), tick.model_dump_json().encode())
            sender.send([message], int(tick.event_time.timestamp() * 1000))
    elif isinstance(answer, Unknown):
        pace.succeeded()
        sender.metrics.source_errors.labels("unknown_symbol").inc()
        if (seconds := turns.unknown(symbol)) == _UNKNOWN_FIRST:
            log.error(
                "Alpha Vantage does not know this symbol, asking for it ever more rarely",
                symbol=symbol,
                seconds=round(seconds),
            )
    elif isinstance(answer, Limited):
        sender.metrics.source_errors.labels("limited").inc()
        seconds = pace.limited(answer)
        log.warning(
            "Alpha Vantage's limit is reached",
            reason=answer.reason,
            seconds=round(seconds),
            limit="day" if answer.daily else "short",
        )
    else:
        sender.metrics.source_errors.labels("failed").inc()
        seconds = pace.failed()
        log.warning(
            "Alpha Vantage failed, will ask again", symbol=symbol, reason=answer.reason, seconds=round(seconds, 1)
        )
