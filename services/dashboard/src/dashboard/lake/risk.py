"""Risk measures from daily prices.

Returns are simple: r_t = P_t / P_{t-1} - 1, on closes adjusted for splits and dividends.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

Prices = NDArray[np.float64]
Series = Mapping[date, float]
"""Adjusted close by session."""

TRADING_DAYS = 252
_FEWEST_RETURNS = 2


def simple_returns(prices: Prices) -> Prices:
    """r_t = P_t / P_{t-1} - 1; one fewer than prices."""
    return prices[1:] / prices[:-1] - 1


def annualised_volatility(returns: Prices) -> float:
    """Sample standard deviation (n - 1) of daily returns times the root of 252 trading days.

    Hull, Options, Futures and Other Derivatives, "Estimating volatility from historical data", with simple returns.
    """
    return float(np.std(returns, ddof=1) * math.sqrt(TRADING_DAYS))


def drawdowns(prices: Prices) -> Prices:
    """Per session the price over its highest value so far, minus 1; 0 or below.

    Magdon-Ismail and Atiya, "Maximum drawdown", Risk 17 (2004); its least value is the maximum drawdown.
    """
    return prices / np.maximum.accumulate(prices) - 1


def value_at_risk(returns: Prices, level: float) -> float:
    """One-day value at risk by historical simulation, as a share of the position; positive is a loss.

    The least loss l with P(L <= l) >= level under the empirical distribution: McNeil, Frey and Embrechts, Quantitative
    Risk Management, definition 2.8 (the generalised inverse, no interpolation between losses).
    """
    losses = np.sort(-returns)
    # The product of a share such as 0.95 and a count can come out a hair above the whole number that it is.
    place = math.ceil(round(level * len(losses), 9))
    return float(losses[max(place, 1) - 1])


def expected_shortfall(returns: Prices, level: float) -> float:
    """Mean loss in the worst (1 - level) share of days; positive is a loss.

    The coherent estimator of Acerbi and Tasche, "On the coherence of expected shortfall", Journal of Banking & Finance
    26 (2002), proposition 4.1 with a fractional last loss: n (1 - level) need not be whole.
    """
    losses = np.sort(-returns)[::-1]
    share = round((1 - level) * len(losses), 9)
    whole = math.floor(share)
    if whole == 0:
        return float(losses[0])
    rest = (share - whole) * losses[whole] if whole < len(losses) else 0.0
    return float((losses[:whole].sum() + rest) / share)


def measure(series: Series, sessions: int) -> dict[str, Any]:
    """All measures of one symbol over its newest `sessions` returns; values are None with fewer than two returns."""
    days = sorted(series)[-(sessions + 1) :]
    prices = np.array([series[day] for day in days])
    found: dict[str, Any] = {
        "from_": days[0] if days else None,
        "to": days[-1] if days else None,
        "sessions": max(0, len(days) - 1),
    }
    names = (
        "volatility_annualised",
        "max_drawdown",
        "current_drawdown",
        "value_at_risk_95",
        "value_at_risk_99",
        "expected_shortfall_95",
        "best_day",
        "worst_day",
    )
    if len(days) <= _FEWEST_RETURNS:
        return found | dict.fromkeys(names)
    returns, fall = simple_returns(prices), drawdowns(prices)
    values = (
        annualised_volatility(returns),
        float(fall.min()),
        float(fall[-1]),
        value_at_risk(returns, 0.95),
        value_at_risk(returns, 0.99),
        expected_shortfall(returns, 0.95),
        float(returns.max()),
        float(returns.min()),
    )
    return found | dict(zip(names, values, strict=True))


def common_sessions(many: Sequence[Series], sessions: int) -> list[date]:
    """The newest `sessions` sessions that all series have, and the one before them, in order."""
    shared = set.intersection(*(set(series) for series in many)) if many else set()
    return sorted(shared)[-(sessions + 1) :]


def correlation(many: Sequence[Series], sessions: int) -> tuple[list[list[float | None]], int]:
    """Pearson correlation of simple returns between the sessions that all series have, and how many returns that are.

    The matrix's order is that of `many`; a value is None where it is undefined: fewer than two returns in common, or a
    price that never moved.
    """
    days = common_sessions(many, sessions)
    count = max(0, len(days) - 1)
    if count < _FEWEST_RETURNS:
        return [[None] * len(many) for _ in many], count
    returns = np.array([simple_returns(np.array([series[day] for day in days])) for series in many])
    moves = returns - returns.mean(axis=1, keepdims=True)
    norms = np.sqrt((moves**2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = (moves @ moves.T) / np.outer(norms, norms)
    # Rounding can put a perfect correlation a hair outside of what a correlation can be.
    clipped = np.clip(matrix, -1, 1)
    np.fill_diagonal(clipped, np.where(norms > 0, 1.0, np.nan))
    return [[float(value) if math.isfinite(value) else None for value in row] for row in clipped], count


def rebased(many: Sequence[Series], sessions: int, base: float = 100) -> tuple[list[date], list[list[float]]]:
    """Common sessions, and each series on them with its first value made `base`."""
    days = common_sessions(many, sessions)
    return days, [[series[day] / series[days[0]] * base for day in days] for series in many]
