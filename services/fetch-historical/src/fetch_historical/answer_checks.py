"""Holds an answer against the question: pure functions that give the reasons to doubt it, none for a good one.

A doubtful answer is asked for again, and where the doubt stays, the symbol is held. The tolerances let pass what real
answers do: Yahoo gives prices as single-precision floats (relative 6e-8) and dividends rounded to some digits.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from math import exp, isfinite, log

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fetch_historical.answer_store import Action
from fetch_historical.batch_period import Period
from fetch_historical.yahoo_chart import Chart, Meta
from ticklake.quality import UNUSUAL_TRADING, trading_ratio

Floats = npt.NDArray[np.float64]

MOST = 5
"""Reasons that are reported; prices that flip between two units every day would give hundreds."""
LATE_SESSIONS = 10
"""The first bar may be this many sessions behind the first trade: a thinly traded share begins with days without one.
An answer that was cut off begins far later."""
LONELY = 2
"""So few bars are a doubt where nothing says when the symbol was first traded."""
EARLY_SESSIONS = 1
"""The last bar may lie this many sessions before the last trade: Yahoo writes the newest daily bar late."""
ENDED_SESSIONS = 10
"""Sessions without a trade after which a symbol counts as no longer traded: acquired, or taken off the exchange. Fewer
can be a source that is late."""
DAILY_SHARE = 0.5
"""Share of the sessions from first to last bar that daily bars fill at least; weekly bars fill a fifth."""
LEAST_SESSIONS = 10
"""Over fewer sessions that share says nothing."""
SPLIT_LEAST = 0.18
"""Logarithm of the smallest ratio (6:5) whose missing adjustment can be distinguished from a day's move."""
SPLIT_NEAR = 0.2
"""How far, as a logarithm, the move over a split may be from its ratio to count as that ratio: a day's own move beside
it. For small ratios half the logarithm, so that a move is taken for what it is nearer to."""
SPLIT_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0, 100.0)
"""Usual splits. Reversed ones count from 1:3 on: a share that doubles in a day is commoner than a 1:2 reverse split."""
UNRECORDED_NEAR = 0.1
"""How near, as a logarithm, a move must be to one of them where no split is recorded; for small ratios a tenth of the
logarithm, so that not every great move counts as a split."""
DIVIDEND_PART = 0.05
DIVIDEND_PRICE = 5e-4
"""The step of adj_close over an ex-date may differ from 1 - dividend / close before by this part of the dividend and
this part of the price: a dividend that was divided by later splits is rounded to some digits."""
FACTOR = 2e-3
"""adj_close as recomputed from the dividends, from the last bar backwards, may differ by this part of the price and
`DIVIDEND_PART` of all dividends between."""

_JUMP = log(SPLIT_RATIOS[0]) / 2
"""Smaller moves are like no usual split."""
_UNSPLIT = {"INDEX", "CURRENCY", "CRYPTOCURRENCY", "FUTURE"}
_TRADED = {"EQUITY", "ETF"}


@dataclass(frozen=True)
class Known:
    """What the lake holds of a symbol from an earlier batch of the same source."""

    first: date
    last: date
    currency: str | None = None


def reasons(
    symbol: str, period: Period, sessions: Sequence[date], chart: Chart, known: Known | None = None
) -> tuple[str, ...]:
    """Why the answer for `symbol` is not to be used, a line each.

    Args:
        sessions: of the exchange, in the period, that had closed when it was asked for.
    """
    meta, rows = chart.meta, _Columns.of(chart.rows, sessions)
    found = (
        *_of_whom(symbol, meta),
        *_grain(chart.rows, sessions, meta),
        *_currencies(meta, chart.actions, known),
        *_reach(rows.days, period, sessions, meta, known),
        *_volumes(symbol, rows, meta),
        *_splits(symbol, rows, meta),
        *_adjusted(rows),
    )
    return found if len(found) <= MOST else (*found[:MOST], f"and {len(found) - MOST} more reasons")


def ended(meta: Meta, sessions: Sequence[date]) -> date | None:
    """Day of the last trade of a symbol that is no longer traded, None of one that is or where nothing says it.

    Args:
        sessions: of the exchange, in the period, that had closed when it was asked for.
    """
    last = meta.last_trade
    return last if last is not None and sum(day > last for day in sessions) >= ENDED_SESSIONS else None


def impossible(kind: str, value: float) -> str | None:
    """Why there can be no such action, None where there can."""
    if not isfinite(value):
        return f"a {kind} without a finite value"
    return f"a {kind} below 0" if value < 0 else None


