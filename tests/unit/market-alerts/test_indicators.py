"""Each formula against TA-Lib, or against NumPy here, at every tick."""

from typing import Any

import numpy as np
import pytest
import talib

from market_alerts.rules import Rule
from market_alerts.rules.ma_cross import Ema, sma
from market_alerts.rules.rsi import WilderAverages
from market_alerts.rules.volatility import realised_volatility
from market_alerts.rules.volume_spike import volume_ratio
from market_alerts.rules_file import parse_rules
from market_alerts.series import Series

MINUTE = 60_000
START = 29_400_000 * MINUTE


def rules(*entries: dict[str, Any]) -> tuple[Rule, ...]:
    return parse_rules({"rules": [{"name": f"r{number}"} | entry for number, entry in enumerate(entries)]})


EVERY = rules(
    {"kind": "rsi", "period": 14, "over": 70},
    {"kind": "ma_cross", "average": "ema", "short": 5, "long": 20},
    {"kind": "ma_cross", "average": "sma", "short": 4, "long": 30},
    {"kind": "volatility", "window": "30m", "above": 50},
    {"kind": "volume_spike", "bars": 10, "factor": 3},
)


def rsi(series: Series) -> float | None:
    return series.history.indicator(WilderAverages, 14).rsi(series.history.bars)


def ema(series: Series, period: int) -> float | None:
    return series.history.indicator(Ema, period).value(series.history.bars)


@pytest.fixture(scope="module")
def path() -> tuple[Any, Any]:
    """Prices and volumes of 3 ticks in each of 150 minutes."""
    rng = np.random.default_rng(7)
    prices = np.round(100 * np.exp(np.cumsum(rng.normal(0, 1e-3, (150, 3)).ravel())), 4).reshape(150, 3)
    return prices, rng.integers(1, 1000, (150, 3))


@pytest.mark.parametrize("lateness_ms", [0, 10_000, 60_000])
def test_averages_and_rsi_are_ta_libs_at_every_tick(path: tuple[Any, Any], lateness_ms: int) -> None:
    prices, volumes = path
    series = Series("AAPL", EVERY, lateness_ms)
    compared = 0
    for minute in range(150):
        for tick in range(3):
            at = START + minute * MINUTE + tick * 20_000
            series.add(at, float(prices[minute, tick]), int(volumes[minute, tick]))
            closes = np.append(prices[:minute, 2], prices[minute, tick])
            for ours, theirs in (
                (rsi(series), talib.RSI(closes, 14)[-1] if minute >= 14 else np.nan),
                (ema(series, 5), talib.EMA(closes, 5)[-1] if minute >= 4 else np.nan),
                (ema(series, 20), talib.EMA(closes, 20)[-1] if minute >= 19 else np.nan),
                (sma(series.history.bars, 4), talib.SMA(closes, 4)[-1] if minute >= 3 else np.nan),
                (sma(series.history.bars, 30), talib.SMA(closes, 30)[-1] if minute >= 29 else np.nan),
            ):
                if np.isnan(theirs):
                    assert ours is None
                else:
                    assert ours == pytest.approx(theirs, rel=1e-9)
                    compared += 1
    assert compared > 1800


def test_realised_volatility(path: tuple[Any, Any]) -> None:
    prices, _ = path
    series = Series("AAPL", EVERY, 10_000)
    for minute in range(150):
        for tick in range(3):
            series.add(START + minute * MINUTE + tick * 20_000, float(prices[minute, tick]), 1)
            closes = np.append(prices[:minute, 2], prices[minute, tick])[-31:]
            returns = np.diff(np.log(closes))
            found = realised_volatility(series.history.bars, 30)
            if minute < 15:
                assert found is None
            else:
                assert found == pytest.approx(100 * np.sqrt(np.mean(returns**2) * 252 * 390), rel=1e-9)


def test_volatility_counts_minutes_that_have_no_bar() -> None:
    series = Series("AAPL", EVERY, 0)
    minutes, prices = [0, 1, 5, 6, 12, 20, 21], [100.0, 101, 100, 102, 101, 103, 102]
    for minute, price in zip(minutes, prices, strict=True):
        series.add(START + minute * MINUTE, price, 1)
    squares = float(np.sum(np.diff(np.log(prices)) ** 2))
    assert realised_volatility(series.history.bars, 30) == pytest.approx(
        100 * np.sqrt(squares / 21 * 98_280), rel=1e-12
    )
    # 35 minutes on, the first bar in the window is that of minute 5.
    series.add(START + 35 * MINUTE, 102.0, 1)
    squares = float(np.sum(np.diff(np.log([100.0, 102, 101, 103, 102, 102])) ** 2))
    assert realised_volatility(series.history.bars, 30) == pytest.approx(
        100 * np.sqrt(squares / 30 * 98_280), rel=1e-12
    )


@pytest.mark.parametrize("lateness_ms", [0, 30_000])
def test_volume_ratio(path: tuple[Any, Any], lateness_ms: int) -> None:
    _, volumes = path
    series = Series("AAPL", EVERY, lateness_ms)
    for minute in range(150):
        for tick in range(3):
            series.add(START + minute * MINUTE + tick * 20_000, 100.0, int(volumes[minute, tick]))
            full = volumes[:minute].sum(axis=1)
            running = volumes[minute, : tick + 1].sum()
            found = volume_ratio(series.history.bars, 10)
            if minute < 10:
                assert found is None
                continue
            ratios = [running / full[-10:].mean()]
            if minute > 10:
                ratios.append(full[-1] / full[-11:-1].mean())
            assert found == pytest.approx(max(ratios), rel=1e-12)


def test_what_has_no_value_has_none() -> None:
    series = Series("AAPL", EVERY, 0)
    for minute in range(60):
        series.add(START + minute * MINUTE, 100.0, 0)
    assert rsi(series) is None
    assert volume_ratio(series.history.bars, 10) is None
    assert realised_volatility(series.history.bars, 30) == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_ticks_within_the_bound_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = np.sort(rng.choice(np.arange(0, 90 * MINUTE, 500), 2000, replace=False)) + START
    ticks = list(
        zip(at.tolist(), (100 + rng.normal(0, 1, 2000)).tolist(), rng.integers(1, 99, 2000).tolist(), strict=True)
    )
    shaken = sorted(ticks, key=lambda tick: tick[0] + rng.uniform(0, 9_999))
    assert shaken != ticks
    one, other = Series("AAPL", EVERY, 10_000), Series("AAPL", EVERY, 10_000)
    for series, order in ((one, ticks), (other, shaken)):
        for event_ms, price, volume in order:
            assert series.add(event_ms, price, volume) is not None
        series.add(START + 91 * MINUTE, 100.0, 1)
    assert one.history.dump() == other.history.dump()
