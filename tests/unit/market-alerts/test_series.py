"""When rules raise and clear: each kind at its edges, cooldowns, hysteresis, ticks out of order, restarts."""

import json
import math
from typing import Any

import numpy as np
import pytest
import talib

from market_alerts.rules.change_percent import SlidingWindow
from market_alerts.rules.ma_cross import Ema
from market_alerts.rules_file import parse_rules
from market_alerts.series import Series

START = 1_770_000_000_000
MINUTE_START = START - START % 60_000


def series(entry: dict[str, Any], lateness_ms: int = 0) -> Series:
    return Series("AAPL", parse_rules({"rules": [{"name": "r", "cooldown": "0s"} | entry]}), lateness_ms)


def feed(watched: Series, *ticks: tuple[float, float], volume: int = 1, start: int = START) -> list[str]:
    """Ticks (second, price); gives `second state condition` of each change."""
    found: list[str] = []
    for second, price in ticks:
        changes = watched.add(start + round(second * 1000), price, volume) or ()
        found += [f"{second:g} {change.state} {change.condition.name}" for change in changes]
    return found


def cross(direction: str = "either", **more: Any) -> Series:
    return series({"kind": "price_cross", "level": 100, "direction": direction} | more)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("up", ["2 raised up", "4 cleared up", "5 raised up"]),
        ("down", ["4 raised down", "5 cleared down"]),
        ("either", ["2 raised up", "4 cleared up", "4 raised down", "5 cleared down", "5 raised up"]),
    ],
)
def test_a_price_crosses_a_level(direction: str, expected: list[str]) -> None:
    assert feed(cross(direction), (0, 98), (1, 99.9), (2, 101), (3, 103), (4, 99), (5, 100.5)) == expected


def test_a_price_that_reaches_the_level_crosses_it_and_one_that_starts_beyond_does_not() -> None:
    assert feed(cross("up"), (0, 99), (1, 100)) == ["1 raised up"]
    assert feed(cross("down"), (0, 101), (1, 100)) == ["1 raised down"]
    assert feed(cross("up"), (0, 105), (1, 106)) == []
    assert feed(cross(), (0, 100), (1, 100), (2, 101)) == []


def test_hysteresis_suppresses_a_trembling_price() -> None:
    around = [(n, 100 + (0.2 if n % 2 else -0.2)) for n in range(1, 9)]
    assert len(feed(cross("up"), (0, 98), *around)) == 8
    assert feed(cross("up", hysteresis=0.5), (0, 98), *around, (9, 99.5), (10, 99.4), (11, 100)) == [
        "1 raised up",
        "10 cleared up",
        "11 raised up",
    ]


def test_the_cooldown_suppresses_and_a_condition_that_still_holds_raises_at_its_end() -> None:
    watched = cross("up", cooldown="60s")
    assert feed(watched, (0, 99), (1, 101), (2, 99), (3, 101), (4, 102), (60.9, 102), (61, 102), (62, 103)) == [
        "1 raised up",
        "2 cleared up",
        "3 suppressed up",
        "61 raised up",
    ]
    # What ended within the cooldown is never raised.
    assert feed(watched, (63, 99), (64, 101), (65, 98), (130, 98), (131, 100)) == [
        "63 cleared up",
        "64 suppressed up",
        "131 raised up",
    ]


def test_the_cooldown_is_the_rules_not_the_directions() -> None:
    watched = cross("either", cooldown="60s")
    assert feed(watched, (0, 99), (1, 101), (2, 99), (70, 99)) == [
        "1 raised up",
        "2 cleared up",
        "2 suppressed down",
        "70 raised down",
    ]


def change(**more: Any) -> dict[str, Any]:
    return {"kind": "change_percent", "window": "60s", "percent": 2} | more


def test_change_is_against_the_first_price_in_the_window() -> None:
    watched = series(change())
    assert feed(watched, (0, 100), (30, 101.9), (59, 102)) == ["59 raised up"]
    # At 60.0 s the first tick is still in the window, at 61 s the one of 30 s is the oldest.
    assert feed(watched, (60, 102), (61, 102.5)) == ["61 cleared up"]
    watched = series(change(direction="down"))
    assert feed(watched, (0, 100), (10, 98), (20, 98.5)) == ["10 raised down", "20 cleared down"]
    assert feed(series(change(direction="up")), (0, 100), (10, 98)) == []
    assert feed(series(change(hysteresis=1)), (0, 100), (1, 102), (2, 101), (3, 100.9)) == [
        "1 raised up",
        "3 cleared up",
    ]


def test_a_window_after_a_gap_starts_again() -> None:
    assert feed(series(change()), (0, 100), (3600, 150), (3601, 150)) == []


