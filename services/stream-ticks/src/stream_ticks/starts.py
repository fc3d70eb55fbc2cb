"""Where the simulator's prices start: at the last closes in the lake, else at built-in ones."""

import io
from collections.abc import Sequence
from datetime import date

from stream_ticks.simulator import Start
from ticklake import logs, manifests, names
from ticklake.errors import StageError
from ticklake.objects import ObjectStore

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


def find_starts(store: ObjectStore | None, symbols: Sequence[str]) -> list[Start]:
    """One start per symbol, in order. A lake that is empty or does not answer is no error: the log says so."""
    found: dict[str, Start] = {}
    if store is not None:
        try:
            found = last_closes(store, symbols)
        except StageError as error:
            log.warning("no last closes from the lake, starting at built-in prices", reason=str(error))
    log.info(
        "prices start",
        from_lake=sorted(found),
        built_in=[symbol for symbol in symbols if symbol not in found],
    )
    return [found.get(symbol) or DEFAULTS.get(symbol, OTHER) for symbol in symbols]


def last_closes(store: ObjectStore, symbols: Sequence[str]) -> dict[str, Start]:
    """Last close and 20-session volatility of each symbol that the newest processed batch has.

    Raises:
        StageError: the store does not answer.
    """
    import pyarrow.parquet as pq

    keys = [found.key for found in store.list_objects(f"{names.PROCESSED_DAILY}/_manifests/")]
    if not keys:
        return {}
    newest = date.fromisoformat(max(keys).rpartition("date=")[2].removesuffix(".json"))
    manifest = manifests.read_daily(store, newest)
    latest: dict[str, tuple[date, Start]] = {}
    for item in manifest.objects if manifest else ():
        symbol = item.symbol
        if symbol is None or symbol not in symbols:
            continue
        file = pq.ParquetFile(io.BytesIO(store.get(item.key)))
        rows = file.read(columns=["session_date", "close", "volatility_20"])
        last = max(rows.to_pylist(), key=lambda row: row["session_date"], default=None)
        if last is None or (symbol in latest and latest[symbol][0] >= last["session_date"]):
            continue
        volatility = last["volatility_20"] or DEFAULTS.get(symbol, OTHER).volatility
        latest[symbol] = (last["session_date"], Start(last["close"], volatility))
    return {symbol: start for symbol, (_, start) in latest.items()}
