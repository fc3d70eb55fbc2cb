"""From a source's raw rows to valid bars: pure functions of the stored answer, so that a retry makes the same bars."""

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pydantic import ValidationError

from fetch_historical.answer_checks import impossible
from fetch_historical.answer_store import Action
from ticklake.adjustment import CLOSE_BEFORE
from ticklake.quality import missing_sessions, session_defects
from ticklake.records import CorporateAction, DailyBar, Source, reason_of

_EXACT = 2**53
"""Above it an answer's number, a double, no longer distinguishes one share from the next."""
DUST = 1e-9
"""Relative error that a source's adjustment can leave on a price; a tick is never that small."""

RawRow = Mapping[str, Any]


@dataclass(frozen=True)
class BatchFields:
    """What every bar of one symbol in one batch shares."""

    symbol: str
    source: Source
    batch_id: str
    batch_date: date
    fetched_at: datetime
    currency: str | None = None


@dataclass(frozen=True)
class RejectedRow:
    """A raw row that is no valid bar."""

    position: int
    """In the source's answer, from 0."""
    reason: str
    original: bytes
    """The row as JSON."""


@dataclass(frozen=True)
class RejectedAction(RejectedRow):
    """A split or dividend that cannot be, or that the prices cannot be adjusted for; its row, without it, is a bar."""

    kind: str


@dataclass(frozen=True)
class Cleaned:
    """One symbol's rows, judged: each is a bar, rejected, or outside what was asked for."""

    bars: tuple[DailyBar, ...]
    rejected: tuple[RejectedRow, ...]
    left_out: int
    """Rows outside the period, or of a session that had not closed when the source was asked."""
    widened: int
    """Bars whose high or low was moved by dust, see `widened_range`."""
    missing: tuple[date, ...]
    """Sessions between the first and the last bar that have none."""
    rejected_actions: tuple[RejectedAction, ...] = ()
    no_volume: bool = False
    """Whether no row has any volume, so that 0 is used for it."""
    actions: tuple[CorporateAction, ...] = ()
    """The possible splits and dividends from the first bar on, one per day and kind, in order."""

    @property
    def fetched(self) -> int:
        """Rows that were asked for and came."""
        return len(self.bars) + len(self.rejected)


def clean(
    rows: Sequence[RawRow],
    fields: BatchFields,
    wanted: frozenset[date],
    sessions: Sequence[date],
    actions: Sequence[Action] = (),
) -> Cleaned:
    """Judge one symbol's rows.

    A row must first be a valid bar by itself; only such rows are then held against each other, so that a broken row
    never displaces a good one of the same session. An action that cannot be is rejected without its bar, and so is a
    dividend in another currency than the prices, or not below the close before it. A symbol that has no volume in any
    row, as an index has none, gets 0 for what is missing; of any other, a row without is rejected.

    Args:
        rows: with the columns of `answers.ROWS`, as they came.
        wanted: days whose rows are taken; see `wanted_days`.
        sessions: the exchange's sessions in the period, in order.
        actions: as they came, for what is kept of a rejected one.
    """
    no_volume = bool(rows) and not any(row["volume"] and math.isfinite(row["volume"]) for row in rows)
    rejected_actions: list[RejectedAction] = []
    good: list[tuple[int, DailyBar]] = []
    rejected: list[RejectedRow] = []
    left_out = widened = 0
    for position, row in enumerate(rows):
        if row["session_date"] is not None and row["session_date"] not in wanted:
            left_out += 1
            continue
        repaired = widened_range(row)
        widens = repaired is not row
        if no_volume and (row["volume"] is None or math.isnan(row["volume"])):
            repaired = {**repaired, "volume": 0}
        repaired, odd = _without_impossible(position, repaired, actions, fields.currency)
        try:
            _reject_inexact(repaired["volume"])
            bar = DailyBar(
                symbol=fields.symbol,
                source=fields.source,
                batch_id=fields.batch_id,
                batch_date=fields.batch_date,
                fetched_at=fields.fetched_at,
                sequence=len(good),
                currency=fields.currency,
                **repaired,
            )
        except ValueError as error:
            reason = reason_of(error) if isinstance(error, ValidationError) else str(error)
            rejected.append(RejectedRow(position, reason, raw_json(row)))
            continue
        widened += widens
        rejected_actions += odd
        good.append((position, bar))
    defects = session_defects((bar.session_date for _, bar in good), frozenset(sessions))
    bars: list[DailyBar] = []
    for (position, bar), defect in zip(good, defects, strict=True):
        if defect is not None:
            rejected.append(RejectedRow(position, defect, raw_json(rows[position])))
        else:
            place = len(bars)
            bars.append(bar if bar.sequence == place else bar.model_copy(update={"sequence": place}))
    rejected.sort(key=lambda row: row.position)
    missing = missing_sessions([bar.session_date for bar in bars], sessions)
    gone = {row.position for row in rejected}
    kept_actions = tuple(action for action in rejected_actions if action.position not in gone)
    known = corporate_actions(actions, rows, bars[0].session_date, fields.currency) if bars else ()
    great = _not_below_close(known, bars)
    days = [action.ex_date for action in great]
    bars = [bar.model_copy(update={"dividends": 0.0}) if bar.session_date in days else bar for bar in bars]
    known = tuple(action for action in known if action not in great)
    kept_actions += tuple(_rejected_dividend(action, rows) for action in great)
    return Cleaned(tuple(bars), tuple(rejected), left_out, widened, missing, kept_actions, no_volume, known)