def test_memory_is_bounded_by_the_rules() -> None:
    watched = series(change(window="1h"), 10_000)
    for n in range(20_000):
        watched.add(START + n * 400, 100 + n / 1000, 1)
    window = watched.history.indicator(SlidingWindow, 3_600_000)
    assert len(window.dump()) <= 241
    # A slice is 15 s, up to 38 ticks: the oldest sample lies at most that much inside the window.
    now, then = 100 + 19_999 / 1000, 100 + (19_999 - 9_000) / 1000
    assert 100 * (now / (then + 0.038) - 1) <= watched.rules[0].rule.measure(watched.history) <= 100 * (now / then - 1)
    assert len(watched.history.bars.closes) == 1


def test_rsi_over_and_under() -> None:
    watched = series({"kind": "rsi", "period": 2, "over": 70, "under": 30, "hysteresis": 5})
    # Averages of 2 moves: gains 1, 1 then the falls; 100 g / (g + l), by hand.
    minutes = [(0, 10), (60, 11), (120, 12), (180, 11.5), (240, 10), (300, 9), (360, 12)]
    assert feed(watched, *minutes, start=MINUTE_START) == [
        "120 raised over",  # 100
        # 180: g 0.5, l 0.25: 66.7, between 65 and 70
        "240 cleared over",  # g 0.25, l 0.875: 22.2
        "240 raised under",
        "360 cleared under",  # g 0.0625 + 1.5, l 0.46875: 76.9
        "360 raised over",
    ]


def test_volume_spike_raises_within_the_bar_and_clears_after_a_normal_one() -> None:
    watched = series({"kind": "volume_spike", "bars": 3, "factor": 3})
    found = []
    for minute, volumes in enumerate([[10], [20], [30], [20, 20, 20], [5, 5], [30], [20]]):
        for place, volume in enumerate(volumes):
            found += feed(watched, (60 * minute + place, 100), volume=volume, start=MINUTE_START)
    # The mean before minute 3 is 20: 60 is 3 times that. Its bar keeps the alert through minute 4, whose 10 clear it.
    assert found == ["182 raised above", "300 cleared above"]


@pytest.mark.parametrize(("average", "theirs"), [("sma", talib.SMA), ("ema", talib.EMA)])
def test_moving_averages_cross(average: str, theirs: Any) -> None:
    prices = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, 200)))
    gap = np.round(theirs(prices, 3) - theirs(prices, 9), 12)
    sides = {n: gap[n] > 0 for n in range(8, 200)}
    expected: list[str] = []
    for n in range(9, 200):
        if sides[n] != sides[n - 1]:
            new, old = ("up", "down") if sides[n] else ("down", "up")
            expected += [f"{60 * n} cleared {old}"] * bool(expected) + [f"{60 * n} raised {new}"]
    watched = series({"kind": "ma_cross", "average": average, "short": 3, "long": 9})
    ticks = [(60 * n, float(price)) for n, price in enumerate(prices)]
    assert feed(watched, *ticks, start=MINUTE_START) == expected
    assert len(expected) > 20


def test_equal_averages_do_not_cross() -> None:
    flat = series({"kind": "ma_cross", "short": 2, "long": 4})
    assert feed(flat, *[(60 * n, 10.1) for n in range(50)], start=MINUTE_START) == []


def test_volatility_rises_above_a_limit_and_falls() -> None:
    watched = series({"kind": "volatility", "window": "10m", "above": 50, "hysteresis": 10})
    calm = [(60 * n, 100 + 0.001 * (n % 2)) for n in range(12)]
    wild = [(60 * n, 100 + 0.5 * (n % 2)) for n in range(12, 20)]
    after = [(60 * n, 100.0) for n in range(20, 40)]
    found = feed(watched, *calm, *wild, *after, start=MINUTE_START)
    # One return of 0.5 % in ten minutes is sqrt(0.005² / 10 x 98280) = 49.6 % a year, two are 70.1 %.
    assert found[0].split()[1:] == ["raised", "above"]
    assert 780 <= int(found[0].split()[0]) <= 840
    assert found[1].split()[1:] == ["cleared", "above"]
    assert len(found) == 2


def test_a_late_tick_counts_but_says_nothing_of_now() -> None:
    watched = series({"kind": "price_cross", "level": 100, "direction": "up"}, lateness_ms=10_000)
    assert feed(watched, (0, 99), (20, 99), (15, 105), (21, 99.5)) == []
    assert watched.add(START + 10_999, 105.0, 1) is None
    assert watched.add(START + 11_000, 105.0, 1) == ()
    assert feed(watched, (21, 101)) == ["21 raised up"]


def test_late_ticks_correct_the_window() -> None:
    watched = series(change(), lateness_ms=10_000)
    assert feed(watched, (5, 100), (4, 97), (6, 100)) == ["6 raised up"]


