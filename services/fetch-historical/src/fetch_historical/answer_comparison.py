"""A stored answer beside what is known of its symbol, both as traded, for a person who decides on it."""

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

from fetch_historical.answer_store import from_parquet
from fetch_historical.bar_cleaning import corporate_actions
from ticklake import facts
from ticklake.catalog import LakeTables, matching
from ticklake.quality import NOISE
from ticklake.records import Source
from ticklake.tables import DAILY_BARS, namespace_of

_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Compared:
    """One session; None where there is no number."""

    session: date
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None
    known_close: float | None
    known_volume: float | None

    def numbers(self) -> tuple[float | None, ...]:
        """All of them, in order."""
        return (self.open, self.high, self.low, self.close, self.volume, self.known_close, self.known_volume)

    @property
    def verdict(self) -> str:
        """How the answer relates to what is known: `new`, `gone`, by how much the close differs, or nothing."""
        if self.known_close is None:
            return "new"
        if self.close is None:
            return "gone"
        moved = self.close / self.known_close - 1
        return f"{moved:+.2%}" if abs(moved) > NOISE else ""


def compared(tables: LakeTables, source: Source, body: bytes) -> list[Compared]:
    """Every session that the answer in `body` has, or that is known from its first session on, in order.

    The answer's rows are as they came, but for its own splits, which its prices are adjusted for.
    """
    answer = from_parquet(body)
    rows: list[dict[str, Any]] = answer.rows.to_pylist()
    splits = [
        (each.ex_date, each.value)
        for each in corporate_actions(answer.actions, rows, date.min)
        if each.kind == facts.SPLIT
    ]
    found: dict[date, dict[str, float | None]] = {}
    for row in rows:
        day = row.pop("session_date")
        later = math.prod((value for at, value in splits if at > day), start=1.0)
        found[day] = {name: _number(row[name], later) for name in _PRICES} | {
            "volume": _number(row["volume"], 1 / later)
        }
    wanted = matching(symbol=[answer.symbol], source=[str(source)])
    versions = tables.read(namespace_of(source), DAILY_BARS, wanted).to_pandas(date_as_object=False)
    for bar in facts.in_force(versions, facts.BAR_KEY).to_dict("records") if len(versions) else ():
        day = bar["session_date"].date()
        if not found or day >= min(found):
            found.setdefault(day, {})
            found[day] |= {"known_close": float(bar["close"]), "known_volume": float(bar["volume"])}
    names = (*_PRICES, "volume", "known_close", "known_volume")
    return [Compared(day, *(found[day].get(name) for name in names)) for day in sorted(found)]


def _number(value: float | None, factor: float) -> float | None:
    return None if value is None or not math.isfinite(value) else value * factor
