"""Where the simulator's prices start: at the last closes in the lake, else at built-in ones."""

from collections.abc import Sequence

from stream_ticks.simulator import Start
from ticklake import logs
from ticklake.catalog import LakeTables, matching
from ticklake.errors import StageError
from ticklake.records import DAILY_SOURCES
from ticklake.tables import DAILY_ANALYTICS, namespace_of

log = logs.get(__name__)

DEFAULTS = {
    "AAPL": Start(210.0, 0.28),
    "MSFT": Start(430.0, 0.24),
    "GOOGL": Start(170.0, 0.29),
    "AMZN": Start(190.0, 0.31),
    "META": Start(520.0, 0.36),
    "TSLA": Start(240.0, 0.55),
    "NVDA": Start(120.0, 0.48),
    "INTC": Start(30.0, 0.40),
    "JPM": Start(210.0, 0.22),
    "V": Start(280.0, 0.19),
}
"""Round figures of the right size; no quotes of any day."""
OTHER = Start(100.0, 0.30)
"""For every other symbol."""


def find_starts(tables: LakeTables | None, symbols: Sequence[str]) -> list[Start]:
    """One start per symbol, in order. A lake that is empty or does not answer is no error: the log says so."""
    found: dict[str, Start] = {}
    if tables is not None:
        try:
            found = last_closes(tables, symbols)
        except StageError as error:
            log.warning("no last closes from the lake, starting at built-in prices", reason=str(error))
    log.info(
        "prices start",
        from_lake=sorted(found),
        built_in=[symbol for symbol in symbols if symbol not in found],
    )
    return [found.get(symbol) or DEFAULTS.get(symbol, OTHER) for symbol in symbols]


def last_closes(tables: LakeTables, symbols: Sequence[str]) -> dict[str, Start]:
    """Last close and 20-session volatility of each symbol that has a daily history, the real one where there is.

    Raises:
        StageError: catalog or store does not answer or denies access.
    """
    columns = ("symbol", "source", "session_date", "close", "volatility_20")
    found: dict[str, Start] = {}
    for source in reversed(DAILY_SOURCES):
        wanted = matching(symbol=symbols, source=[source.value])
        rows = tables.read(namespace_of(source), DAILY_ANALYTICS, wanted, columns).sort_by("session_date")
        # Of each symbol the last row stays.
        values = (rows[name].to_pylist() for name in ("symbol", "close", "volatility_20"))
        for symbol, close, volatility in zip(*values, strict=True):
            found[symbol] = Start(close, volatility or DEFAULTS.get(symbol, OTHER).volatility)
    return found
