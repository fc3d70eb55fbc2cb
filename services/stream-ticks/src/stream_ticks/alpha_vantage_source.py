"""Ticks from Alpha Vantage's quotes, symbol after symbol."""

import threading
import time
from datetime import UTC, datetime

from stream_ticks.alpha_vantage import Client, Failed, Limited, Pace, Quote, Unknown
from stream_ticks.sender import Sender
from stream_ticks.settings import StreamSettings
from ticklake import logs
from ticklake.errors import ConfigurationError
from ticklake.records import Source, Tick

log = logs.get(__name__)

_CHECK_SECONDS = 0.5


class QuoteTicks:
    """One symbol's quotes to ticks.

    A quote that is the same as the one before (trading day, price and volume) means that nothing was traded: no tick.
    A tick's volume is what the day's volume grew by since the last quote: 0 for the first quote of a run, as how much
    of it belongs to that print is unknown, and the whole day's for the first quote of a new session.
    """

    def __init__(self, symbol: str, producer_run: str) -> None:
        self._symbol, self._run = symbol, producer_run
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
            symbol=self._symbol,
            price=quote.price,
            volume=volume,
            event_time=now,
            sequence=self._sequence,
            producer_run=self._run,
            source=Source.ALPHA_VANTAGE,
        )
        self._sequence += 1
        return tick


def stream_quotes(settings: StreamSettings, sender: Sender, stop: threading.Event) -> None:
    """Ask for one symbol after the other, as fast as the limits allow, until `stop` is set or the end in the options.

    Raises:
        ConfigurationError: the key is wrong, or no symbol is known.
        StageError: a tick cannot be delivered.
    """
    options = settings.stream
    pace = Pace(settings.alpha_vantage, len(options.symbols), options.interval, time.monotonic)
    symbols = {symbol: QuoteTicks(symbol, sender.producer_run) for symbol in options.symbols}
    turn = list(symbols)
    started = time.monotonic()
    client = Client(settings.alpha_vantage)
    try:
        while not stop.is_set():
            sender.check()
            if options.max_ticks and sender.sent >= options.max_ticks:
                return
            if options.duration_event_seconds and time.monotonic() - started >= options.duration_event_seconds:
                return
            if wait := pace.wait_seconds():
                stop.wait(min(wait, _CHECK_SECONDS))
                continue
            symbol = turn.pop(0)
            if _ask(client, pace, symbol, symbols[symbol], sender):
                turn.append(symbol)
            if not turn:
                raise ConfigurationError("Alpha Vantage knows none of TICKLAKE_STREAM_SYMBOLS")
    finally:
        client.close()


def _ask(client: Client, pace: Pace, symbol: str, ticks: QuoteTicks, sender: Sender) -> bool:
    """One call; returns whether to ask for this symbol again."""
    pace.spend()
    answer = client.quote(symbol)
    if isinstance(answer, Quote):
        pace.succeeded()
        now = datetime.now(UTC)
        tick = ticks.tick(answer, now)
        if tick is not None:
            message = (symbol.encode(), tick.model_dump_json().encode())
            sender.send([message], int(tick.event_time.timestamp() * 1000))
        return True
    if isinstance(answer, Unknown):
        pace.succeeded()
        sender.metrics.source_errors.labels("unknown_symbol").inc()
        log.error("Alpha Vantage does not know this symbol, going on without it", symbol=symbol)
        return False
    sender.metrics.source_errors.labels("limited" if isinstance(answer, Limited) else "failed").inc()
    if isinstance(answer, Limited):
        seconds = pace.limited(answer)
        log.warning(
            "Alpha Vantage's limit is reached",
            reason=answer.reason,
            seconds=round(seconds),
            limit="day" if answer.daily else "short",
        )
    elif isinstance(answer, Failed):
        seconds = pace.failed()
        log.warning(
            "Alpha Vantage failed, will ask again", symbol=symbol, reason=answer.reason, seconds=round(seconds, 1)
        )
    return True