@dataclass(frozen=True)
class _Columns:
    """The usable bars: those of closed sessions whose close and adj_close are prices; one array per column."""

    days: tuple[date, ...]
    close: Floats
    adj_close: Floats
    volume: Floats
    """NaN where there is none."""
    dividends: Floats
    splits: Floats
    """Impossible actions are 0 in both; those of a row that is left out stand at the next usable bar."""

    @property
    def volume_at_all(self) -> bool:
        """Whether any bar has one."""
        return bool(np.nansum(np.abs(self.volume)))

    @classmethod
    def of(cls, table: pa.Table, sessions: Sequence[date]) -> "_Columns":
        open_until = sessions[-1] if sessions else date.min
        days = table.column("session_date").to_pylist()
        columns = {name: table.column(name).to_numpy() for name in table.column_names[1:]}
        usable = np.array([day is not None and day <= open_until for day in days], bool)
        for name in ("close", "adj_close"):
            usable &= np.isfinite(columns[name]) & (columns[name] > 0)
        actions = {
            name: np.where(np.isfinite(columns[name]) & (columns[name] > 0), columns[name], 0.0)
            for name in ("dividends", "stock_splits")
        }
        # For each row the place of its bar, or of the next one; what stands behind the last bar is left away.
        place = np.cumsum(usable) - usable
        dividends, splits = np.zeros(usable.sum() + 1), np.ones(usable.sum() + 1)
        np.add.at(dividends, place, actions["dividends"])
        np.multiply.at(splits, place, np.where(actions["stock_splits"] > 0, actions["stock_splits"], 1.0))
        return cls(
            tuple(day for day, good in zip(days, usable, strict=True) if good),
            columns["close"][usable],
            columns["adj_close"][usable],
            columns["volume"][usable],
            dividends[:-1],
            np.where(splits[:-1] == 1, 0.0, splits[:-1]),
        )


def _of_whom(symbol: str, meta: Meta) -> Iterator[str]:
    if meta.symbol is None:
        yield "the answer does not say which symbol it is of"
    elif _plain(meta.symbol) != _plain(symbol):
        yield f"the answer is of {meta.symbol}"


def _plain(symbol: str) -> str:
    # Yahoo names a currency against the dollar by one name or the other: USDJPY=X is JPY=X.
    return re.sub(r"^USD([A-Z]{3}=X)$", r"\1", symbol.upper())


def _grain(table: pa.Table, sessions: Sequence[date], meta: Meta) -> Iterator[str]:
    if meta.granularity not in (None, "1d"):
        yield f"bars of {meta.granularity} instead of days"
        return
    days = sorted(day for day in table.column("session_date").to_pylist() if day is not None)
    distinct = set(days)
    if len(days) > 1.5 * len(distinct):
        yield f"{len(days)} rows for {len(distinct)} days instead of one a day"
    if len(distinct) < 2:
        return
    between = [day for day in sessions if days[0] <= day <= days[-1]]
    filled = len(distinct.intersection(between))
    if len(between) >= LEAST_SESSIONS and filled < DAILY_SHARE * len(between):
        yield f"bars for {filled} of {len(between)} sessions from {days[0]} to {days[-1]}: they are not daily"


def _currencies(meta: Meta, actions: Sequence[Action], known: Known | None) -> Iterator[str]:
    theirs = sorted({action.currency for action in actions if action.currency is not None})
    if meta.currency is not None and (odd := [name for name in theirs if name != meta.currency]):
        yield f"dividends in {', '.join(odd)}, prices in {meta.currency}"
    elif meta.currency is None and len(theirs) > 1:
        yield f"dividends in {', '.join(theirs)}"
    if known is not None and None not in (known.currency, meta.currency) and known.currency != meta.currency:
        yield f"prices in {meta.currency}, before they were in {known.currency}"


def _reach(
    days: Sequence[date], period: Period, sessions: Sequence[date], meta: Meta, known: Known | None
) -> Iterator[str]:
    """Whether the bars begin and end where the symbol was traded; rows of days that are no sessions count too."""
    if not days:
        yield "no row of a closed session has a price"
        return
    starts = []
    if meta.first_trade is not None:
        starts.append((max(meta.first_trade, period.first), f"it was first traded on {meta.first_trade}"))
    elif known is None and len(days) <= LONELY:
        starts.append((period.first, "it does not say when it was first traded"))
    if known is not None and known.first >= period.first:
        starts.append((known.first, f"the lake has it from {known.first} on"))
    for begin, why in starts:
        late = sum(begin <= day < days[0] for day in sessions)
        if late > LATE_SESSIONS:
            yield f"begins on {days[0]}, {late} sessions late: {why}"
            break
    ends = []
    if meta.last_trade is not None:
        ends.append((min(meta.last_trade, period.last), f"it was last traded on {meta.last_trade}"))
    if known is not None and known.last <= period.last:
        ends.append((known.last, f"the lake has it up to {known.last}"))
    for end, why in ends:
        early = sum(days[-1] < day <= end for day in sessions)
        if early > EARLY_SESSIONS:
            yield f"ends on {days[-1]}, {early} sessions early: {why}"
            break


