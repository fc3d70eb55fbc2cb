"""Bars against pandas' own resampling of the same ticks, some of them sent twice."""

import random
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive_ticks import bars
from ticklake.ledger_table import SCHEMA

HOUR = datetime(2024, 6, 28, 14, tzinfo=UTC)


def ticks(count: int, seed: int, symbols: tuple[str, ...] = ("AAPL", "MSFT")) -> pa.Table:
    """Ticks from ten minutes before the hour to ten after it, several at the same time."""
    chance = random.Random(seed)
    rows = [
        {
            "symbol": chance.choice(symbols), "event_time": HOUR + timedelta(seconds=chance.randrange(-600, 4200)),
            "sequence": n, "price": round(chance.uniform(90, 110), 2), "volume": chance.choice((0, 0, 1, 100, 2**40)),
            "source": chance.choice(("simulated", "alpha_vantage")), "producer_run": "r", "partition": 0, "offset": n,
            "append_time": HOUR,
        }
        for n in range(count)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def expected(table: pa.Table, rule: str) -> pd.DataFrame:
    frame = table.to_pandas()
    frame = frame[(frame.event_time >= HOUR) & (frame.event_time < HOUR + timedelta(hours=1))]
    frame = frame.sort_values(["event_time", "sequence"]).set_index("event_time")
    rows = []
    for (symbol, source), group in frame.groupby(["symbol", "source"]):
        for start, part in group.resample(rule):
            if len(part):
                volume = int(part.volume.sum())
                vwap = (part.price * part.volume).sum() / volume if volume else part.price.mean()
                rows.append(
                    (symbol, source, start, part.price.iloc[0], part.price.max(), part.price.min(),
                     part.price.iloc[-1], vwap, volume, len(part), part.index[0], part.index[-1])
                )  # fmt: skip
    names = ["symbol", "source", "bar_start", "open", "high", "low", "close", "vwap", "volume", "tick_count",
             "first_event_time", "last_event_time"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


@pytest.mark.parametrize(("length", "rule"), [("1m", "1min"), ("1h", "1h")])
@given(seed=st.integers(0, 10_000), count=st.integers(1, 400), repeated=st.integers(0, 50))
def test_as_pandas_resamples(length: str, rule: str, seed: int, count: int, repeated: int) -> None:
    table = ticks(count, seed)
    again = table.slice(0, repeated)
    again = again.set_column(8, "offset", pa.compute.add(again["offset"], count)).cast(table.schema)
    found = bars.make(bars.distinct(bars.within(pa.concat_tables([again, table]), HOUR)), length)
    assert found.schema == bars.SCHEMA
    wanted = expected(table, rule)
    assert found.num_rows == len(wanted)
    frame = found.to_pandas()
    assert set(frame.bar_length) <= {length}
    for column in wanted.columns:
        if column == "vwap":
            assert frame[column].tolist() == pytest.approx(wanted[column].tolist(), rel=1e-12)
        else:
            assert frame[column].tolist() == wanted[column].tolist(), column


def test_no_tick_in_the_hour() -> None:
    table = ticks(50, 1)
    early = table.filter(pa.compute.less(table["event_time"], pa.scalar(HOUR, SCHEMA.field("event_time").type)))
    assert early.num_rows
    assert bars.within(early, HOUR).num_rows == 0
