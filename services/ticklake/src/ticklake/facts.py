"""Facts: bars as traded and corporate actions, each answer of a source held against what was known before.

A version of a fact is never changed. Of two versions the one with the later `known_at` counts, then the one with the
greater `batch_id`, so the order in which batches are recorded does not matter. All functions are pure; frames have the
columns of `tables.DAILY_BARS` and `tables.CORPORATE_ACTIONS`, with days as `datetime64` and times in UTC.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ticklake.adjustment import Actions, dividend_shares, later_splits
from ticklake.lineage import SymbolChanges
from ticklake.quality import NOISE
from ticklake.records import value_hash
from ticklake.tables import CORPORATE_ACTIONS, DAILY_BARS

FIRST, REVISION = "first", "revision"
_WITHDRAWN = "withdrawn"
DIVIDEND, SPLIT = "dividend", "split"

BAR_KEY = ["symbol", "session_date"]
ACTION_KEY = ["symbol", "ex_date", "kind"]

_PRICES = ["open", "high", "low", "close"]
VALUES = [*_PRICES, "volume"]
"""What a version of a bar can differ in, beside its currency."""
_DIVIDEND_UNIT = 5e-7
"""Half of the last digit of a dividend: sources round it, adjusted for later splits, to six digits after the point."""


@dataclass(frozen=True)
class Facts:
    """Rows of the two tables."""

    bars: pd.DataFrame
    actions: pd.DataFrame


@dataclass(frozen=True)
class Changes:
    """What a batch says that was not known at its moment."""

    rows: Facts
    """To be appended to the tables."""
    symbols: dict[str, SymbolChanges]
    revisions: pd.DataFrame
    """Revised bars: symbol, session_date, and each value with its former one in `<name>_before`."""

    def without(self, symbols: Iterable[str]) -> "Changes":
        """The changes less those of `symbols`."""
        gone = list(symbols)

        def less(frame: pd.DataFrame) -> pd.DataFrame:
            return frame[~frame["symbol"].isin(gone)]

        return Changes(
            Facts(less(self.rows.bars), less(self.rows.actions)),
            {symbol: part for symbol, part in self.symbols.items() if symbol not in gone},
            less(self.revisions),
        )


def bar_hash(
    symbol: str,
    session_date: date,
    open_: float,
    high: float,
    low: float,
    close: float,
    volume: int,
    currency: str | None,
    source: str,
) -> str:
    """128-bit BLAKE2b, in hex, of a bar as traded; equal hashes mean equal bits, as for `records.row_hash`."""
    texts = (symbol, session_date.isoformat(), str(int(volume)), currency or "", str(source))
    return value_hash(texts, (open_, high, low, close))


def as_traded(bars: pd.DataFrame, actions: pd.DataFrame) -> Facts:
    """An answer, adjusted for the splits in it, as traded: prices x later splits, volume / later splits.

    Args:
        bars: sorted by symbol and session.
        actions: of the same symbols, all that are known up to the moment of asking.

    Returns:
        the same rows; `unit` is by how much rounding alone can have changed volume or value.
    """
    bars, actions = bars.reset_index(drop=True), actions.sort_values(ACTION_KEY, ignore_index=True)
    factor, later = np.ones(len(bars)), np.ones(len(actions))
    bars_of, actions_of = (frame.groupby("symbol", sort=False).indices for frame in (bars, actions))
    for symbol, places in actions_of.items():
        splits = split_actions(actions.iloc[places])
        if symbol in bars_of and len(splits.split_days):
            own = bars_of[symbol]
            factor[own] = later_splits(_days(bars["session_date"].iloc[own]), splits)
        later[places] = later_splits(_days(actions["ex_date"].iloc[places]), splits)
    prices = {name: bars[name] * factor for name in _PRICES}
    volume = np.rint(bars["volume"] / factor).astype("int64")
    dividend = (actions["kind"] == DIVIDEND).to_numpy()
    return Facts(
        bars.assign(**prices, volume=volume, unit=np.where(factor < 1, 0.5 / factor, 0.5)),
        actions.assign(
            value=np.where(dividend, actions["value"] * later, actions["value"]),
            unit=np.where(dividend, _DIVIDEND_UNIT * later, 0.0),
        ),
    )


def split_actions(actions: pd.DataFrame) -> Actions:
    """One symbol's actions, ascending by day, as arrays."""
    splits, dividends = (actions[actions["kind"] == kind] for kind in (SPLIT, DIVIDEND))
    return Actions(
        _days(splits["ex_date"]),
        splits["value"].to_numpy("float64"),
        _days(dividends["ex_date"]),
        dividends["value"].to_numpy("float64"),
    )


