"""Night after night of a source's answers, recorded in the lake as validate-raw and daily-analytics do."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fetch_historical.recordings import Bars, adjust
from ticklake import facts, history
from ticklake.catalog import LakeTables, matching
from ticklake.facts import Facts
from ticklake.records import Source
from ticklake.tables import DAILY_ANALYTICS, FACT_TABLES, arrow_schema, namespace_of

SESSIONS = tuple(day.date() for day in pd.bdate_range("2024-01-01", periods=90))
NIGHTS = SESSIONS[-30:]
"""The days after whose close the source is asked."""
SOURCE = Source.YAHOO
PLACE = {day: place for place, day in enumerate(SESSIONS)}


def asked_at(day: date) -> datetime:
    """When that night's answers came."""
    return datetime(day.year, day.month, day.day, 22, 30, tzinfo=UTC)


def traded(seed: int, splits: dict[int, float], dividends: dict[int, float]) -> Bars:
    """Sessions of a random walk as traded; splits and dividends by the number of their night."""
    chance = np.random.default_rng(seed)
    ratios, cash = np.zeros(len(SESSIONS)), np.zeros(len(SESSIONS))
    for values, planted in ((ratios, splits), (cash, dividends)):
        for night, value in planted.items():
            values[PLACE[NIGHTS[night]]] = value
    scale = np.cumprod(np.where(ratios > 0, ratios, 1.0))
    close = np.round(80 * np.exp(np.cumsum(chance.normal(0, 0.01, len(SESSIONS)))) / scale, 4)
    volume = np.rint(chance.uniform(1e5, 2e5, len(SESSIONS)) * scale)
    return Bars(SESSIONS, close * 0.995, close * 1.01, close * 0.99, close, volume, cash, ratios)


def answer(
    symbol: str, bars: Bars, day: date, *, revised: dict[int, float] | None = None, without: int | None = None
) -> Facts:
    """What the source says of `symbol` after the close of `day`, prices with its jitter, as traded again.

    Args:
        revised: by the number of a night, a factor on that session's prices.
        without: the night whose dividend the source no longer has.
    """
    known = bars.until(day)
    if without is not None:
        gone = np.arange(len(known.close)) == PLACE[NIGHTS[without]]
        known = replace(known, dividends=np.where(gone, 0, known.dividends))
    given = adjust(known)
    factor = np.ones(len(given.sessions))
    for night, value in (revised or {}).items():
        factor[PLACE[NIGHTS[night]]] = value
    noise = np.random.default_rng(day.toordinal()).uniform(-4e-7, 4e-7, len(factor))
    days = pd.to_datetime(pd.Series(given.sessions))
    frame = pd.DataFrame(
        {"symbol": symbol, "session_date": days, "volume": given.volume}
        | {name: getattr(given, name) * factor * (1 + noise) for name in ("open", "high", "low", "close")}
    )
    actions = pd.concat(
        [
            pd.DataFrame({"symbol": symbol, "ex_date": days, "kind": kind, "value": values})[np.asarray(values) > 0]
            for kind, values in ((facts.SPLIT, given.splits), (facts.DIVIDEND, given.dividends))
        ],
        ignore_index=True,
    )
    stamps = {
        "currency": "USD",
        "source": SOURCE.value,
        "batch_id": f"night {day}",
        "batch_date": pd.Timestamp(day),
        "known_at": pd.Timestamp(asked_at(day)),
    }
    return facts.as_traded(frame.assign(**stamps), actions.assign(**stamps))


def record(tables: LakeTables, *answers: Facts) -> facts.Changes:
    """Append what is new of a night's answers to the facts, and replace the analytics of the symbols that it is of."""
    space, run_id = namespace_of(SOURCE), answers[0].bars["batch_id"].iloc[0]
    answered = Facts(*(pd.concat([getattr(each, name) for each in answers]) for name in ("bars", "actions")))
    wanted = matching(symbol=set(answered.bars["symbol"]), source=[SOURCE.value])
    for table in (*FACT_TABLES, DAILY_ANALYTICS):
        tables.ensure(space, table)
    known = (tables.read(space, table, wanted).to_pandas(date_as_object=False) for table in FACT_TABLES)
    changes = facts.compare(answered, Facts(*known))
    for table, rows in zip(FACT_TABLES, (changes.rows.bars, changes.rows.actions), strict=True):
        arrow = pa.Table.from_pandas(rows, arrow_schema(table.columns), preserve_index=False)
        tables.append(space, table, run_id, lambda _, arrow=arrow: arrow)
    new = {*changes.rows.bars["symbol"], *changes.rows.actions["symbol"]}
    more: dict[str, Any] = {
        "source": SOURCE.value,
        "row_hash": "x",
        "batch_id": run_id,
        "batch_date": answered.bars["batch_date"].iloc[0].date(),
    }
    computed = [
        row | more | {"symbol": symbol}
        for symbol, versions in history.read(tables, new, SOURCE).items()
        for row in history.analytics(versions).to_pylist()
    ]
    whole = pa.Table.from_pylist(computed, arrow_schema(DAILY_ANALYTICS.columns))
    tables.replace(space, DAILY_ANALYTICS, run_id, whole, matching(symbol=new, source=[SOURCE.value]))
    return changes


def after(moment: datetime) -> datetime:
    """A little later."""
    return moment + timedelta(minutes=1)
