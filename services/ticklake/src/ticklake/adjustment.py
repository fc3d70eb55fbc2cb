"""Adjustment of prices for splits and dividends, and its inverse.

Yahoo gives prices adjusted for every split up to the moment of asking. As traded is price x the splits after the
session; from that and the corporate actions any adjustment follows. Days are arrays of numpy's `datetime64[D]`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Days = npt.NDArray[Any]

CLOSE_BEFORE = 31
"""How many days older than a dividend's ex-date the close before it may be. Exchanges close for ten days at most, and a
thinly traded share has weeks without a trade."""


@dataclass(frozen=True)
class Actions:
    """One symbol's splits and dividends: days ascending, with a value each."""

    split_days: Days
    split_ratios: Floats
    """New shares per old one."""
    dividend_days: Days
    dividends: Floats
    """Cash per share as paid: in shares of the ex-date."""


def later_splits(days: Days, actions: Actions) -> Floats:
    """For each day the product of the ratios of all splits with a later ex-date: 1 where there is none.

    An array of the shape of `days`: shares that one share of that day has become.
    """
    products = np.append(np.cumprod(actions.split_ratios[::-1])[::-1], 1.0)
    found: Floats = products[np.searchsorted(actions.split_days, days, side="right")]
    return found


def dividend_shares(days: Days, close: Floats, actions: Actions) -> tuple[Days, Floats]:
    """The dividends that have a close before them, as a part of it: their ex-dates and dividend / close before.

    A dividend and the close are compared in shares of the same day. The close before one is the last that is known,
    where that is at most `CLOSE_BEFORE` days older: where years of sessions are missing, their dividends have none.

    Args:
        days: sessions, ascending.
        close: as traded, one per session.
    """
    before = np.searchsorted(days, actions.dividend_days, side="left") - 1
    counted = before >= 0
    counted[counted] = actions.dividend_days[counted] - days[before[counted]] <= np.timedelta64(CLOSE_BEFORE, "D")
    before, ex_days = before[counted], actions.dividend_days[counted]
    per_old_share = actions.dividends[counted] * later_splits(days[before], actions) / later_splits(ex_days, actions)
    return ex_days, per_old_share / close[before]


def later_dividends(days: Days, close: Floats, actions: Actions) -> Floats:
    """For each session the product of 1 - dividend / close before over all dividends with a later ex-date.

    One without a close before it has no effect (Center for Research in Security Prices; Yahoo, "What is the adjusted
    close?").

    Args:
        days, close: see `dividend_shares`.

    Raises:
        ValueError: a dividend is not below the close before it.
    """
    ex_days, share = dividend_shares(days, close, actions)
    if (share >= 1).any():
        place = int(np.argmax(share >= 1))
        raise ValueError(f"the dividend of {ex_days[place]} is not below the close before it")
    products = np.append(np.cumprod((1 - share)[::-1])[::-1], 1.0)
    found: Floats = products[np.searchsorted(ex_days, days, side="right")]
    return found


def adjusted(bars: pd.DataFrame, actions: Actions) -> pd.DataFrame:
    """One symbol's bars on the basis of the last of its actions, Yahoo's convention.

    Args:
        bars: as traded, one per session, ascending: session_date, open, high, low, close, volume.

    Returns:
        the same rows and columns, prices and volume adjusted for splits, and besides adj_open, adj_high, adj_low and
        adj_close (adjusted for dividends too), dividends (cash per share of the basis) and stock_splits (new shares per
        old one, 0 for none) on the first session that they count on.

    Raises:
        ValueError: a dividend is not below the close before it.
    """
    days, close = bars["session_date"].to_numpy("datetime64[D]"), bars["close"].to_numpy("float64")
    shares, share_kept = later_splits(days, actions), later_dividends(days, close, actions)
    prices = {name: bars[name] / shares for name in ("open", "high", "low", "close")}
    return bars.assign(
        **prices,
        volume=np.rint(bars["volume"] * shares).astype("int64"),
        **{f"adj_{name}": values * share_kept for name, values in prices.items()},
        **_events(days, actions, actions.dividends / later_splits(actions.dividend_days, actions)),
    )


def with_events(bars: pd.DataFrame, actions: Actions) -> pd.DataFrame:
    """One symbol's bars as traded, as `adjusted` takes them, with the columns dividends (as paid) and stock_splits."""
    return bars.assign(**_events(bars["session_date"].to_numpy("datetime64[D]"), actions, actions.dividends))


def _events(days: Days, actions: Actions, paid: Floats) -> dict[str, Floats]:
    """Dividends and splits on the first session that they count on; `paid` is cash per share of each dividend."""
    dividends, splits = np.zeros(len(days) + 1), np.ones(len(days) + 1)
    # Those after the last session fall into one more place, which is left away.
    np.add.at(dividends, np.searchsorted(days, actions.dividend_days), paid)
    np.multiply.at(splits, np.searchsorted(days, actions.split_days), actions.split_ratios)
    return {"dividends": dividends[:-1], "stock_splits": np.where(splits[:-1] == 1, 0.0, splits[:-1])}