def _no_company(symbol: str, meta: Meta) -> bool:
    """Whether it is an index, a currency or the like by type or name: no split, and often no volume."""
    return meta.instrument in _UNSPLIT or symbol.startswith("^") or "=" in symbol


def _volumes(symbol: str, rows: _Columns, meta: Meta) -> Iterator[str]:
    if meta.instrument in _TRADED and not _no_company(symbol, meta) and rows.days and not rows.volume_at_all:
        yield f"no volume in any row, though it is an {meta.instrument}"


def _splits(symbol: str, rows: _Columns, meta: Meta) -> Iterator[str]:
    """Jumps that a split explains, which the prices should be adjusted for."""
    if not rows.days:
        return
    # What a share is worth without its dividend: a great one moves the price like a split, and is none.
    without = rows.close[:-1] - rows.dividends[1:]
    moves = np.append(0.0, np.log(rows.close[1:] / np.where(without > 0, without, rows.close[:-1])))
    for place in map(int, np.flatnonzero((np.abs(moves) > _JUMP) | (rows.splits > 0))):
        move, ratio = float(moves[place]), float(rows.splits[place])
        usual = _usual_ratio(move)
        size = abs(log(ratio)) if ratio else 0.0
        if size >= SPLIT_LEAST and abs(abs(move) - size) <= min(SPLIT_NEAR, size / 2):
            yield (
                f"prices move by {exp(move) - 1:+.1%} over the split {_as_text(ratio)} of {rows.days[place]}: "
                "they are not adjusted for it"
            )
        elif usual is not None and not _no_company(symbol, meta) and _calm(rows, place):
            yield (
                f"the close moves by {exp(move) - 1:+.1%} on {rows.days[place]}, as over a split {_as_text(usual)}, "
                "without such a split and without unusual trading"
            )


def _calm(rows: _Columns, place: int) -> bool:
    return trading_ratio(rows.close.tolist(), rows.volume.tolist(), place) < UNUSUAL_TRADING


def _usual_ratio(move: float) -> float | None:
    """The usual split whose missing adjustment would look like `move` (of the log price), if any."""
    ratios = SPLIT_RATIOS if move < 0 else tuple(1 / ratio for ratio in SPLIT_RATIOS if ratio > 2)
    nearest = min(ratios, key=lambda ratio: abs(move + log(ratio)))
    near = min(UNRECORDED_NEAR, abs(log(nearest)) / 10)
    return nearest if abs(move + log(nearest)) <= near else None


def _as_text(ratio: float) -> str:
    return f"{ratio:g}:1" if ratio >= 1 else f"1:{1 / ratio:g}"


def _adjusted(rows: _Columns) -> Iterator[str]:
    """Whether adj_close is the close, adjusted for the dividends after it.

    A dividend takes 1 - dividend / close before from every adjusted price before it (Center for Research in Security
    Prices; Yahoo, "What is the adjusted close?").
    """
    if len(rows.days) < 2:
        return
    factor = rows.adj_close / rows.close
    share = np.zeros(len(factor))
    share[1:] = rows.dividends[1:] / rows.close[:-1]
    if (over := np.flatnonzero(share >= 1)).size:
        place = int(over[0])
        yield f"the dividend of {rows.days[place]}, {rows.dividends[place]:g}, is not below the close before it"
        return
    step = factor[:-1] / factor[1:]
    off = np.abs(step - (1 - share[1:])) > DIVIDEND_PART * share[1:] + DIVIDEND_PRICE
    contradicted = np.flatnonzero(off & (share[1:] > 0))
    if contradicted.size:
        place = int(contradicted[0]) + 1
        yield (
            f"adj_close changes by {step[place - 1] - 1:+.2%} over the dividend of {rows.days[place]}, which is "
            f"{share[place]:.2%} of the close before it"
        )
        return
    later = np.append(np.cumsum(np.log1p(-share[:0:-1]))[::-1], 0.0)
    between = np.append(np.cumsum(share[:0:-1])[::-1], 0.0)
    apart = np.abs(np.log(factor / factor[-1]) - later)
    if (apart > FACTOR + DIVIDEND_PART * between).any():
        place = int(np.argmax(apart - DIVIDEND_PART * between))
        yield f"adj_close of {rows.days[place]} differs by {exp(apart[place]) - 1:.2%} from what the dividends give"
