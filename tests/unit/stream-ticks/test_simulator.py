"""The simulator's statistics, its repeatability and the bytes of its messages."""

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_ticks.simulator import Encoder, Rounds, Simulator, Start, intraday_weight
from ticklake.records import Source, Tick

OPEN = 1_769_783_400_000  # Friday 2026-01-30T14:30:00Z, the open in New York (winter)
STARTS = [Start(100.0, 0.3), Start(20.0, 0.6)]


def test_one_seed_gives_one_path_in_however_many_pieces() -> None:
    whole = Simulator(STARTS, 7, OPEN, 2000).next(1000)
    pieces = Simulator(STARTS, 7, OPEN, 2000)
    parts = [pieces.next(n) for n in (1, 10, 489, 500)]
    assert [part.first for part in parts] == [0, 1, 11, 500]
    for name in ("event_ms", "prices", "volumes"):
        assert np.array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in parts]))
    other = Simulator(STARTS, 8, OPEN, 2000).next(1000)
    assert not np.array_equal(whole.prices, other.prices)


def test_log_returns_have_the_symbols_volatility() -> None:
    # 100,000 rounds of a minute: the standard error of a standard deviation is 1/sqrt(2n), 0.22 %.
    rounds = Simulator([Start(1e6, 0.3), Start(1e6, 0.6)], 1, OPEN, 60_000).next(100_000)
    returns = np.diff(np.log(rounds.prices), axis=0)
    minutes_a_year = 252 * 390
    assert returns.std(axis=0) * math.sqrt(minutes_a_year) == pytest.approx([0.3, 0.6], rel=0.01)
    assert abs(np.corrcoef(returns.T)[0, 1]) < 0.02


def test_prices_have_four_decimals_and_stay_above_zero() -> None:
    rounds = Simulator([Start(0.0002, 5.0)], 1, OPEN, 3_600_000).next(5000)
    assert rounds.prices.min() >= 0.0001
    assert all(round(price, 4) == price for price in rounds.prices[:, 0].tolist())
    assert rounds.volumes.min() >= 1


def test_event_times_are_even_and_can_be_moved() -> None:
    simulator = Simulator(STARTS, 1, OPEN, 0.8)
    assert (simulator.next(6).event_ms - OPEN).tolist() == [0, 0, 1, 2, 3, 4]
    simulator.move(800)
    assert (simulator.next(2).event_ms - OPEN).tolist() == [804, 805]
    simulator.move(-1000)
    assert (simulator.next(2).event_ms - OPEN).tolist() == [-194, -193]


@pytest.mark.parametrize(
    ("utc", "weight"),
    [
        ("2026-01-30T14:30:00", 2.0),
        ("2026-01-30T17:45:00", 0.5),
        ("2026-01-30T21:00:00", 2.0),
        ("2026-01-30T14:29:59", 0.1),
        ("2026-01-30T03:00:00", 0.1),
        ("2026-07-30T13:30:00", 2.0),
        ("2026-07-30T16:45:00", 0.5),
        ("2026-07-30T20:00:00", 2.0),
    ],
)
def test_volume_is_u_shaped_over_the_session_in_new_york(utc: str, weight: float) -> None:
    at = datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp() * 1000
    assert intraday_weight(np.array([at], dtype=np.int64)) == pytest.approx([weight], rel=1e-3)


def test_the_weight_is_one_on_average_over_a_session() -> None:
    assert intraday_weight(np.arange(OPEN, OPEN + 23_400_000, 1000)).mean() == pytest.approx(1, rel=1e-3)


@given(
    st.integers(1, 10**13),
    st.integers(0, 10**12),
    st.integers(0, 4_102_444_800_000),
    st.integers(0, 2**40),
    st.from_regex(r"[A-Z0-9^][A-Z0-9.^=&-]{0,19}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9._:-]{1,100}", fullmatch=True),
    st.sampled_from(Source),
)
def test_messages_are_the_bytes_of_the_model(
    price: int, volume: int, event_ms: int, sequence: int, symbol: str, run: str, source: Source
) -> None:
    rounded = float(np.round(price / 1e4, 4))
    rounds = Rounds(sequence, np.array([event_ms]), np.array([[rounded]]), np.array([[volume]]))
    [(key, value)] = Encoder([symbol], run, source).messages(rounds)
    tick = Tick(
        symbol=symbol,
        price=rounded,
        volume=volume,
        sequence=sequence,
        producer_run=run,
        source=source,
        event_time=datetime.fromtimestamp(event_ms // 1000, UTC).replace(microsecond=event_ms % 1000 * 1000),
    )
    assert (key, value) == (symbol.encode(), tick.model_dump_json().encode())
    assert Tick.model_validate_json(value) == tick
    assert json.loads(value)["price"] == rounded