def compare(answered: Facts, known: Facts, noise: float = NOISE) -> Changes:
    """Hold a batch as traded against the versions in the lake that count at its moment.

    Versions of the batch itself do not count, so that a retry finds the same changes; of their rows it has those that
    the tables lack.

    Args:
        answered: see `as_traded`; every symbol with the bars of a whole answer, and known_at, source, batch_id and
            batch_date in each row; fetched_at, where a person released the answer at the later known_at.
        known: all versions of these symbols' facts.
        noise: relative difference that means nothing.
    """
    moments = answered.bars.drop_duplicates("symbol").set_index("symbol")
    before = _in_force_before(known.bars, BAR_KEY, moments)
    bars = _beside(answered.bars, before, BAR_KEY, [*VALUES, "currency"])
    is_first = bars["close_before"].isna()
    differs = (bars["volume"] - bars["volume_before"]).abs() > bars["unit"] + noise * bars["volume"]
    for name in _PRICES:
        differs |= (bars[name] / bars[f"{name}_before"] - 1).abs() > noise
    differs |= (
        bars["currency"].notna() & bars["currency_before"].notna() & (bars["currency"] != bars["currency_before"])
    )
    bars["change"] = np.select([is_first, differs], [FIRST, REVISION], default="")
    actions = _compare_actions(answered, _in_force_before(known.actions, ACTION_KEY, moments), moments, noise)
    changed = bars[bars["change"] != ""]
    revisions = changed[changed["change"] == REVISION]
    of_bars, of_actions = (
        {key: int(count) for key, count in rows.groupby(["symbol", "change"]).size().items()}
        for rows in (bars, actions)
    )
    counts = {
        str(symbol): SymbolChanges(
            new=of_bars.get((symbol, FIRST), 0),
            unchanged=of_bars.get((symbol, ""), 0),
            revised=of_bars.get((symbol, REVISION), 0),
            actions_new=of_actions.get((symbol, FIRST), 0),
            actions_revised=of_actions.get((symbol, REVISION), 0),
            actions_withdrawn=of_actions.get((symbol, _WITHDRAWN), 0),
        )
        for symbol in moments.index
    }
    shown = [*BAR_KEY, *(part for name in VALUES for part in (name, f"{name}_before"))]
    lacking = _less(changed, known.bars, BAR_KEY), _less(actions.drop(columns="change"), known.actions, ACTION_KEY)
    return Changes(Facts(_with_hashes(lacking[0]), lacking[1]), counts, revisions[shown].reset_index(drop=True))


def great_dividends(known: Facts, changes: Changes, noise: float = NOISE) -> dict[str, int]:
    """By symbol, how many dividends would not be below the close before them: no history can be adjusted for one.

    Args:
        known: all versions of these symbols' facts.
        changes: what is to be appended to them.
        noise: see `in_force`.
    """
    both = ((known.bars, changes.rows.bars), (known.actions, changes.rows.actions))
    bars, actions = (pd.concat([part for part in parts if len(part)] or parts[:1]) for parts in both)
    actions = in_force(actions, ACTION_KEY, noise=noise)
    paid, splits = (actions[actions["kind"] == kind] for kind in (DIVIDEND, SPLIT))
    # Most symbols never paid as much as their lowest close, in whatever shares, and need no closer look.
    most = paid.groupby("symbol")["value"].max()
    ratios = splits.assign(value=splits["value"].clip(lower=1)).groupby("symbol")["value"].prod()
    most *= ratios.reindex(most.index, fill_value=1.0)
    suspects = most.index[most >= bars.groupby("symbol")["close"].min().reindex(most.index)]
    found = {}
    for symbol, own in in_force(bars[bars["symbol"].isin(suspects)], BAR_KEY, noise=noise).groupby("symbol"):
        of_symbol = split_actions(actions[actions["symbol"] == symbol])
        _, share = dividend_shares(_days(own["session_date"]), own["close"].to_numpy("float64"), of_symbol)
        found[str(symbol)] = int((share >= 1).sum())
    return {symbol: count for symbol, count in found.items() if count}


def in_force(
    versions: pd.DataFrame, key: list[str], as_of: datetime | None = None, noise: float = NOISE
) -> pd.DataFrame:
    """The version of each fact that counts at `as_of`, sorted by `key`; a withdrawn action is none.

    A batch that was recorded late can leave a version that repeats the one before it but for noise: the earlier one
    counts then, as if the batches had been recorded in their order.

    Args:
        as_of: only what was known then; None for all.
    """
    if as_of is not None:
        versions = versions[versions["known_at"] <= pd.Timestamp(as_of)]
    if versions.duplicated(key).any():
        ordered = versions.sort_values([*key, "known_at", "batch_id"], ignore_index=True)
        found = ordered[_last_that_differs(ordered, key, noise)].reset_index(drop=True)
    else:
        found = versions.sort_values(key, ignore_index=True)
    return found[~found["withdrawn"]] if "withdrawn" in found else found


