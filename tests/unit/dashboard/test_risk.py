"""Risk measures against values worked out by hand or by pandas."""

import math
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.lake import risk

DAY = date(2026, 1, 5)


def series(*prices: float, first: date = DAY) -> dict[date, float]:
    return {first + timedelta(days=n): price for n, price in enumerate(prices)}


def test_volatility_of_two_returns_by_hand():
    # Returns +10 % and -10 %: mean 0, squares 0.01 each, over n - 1 = 1: variance 0.02.
    assert risk.annualised_volatility(np.array([0.1, -0.1])) == pytest.approx(math.sqrt(0.02 * 252))


def test_drawdown_by_hand():
    prices = np.array([100.0, 120.0, 90.0, 108.0])
    assert list(risk.drawdowns(prices)) == pytest.approx([0, 0, -0.25, -0.1])


@pytest.mark.parametrize(
    ("level", "count", "worst"),
    # The k-th worst of n: P(L <= l) >= level holds from the (n - k + 1)-th smallest on.
    [(0.95, 100, 6), (0.99, 100, 2), (0.95, 20, 2), (0.99, 20, 1), (0.95, 252, 13), (0.99, 252, 3), (0.95, 2, 1)],
)
def test_value_at_risk_is_a_loss_that_occurred(level, count, worst):
    losses = [0.01 * (number + 1) for number in range(count)]
    returns = -np.array(losses)[np.random.default_rng(1).permutation(count)]
    assert risk.value_at_risk(returns, level) == pytest.approx(losses[count - worst])


def test_expected_shortfall_weighs_the_last_loss_by_its_share():
    returns = -np.array([0.05, 0.03, 0.01] + [0.0] * 27)
    # 5 % of 30 days are one and a half: (5 % + 3 % / 2) / 1.5.
    assert risk.expected_shortfall(returns, 0.95) == pytest.approx((0.05 + 0.015) / 1.5)
    assert risk.expected_shortfall(returns[:4], 0.95) == pytest.approx(0.05)


@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=300), st.sampled_from([0.95, 0.99]))
def test_expected_shortfall_is_no_smaller_than_value_at_risk(values, level):
    returns = np.array(values)
    assert risk.expected_shortfall(returns, level) >= risk.value_at_risk(returns, level) - 1e-12
    assert risk.value_at_risk(returns, level) in -returns


def test_measures_of_the_newest_returns_only():
    found = risk.measure(series(1000.0, 1.0, 100.0, 110.0, 99.0), 2)
    assert (found["from_"], found["to"], found["sessions"]) == (DAY + timedelta(2), DAY + timedelta(4), 2)
    assert (found["best_day"], found["worst_day"]) == (pytest.approx(0.1), pytest.approx(-0.1))
    assert (found["max_drawdown"], found["current_drawdown"]) == (pytest.approx(-0.1), pytest.approx(-0.1))
    assert found["value_at_risk_95"] == pytest.approx(0.1)


@pytest.mark.parametrize("prices", [(), (5.0,), (5.0, 6.0)])
def test_too_few_prices_measure_nothing(prices):
    found = risk.measure(series(*prices), 10)
    assert found["sessions"] == max(0, len(prices) - 1)
    assert {found[name] for name in ("volatility_annualised", "max_drawdown", "value_at_risk_99", "best_day")} == {None}


def test_correlation_is_that_of_pandas_over_common_sessions():
    chance = np.random.default_rng(7)
    one, two, three = (series(*np.exp(chance.normal(0, 0.02, 60).cumsum())) for _ in range(3))
    del one[DAY + timedelta(10)], three[DAY + timedelta(59)]
    matrix, count = risk.correlation([one, two, three], 40)
    frame = pd.DataFrame([one, two, three]).T.sort_index().dropna().tail(41)
    np.testing.assert_allclose(matrix, frame.pct_change().corr(), atol=1e-12)
    assert (count, matrix[0][0], matrix[1][0]) == (40, 1.0, matrix[0][1])


def test_correlation_is_null_where_it_is_undefined():
    flat, moving = series(5.0, 5.0, 5.0, 5.0), series(5.0, 6.0, 5.0, 7.0)
    assert risk.correlation([flat, moving], 10) == ([[None, None], [None, 1.0]], 3)
    late = series(1.0, 2.0, first=DAY + timedelta(100))
    assert risk.correlation([moving, late], 10) == ([[None, None], [None, None]], 0)
    assert risk.correlation([], 10) == ([], 0)


def test_rebased_starts_at_the_first_common_session():
    days, lines = risk.rebased([series(1.0, 2.0, 3.0), series(50.0, 25.0, first=DAY + timedelta(1))], 10)
    assert days == [DAY + timedelta(1), DAY + timedelta(2)]
    assert lines == [[100.0, 150.0], [100.0, 50.0]]
    assert risk.rebased([series(1.0), series(1.0, first=DAY + timedelta(9))], 10) == ([], [[], []])
