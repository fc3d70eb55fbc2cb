"""Silent minutes: those of trading in which a symbol that has ticks otherwise has none, as rows of `tick_gaps`."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tick_bars.hours import HOUR, MINUTE, Span, spans
from ticklake.catalog import LakeTables, between, matching, one_of
from ticklake.tables import TICK_BARS, TICK_GAPS, arrow_schema

SILENT = "silent"
EXPECTED = timedelta(days=7)
"""So long after its latest tick a symbol is expected to have ticks."""

Starts = set[tuple[str, datetime]]
"""Symbols and starts of bars."""


@dataclass(frozen=True)
class Silence:
    """The silent minutes of one flow in one namespace."""

    tables: LakeTables
    namespace: str
    flow: str
    run_id: str

    def run(
        self,
        hours: Mapping[datetime, list[datetime]],
        made: Collection[datetime],
        bars: pa.Table,
        check: Callable[[int | None], None],
    ) -> int:
        """Put the spans of `hours` in the place of those that are there for them; returns how many there are.

        Args:
            hours: with the minutes of trading of each.
            made: hours whose bars are in `bars`; those of others are in the table.
            check: see `LakeTables.replace`.
        """
        if not hours:
            return 0
        minutes = self._starts("1m", bars, spans(set(hours).difference(made), HOUR))
        ticked = self._starts("1h", bars, [(min(hours) - EXPECTED, max(hours) + HOUR)])
        rows = [
            self._row(symbol, start, end)
            for hour, trading in sorted(hours.items())
            for symbol in sorted({symbol for symbol, at in ticked if hour - EXPECTED <= at <= hour})
            for start, end in spans((minute for minute in trading if (symbol, minute) not in minutes), MINUTE)
        ]
        found = pa.Table.from_pylist(rows, arrow_schema(TICK_GAPS.columns))
        places = one_of(between("gap_start", *span) for span in spans(hours, HOUR))
        where = matching(places, flow=[self.flow], kind=[SILENT])
        if not _same(found, self.tables.read(self.namespace, TICK_GAPS, where)):
            self.tables.replace(self.namespace, TICK_GAPS, self.run_id, found, where, check=lambda _: check(None))
        return len(rows)

    def _starts(self, length: str, bars: pa.Table, others: Collection[Span]) -> Starts:
        """Of the bars just made and, for `others`, of those in the table."""
        found = _pairs(bars.filter(pc.equal(bars["bar_length"], length)))
        if others:
            rows = matching(
                matching(flow=[self.flow], bar_length=[length]), one_of(between("bar_start", *span) for span in others)
            )
            found |= _pairs(self.tables.read(self.namespace, TICK_BARS, rows, ("symbol", "bar_start")))
        return found

    def _row(self, symbol: str, start: datetime, end: datetime) -> dict[str, Any]:
        return {
            "flow": self.flow,
            "kind": SILENT,
            "symbol": symbol,
            "gap_start": start,
            "gap_end": end,
            "count": (end - start) // MINUTE,
        }


def _pairs(rows: pa.Table) -> Starts:
    return set(zip(rows["symbol"].to_pylist(), rows["bar_start"].to_pylist(), strict=True))


def _same(one: pa.Table, other: pa.Table) -> bool:
    rows = [sorted(map(repr, table.select(["symbol", "gap_start", "gap_end"]).to_pylist())) for table in (one, other)]
    return rows[0] == rows[1]