def test_ticks_from_before_the_start_raise_nothing_but_set_sides() -> None:
    watched = cross("up")
    for second, price in ((0, 99), (1, 101)):
        assert watched.add(START + second * 1000, price, 1, silent=True) == []
    # The crossing is over: only the next one raises.
    assert feed(watched, (2, 102), (3, 99), (4, 101)) == ["4 raised up"]
    watched = series(change())
    watched.add(START, 100, 1, silent=True)
    watched.add(START + 1000, 105, 1, silent=True)
    # A condition that still holds raises at the first tick that counts.
    assert feed(watched, (2, 105)) == ["2 raised up"]


ALL_KINDS = [
    {"name": "cross", "kind": "price_cross", "level": 100, "cooldown": "30s", "hysteresis": 0.1},
    {"name": "move", "kind": "change_percent", "window": "2m", "percent": 1, "cooldown": "2m"},
    {"name": "vola", "kind": "volatility", "window": "10m", "above": 60},
    {"name": "rsi", "kind": "rsi", "over": 60, "under": 40, "cooldown": "0s"},
    {"name": "vol", "kind": "volume_spike", "bars": 5, "factor": 1.5, "cooldown": "0s"},
    {"name": "sma", "kind": "ma_cross", "average": "sma", "short": 3, "long": 8, "cooldown": "0s"},
    {"name": "ema", "kind": "ma_cross", "average": "ema", "short": 3, "long": 8, "cooldown": "0s"},
]


@pytest.mark.parametrize("pattern", [(1e-12, 1e18), (1e18, 1e-12), (1e18, 1e18, 1e-12), (1e-12,) * 40 + (1e18,) * 40])
@pytest.mark.parametrize("volumes", [(0, 10**12), (10**12, 0), (10**12,)])
def test_the_least_and_greatest_ticks_measure_finite_values(
    pattern: tuple[float, ...], volumes: tuple[int, ...]
) -> None:
    watched, raised = Series("AAPL", parse_rules({"rules": ALL_KINDS}), 5000), set[str]()
    measured = dict.fromkeys((entry["name"] for entry in ALL_KINDS), 0)
    for number in range(400):
        price, volume = pattern[number % len(pattern)], volumes[number % len(volumes)]
        for change in watched.add(START + 20_000 * number, price, volume) or ():
            raised.add(change.rule.name)
            assert change.rule.message(change.condition, change.value)
        for state in watched.rules:
            if (value := state.rule.measure(watched.history)) is not None:
                assert math.isfinite(value), state.rule.name
                measured[state.rule.name] += 1
    assert all(measured.values())
    assert {"cross", "move", "vola"} <= raised
    json.dumps(watched.dump(), allow_nan=False)


def test_a_restored_series_goes_on_as_if_nothing_had_been() -> None:
    rules = parse_rules({"rules": ALL_KINDS})
    rng = np.random.default_rng(5)
    prices = (100 * np.exp(np.cumsum(rng.normal(0, 1e-3, 2000)))).tolist()
    volumes = np.rint(np.exp(rng.normal(3, 2, 2000))).astype(int).tolist()
    # Some ticks come out of order, within the bound and beyond it.
    shift = [int(late) if n % 9 == 0 else 0 for n, late in enumerate(rng.integers(0, 8000, 2000))]
    ticks = [(START + 1700 * n - shift[n], prices[n], volumes[n]) for n in range(2000)]
    whole, changing = Series("AAPL", rules, 5000), Series("AAPL", rules, 5000)
    expected: list[Any] = []
    found: list[Any] = []
    for number, tick in enumerate(ticks):
        expected += [(c.rule.name, c.state, c.event_ms, c.value) for c in whole.add(*tick) or ()]
        found += [(c.rule.name, c.state, c.event_ms, c.value) for c in changing.add(*tick) or ()]
        if number % 97 == 96:
            saved = json.loads(json.dumps(changing.dump()))
            changing = Series("AAPL", rules, 5000)
            changing.restore(saved)
    assert {name for name, *_ in expected} == {entry["name"] for entry in ALL_KINDS}
    assert found == expected


def test_a_changed_rule_starts_again_and_a_new_one_is_starts_from_the_bars() -> None:
    cross = {"name": "cross", "kind": "price_cross", "level": 100, "direction": "up"}
    average = {"name": "sma", "kind": "ma_cross", "average": "sma", "short": 3, "long": 30}
    old = parse_rules({"rules": [cross, average]})
    before = Series("AAPL", old, 0)
    feed(before, *[(60 * n, 90 + n % 15) for n in range(60)], start=MINUTE_START)
    average = {"name": "ema", "kind": "ma_cross", "short": 3, "long": 20}
    new = parse_rules({"rules": [cross | {"level": 101}, average]})
    after = Series("AAPL", new, 0)
    after.restore(json.loads(json.dumps(before.dump())))
    assert after.history.indicator(Ema, 20).state.seen == 30  # as many bars as the old rules held
    assert feed(after, (3600, 102), (3660, 99), (3720, 101), start=MINUTE_START) == ["3720 raised up"]
