"""Which source a local run takes its daily bars from, and for which date."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from fetch_historical.replay_server import replay_last_session
from fetch_historical.settings import SETTLE_MINUTES
from ticklake import calendar
from ticklake.records import Source

_YAHOO_HOST = "query2.finance.yahoo.com"
_REACHABLE_SECONDS = 3


@dataclass(frozen=True)
class BatchInput:
    """What a batch asks for; None as `symbols` means the source's own list."""

    source: Source
    batch_date: date
    symbols: str | None = None
    released_from: str | None = None
    """Run that held the symbol, where its stored answer is sent."""

    def environment(self) -> dict[str, str]:
        """The variables that configure fetch-historical."""
        given = {"TICKLAKE_SYMBOLS": self.symbols, "TICKLAKE_RELEASED_FROM": self.released_from}
        return {"TICKLAKE_SOURCE": str(self.source), **{name: value for name, value in given.items() if value}}


def choose(choice: str, batch_date: date | None, symbols: str | None, say: Callable[[str], None]) -> BatchInput:
    """The input for `choice`; `auto` takes Yahoo where it can be reached and says so where it cannot."""
    source = Source.YAHOO if choice == "auto" else Source(choice)
    if choice == "auto" and (reason := out_of_reach()):
        return fall_back(BatchInput(source, date.min, symbols), batch_date, reason, say)
    return BatchInput(source, batch_date or default_date(source), symbols)


def fall_back(wanted: BatchInput, batch_date: date | None, reason: str, say: Callable[[str], None]) -> BatchInput:
    """The recorded bars in place of Yahoo's; the output says so. Symbols asked for by name are kept."""
    say(f"Yahoo Finance cannot be used ({reason}): taking recorded real bars of 2000 to 2013 instead (source replay)")
    return replace(wanted, source=Source.REPLAY, batch_date=batch_date or default_date(Source.REPLAY))


def default_date(source: Source, calendar_code: str = "XNYS") -> date:
    """The latest session that the source has, closed for so long that its bar counts as final."""
    if source is Source.REPLAY:
        return replay_last_session()
    return calendar.last_closed_session(calendar_code, datetime.now(UTC) - timedelta(minutes=SETTLE_MINUTES))


def out_of_reach() -> str | None:
    """Why Yahoo's host does not answer, None where it does."""
    try:
        socket.create_connection((_YAHOO_HOST, 443), timeout=_REACHABLE_SECONDS).close()
    except OSError as error:
        return f"{_YAHOO_HOST} does not answer: {error.strerror or error}"
    return None
