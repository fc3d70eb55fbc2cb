"""Bars against pandas' own resampling of the same ticks, some of them sent twice."""

import math
import random
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tick_bars import bars
from tick_bars.hours import MINUTE, spans
from ticklake.errors import IntegrityError
from ticklake.ledger_table import SCHEMA

HOUR = datetime(2024, 6, 28, 14, tzinfo=UTC)
RULES = {"1m": "1min", "5m": "5min", "15m": "15min", "1h": "1h"}
SESSION = date(2024, 6, 28), datetime(2024, 6, 28, 13, 30, tzinfo=UTC), datetime(2024, 6, 28, 20, tzinfo=UTC)


def ticks(count: int, seed: int, symbols: tuple[str, ...] = ("AAPL", "MSFT"), seconds: int = 3600) -> pa.Table:
    """Ticks of the hour, or of as many seconds from it on, several at the same time."""
    chance = random.Random(seed)
    rows = [
        {
            "symbol": chance.choice(symbols),
            "event_time": HOUR + timedelta(seconds=chance.randrange(seconds)),
            "sequence": n,
            "price": round(chance.uniform(90, 110), 2),
            "volume": chance.choice((0, 0, 1, 100, 2**40)),
            "source": chance.choice(("simulated", "replay")),
            "producer_run": "r",
            "partition": 0,
            "offset": n,
            "append_time": HOUR,
        }
        for n in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def bar(symbol: str, source: str, start: datetime, part: pd.DataFrame) -> tuple[object, ...]:
    volume = int(part.volume.sum())
    vwap = (part.price * part.volume).sum() / volume if volume else part.price.mean()
    return (
        symbol,
        source,
        start,
        part.price.iloc[0],
        part.price.max(),
        part.price.min(),
        part.price.iloc[-1],
        vwap,
        volume,
        len(part),
        part.index[0],
        part.index[-1],
    )


NAMES = [
    "symbol",
    "source",
    "bar_start",
    "open",
    "high",
    "low",
    "close",
    "vwap",
    "volume",
    "tick_count",
    "first_event_time",
    "last_event_time",
]


def frame_of(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas().sort_values(["event_time", "sequence"]).set_index("event_time")


def expected(table: pa.Table, rule: str) -> pd.DataFrame:
    rows = [
        bar(symbol, source, start, part)
        for (symbol, source), group in frame_of(table).groupby(["symbol", "source"])
        for start, part in group.resample(rule)
        if len(part)
    ]
    return pd.DataFrame(rows, columns=NAMES)


def assert_same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    found = found.sort_values(["symbol", "source", "bar_start"])
    assert len(found) == len(wanted)
    for column in wanted.columns:
        if column == "vwap":
            assert found[column].tolist() == pytest.approx(wanted[column].tolist(), rel=1e-12)
        else:
            assert found[column].tolist() == wanted[column].tolist(), column


@given(seed=st.integers(0, 10_000), count=st.integers(1, 400), repeated=st.integers(0, 50))
def test_as_pandas_resamples(seed: int, count: int, repeated: int) -> None:
    table = ticks(count, seed)
    again = table.slice(0, repeated)
    again = again.set_column(8, "offset", pa.compute.add(again["offset"], count)).cast(table.schema)
    once = bars.distinct(pa.concat_tables([table, again]), table.slice(0, 0).select(bars.IDENTITY))
    assert once["offset"].to_pylist() == list(range(count))
    found = bars.intraday(bars.minutes(once), count).to_pandas()
    assert set(found.bar_length) == set(RULES)
    for length, rule in RULES.items():
        assert_same(found[found.bar_length == length], expected(table, rule))
    assert set(found.bar_date) == {HOUR.date()}


@given(seed=st.integers(0, 10_000), count=st.integers(1, 400))
def test_a_session_is_its_minutes_from_open_to_close(seed: int, count: int) -> None:
    table = ticks(count, seed, seconds=8 * 3600)
    day, opens, closes = SESSION
    found = bars.session(bars.minutes(table), day, opens, closes).to_pandas()
    frame = frame_of(table)
    frame = frame[(frame.index >= opens) & (frame.index < closes)]
    rows = [bar(*of, opens, part) for of, part in frame.groupby(["symbol", "source"])]  # type: ignore[misc]
    assert_same(found, pd.DataFrame(rows, columns=NAMES))
    assert set(found.bar_length) | set(found.bar_date) <= {"1d", day}


def test_the_least_and_greatest_ticks_make_finite_bars() -> None:
    table = ticks(400, 1)
    extremes = {
        "price": pa.array([(1e-12, 1e18)[n % 2] for n in range(400)]),
        "volume": pa.array([(10**12, 10**12 - 1, 0)[n % 3] for n in range(400)]),
    }
    for name, column in extremes.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    found = bars.intraday(bars.minutes(table), 400).to_pandas()
    assert found[["open", "high", "low", "close", "vwap"]].map(math.isfinite).all(axis=None)
    assert ((found.vwap > 0) & (found.vwap <= 1e18) & (found.volume >= 0)).all()
    # More than a double holds exactly.
    huge = table.set_column(4, "volume", pa.array([2**53 + 1] * 400)).cast(table.schema)
    assert bars.intraday(bars.minutes(huge), 400).num_rows == found.shape[0]


def test_what_is_known_is_not_new() -> None:
    table = ticks(20, 1)
    assert bars.distinct(table, table.slice(0, 15).select(bars.IDENTITY))["offset"].to_pylist() == list(range(15, 20))
    assert bars.distinct(table, table.select(bars.IDENTITY)).num_rows == 0


def test_bars_that_lack_a_tick() -> None:
    table = ticks(20, 1)
    with pytest.raises(IntegrityError, match="19 of 20 ticks are in the bars of 1m"):
        bars.intraday(bars.minutes(table.slice(1)), 20)


def test_no_tick() -> None:
    none = bars.minutes(ticks(1, 1).slice(0, 0))
    assert bars.intraday(none, 0).num_rows == 0
    assert bars.session(none, *SESSION).num_rows == 0


def test_minutes_as_spans() -> None:
    minutes = [HOUR + timedelta(minutes=number) for number in (0, 1, 2, 7, 9, 10)]
    assert spans([], MINUTE) == []
    assert spans(minutes, MINUTE) == [
        (minutes[0], HOUR + timedelta(minutes=3)),
        (minutes[3], HOUR + timedelta(minutes=8)),
        (minutes[4], HOUR + timedelta(minutes=11)),
    ]