def _last_that_differs(ordered: pd.DataFrame, key: list[str], noise: float) -> npt.NDArray[np.bool_]:
    """Of each key's versions, in order, the last that differs from the one that counted before it."""
    exact = ["withdrawn"] if "withdrawn" in ordered else ["volume", "currency"]
    numbers = ordered[["value"] if "withdrawn" in ordered else _PRICES].to_numpy("float64")
    states = list(zip(*(ordered[name] for name in exact), strict=True))
    starts = np.flatnonzero(~ordered.duplicated(key))
    ends = np.append(starts[1:], len(ordered))
    counts = starts.copy()
    for number in np.flatnonzero(ends - starts > 1):
        for place in range(starts[number] + 1, ends[number]):
            before = counts[number]
            near = np.abs(numbers[place] / numbers[before] - 1) <= noise
            if states[place] != states[before] or not near.all():
                counts[number] = place
    found = np.zeros(len(ordered), bool)
    found[counts] = True
    return found


def _days(column: "pd.Series[Any]") -> Any:
    return column.to_numpy("datetime64[D]")


def _in_force_before(versions: pd.DataFrame, key: list[str], moments: pd.DataFrame) -> pd.DataFrame:
    """The versions that counted just before the batch's moment of their symbol."""
    of_batch = versions["symbol"].map(moments["batch_id"])
    at = pd.to_datetime(versions["symbol"].map(moments["known_at"]), utc=True)
    earlier = (versions["known_at"] < at) | ((versions["known_at"] == at) & (versions["batch_id"] < of_batch))
    ordered = versions[earlier].sort_values([*key, "known_at", "batch_id"])
    return ordered.drop_duplicates(key, keep="last")


def _beside(rows: pd.DataFrame, before: pd.DataFrame, key: list[str], values: list[str]) -> pd.DataFrame:
    """`rows` with the former values, null where there are none, in `<name>_before`."""
    former = before[[*key, *values]].rename(columns={name: f"{name}_before" for name in values})
    return rows.merge(former, "left", key)


def _compare_actions(answered: Facts, before: pd.DataFrame, moments: pd.DataFrame, noise: float) -> pd.DataFrame:
    """The versions of actions to append, with a column `change`: first, revision or withdrawn."""
    both = _beside(answered.actions.assign(withdrawn=False), before[~before["withdrawn"]], ACTION_KEY, ["value"])
    is_first = both["value_before"].isna()
    differs = (both["value"] - both["value_before"]).abs() > both["unit"] + noise * both["value"]
    both["change"] = np.select([is_first, differs], [FIRST, REVISION], default="")
    # Only what the answer reaches: an action before its first bar is not in it and stays.
    since = answered.bars.groupby("symbol")["session_date"].min()
    # An answer says nothing of actions after it was given, though it may count from later on.
    asked_at = moments[[name for name in ("known_at", "fetched_at") if name in moments]].min(axis=1)
    reached = (before["ex_date"] >= before["symbol"].map(since)) & (
        before["ex_date"] <= pd.to_datetime(before["symbol"].map(asked_at), utc=True).dt.tz_localize(None)
    )
    there = pd.MultiIndex.from_frame(answered.actions[ACTION_KEY])
    gone = before[reached & ~before["withdrawn"]]
    gone = gone[~pd.MultiIndex.from_frame(gone[ACTION_KEY]).isin(there)]
    stamps = {name: gone["symbol"].map(moments[name]) for name in ("known_at", "source", "batch_id", "batch_date")}
    withdrawn = gone.assign(**stamps, withdrawn=True, change=_WITHDRAWN)
    changed = both[both["change"] != ""]
    columns = [*(column.name for column in CORPORATE_ACTIONS.columns), "change"]
    parts = [part[columns] for part in (changed, withdrawn) if not part.empty]
    return pd.concat(parts, ignore_index=True) if parts else changed[columns]


def _less(rows: pd.DataFrame, known: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """The rows that are not among the batch's own that are known."""
    own = known[known["batch_id"].isin(rows["batch_id"].unique())]
    return rows[~pd.MultiIndex.from_frame(rows[key]).isin(pd.MultiIndex.from_frame(own[key]))]


def _with_hashes(bars: pd.DataFrame) -> pd.DataFrame:
    columns = (bars[name] for name in ("symbol", "session_date", *_PRICES, "volume", "currency", "source"))
    hashes = [bar_hash(symbol, day.date(), *rest) for symbol, day, *rest in zip(*columns, strict=True)]
    return bars.assign(row_hash=hashes)[[column.name for column in DAILY_BARS.columns]]
