"""What the lake holds of the symbols already, from the table of daily bars."""

from collections.abc import Iterable
from functools import cached_property

import pyarrow.compute as pc

from fetch_historical.answer_checks import Known
from ticklake.catalog import LakeTables, matching
from ticklake.records import Source
from ticklake.tables import DAILY_BARS, namespace_of


class KnownSymbols:
    """Reads the table when it is asked first, once for all symbols."""

    def __init__(self, tables: LakeTables, source: Source, symbols: Iterable[str]) -> None:
        self._tables = tables
        self._source = source
        self._symbols = frozenset(symbols)

    def of(self, symbol: str) -> Known | None:
        """The sessions that are known of `symbol` and the currency of its latest answer; None where nothing is."""
        return self._known.get(symbol)

    @cached_property
    def _known(self) -> dict[str, Known]:
        rows = matching(symbol=self._symbols, source=[self._source])
        columns = ("symbol", "session_date", "known_at", "currency")
        found = self._tables.read(namespace_of(self._source), DAILY_BARS, rows, columns)
        spans = found.group_by("symbol").aggregate([("session_date", "min"), ("session_date", "max")])
        priced = found.filter(pc.is_valid(found["currency"])).sort_by("known_at")
        # Of several rows of a symbol the last one stays.
        currencies = dict(zip(priced["symbol"].to_pylist(), priced["currency"].to_pylist(), strict=True))
        return {
            row["symbol"]: Known(row["session_date_min"], row["session_date_max"], currencies.get(row["symbol"]))
            for row in spans.to_pylist()
        }