def corporate_actions(
    actions: Sequence[Action], rows: Sequence[RawRow], first: date, currency: str | None = None
) -> tuple[CorporateAction, ...]:
    """The possible actions from `first` on, in order; several of a kind on one day make one.

    Args:
        actions: as they came; empty where the source gives them in its rows only.
        currency: of the prices; a dividend in another one is left out.
    """
    found: dict[tuple[date, str], CorporateAction] = {}
    for action in actions or _of_rows(rows):
        if action.day < first or impossible(action.kind, action.value) is not None or action.value == 0:
            continue
        if _is_foreign(action, currency):
            continue
        key, value = (action.day, action.kind), action.value
        if key in found:
            value = found[key].value + value if action.kind == "dividend" else found[key].value * value
        found[key] = CorporateAction(ex_date=action.day, kind=action.kind, value=value, currency=action.currency)
    return tuple(found[key] for key in sorted(found))


def _of_rows(rows: Sequence[RawRow]) -> Iterator[Action]:
    for row in rows:
        if row["dividends"]:
            yield Action(row["session_date"], "dividend", row["dividends"], None, {})
        if row["stock_splits"]:
            yield Action(row["session_date"], "split", row["stock_splits"], None, {})


def _is_foreign(action: Action, currency: str | None) -> bool:
    """Whether a dividend is in another currency than the prices."""
    return action.kind == "dividend" and None not in (action.currency, currency) and action.currency != currency


def _not_below_close(actions: Sequence[CorporateAction], bars: Sequence[DailyBar]) -> list[CorporateAction]:
    """The dividends that are not below the close before them, both in the answer's shares."""
    days, found = [bar.session_date for bar in bars], []
    for action in actions:
        before = bisect_left(days, action.ex_date) - 1
        if action.kind != "dividend" or before < 0 or action.value < bars[before].close:
            continue
        if (action.ex_date - days[before]).days <= CLOSE_BEFORE:
            found.append(action)
    return found


def _rejected_dividend(action: CorporateAction, rows: Sequence[RawRow]) -> RejectedAction:
    """`action`, at the row of its day, the next one, or the last."""
    days = [row["session_date"] for row in rows]
    later = (place for place, day in enumerate(days) if day is not None and day >= action.ex_date)
    original = raw_json({"session_date": action.ex_date, "dividends": action.value, "came": []})
    reason = "a dividend that is not below the close before it"
    return RejectedAction(next(later, len(days) - 1), reason, original, "dividend")


def _without_impossible(
    position: int, row: RawRow, actions: Sequence[Action], currency: str | None
) -> tuple[RawRow, list[RejectedAction]]:
    """`row` without the actions that cannot be and dividends that are not in the prices' `currency`, and these."""
    rejected = []
    kept = dict(row)
    for kind, name in (("dividend", "dividends"), ("split", "stock_splits")):
        value = row[name]
        reason = impossible(kind, float("nan") if value is None else value)
        day = row["session_date"]
        came = [action for action in actions if (action.kind, action.day) == (kind, day)]
        if reason is None and (foreign := [action.currency for action in came if _is_foreign(action, currency)]):
            reason = f"a dividend in {foreign[0]}, prices in {currency}"
        if reason is not None:
            original = raw_json({"session_date": day, name: value, "came": [action.original for action in came]})
            rejected.append(RejectedAction(position, reason, original, kind))
            kept[name] = 0.0
    return (kept, rejected) if rejected else (row, rejected)


def _reject_inexact(volume: float | None) -> None:
    if volume is not None and math.isfinite(volume) and volume > _EXACT:
        raise ValueError(f"volume: above {_EXACT} it is not known to the share")


def wanted_days(days: Iterable[date], sessions: Iterable[date], closed: Iterable[date]) -> frozenset[date]:
    """The calendar days whose rows are taken: all but the sessions that had not closed yet.

    A day on which the exchange was closed is among them: a row for it is rejected, not silently dropped.
    """
    return frozenset(days) - (frozenset(sessions) - frozenset(closed))


def widened_range(row: RawRow) -> RawRow:
    """`row` with high and low moved out to open and close where they miss them by no more than `DUST`.

    Sources compute split-adjusted prices in floating point, each by itself, so a high that equals the open as traded
    can end one unit in the last place below it. Anything more is a wrong price and stays as it is.
    """
    prices = [row["open"], row["high"], row["low"], row["close"]]
    if not all(isinstance(price, float) and math.isfinite(price) and price > 0 for price in prices):
        return row
    open_, high, low, close = prices
    top, bottom = max(open_, close), min(open_, close)
    changes = {}
    if high < top <= high * (1 + DUST):
        changes["high"] = top
    if low > bottom >= low * (1 - DUST):
        changes["low"] = bottom
    return {**row, **changes} if changes else row


def raw_json(row: RawRow) -> bytes:
    """A raw row as JSON; a number that JSON does not know (NaN, infinity) as its name in a string."""
    return json.dumps(_plain(row), allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    odd = isinstance(value, float) and not math.isfinite(value)
    return str(value) if odd or isinstance(value, date) else value
