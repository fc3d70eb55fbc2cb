"""Minute and hour bars from ticks."""

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from ticklake.tables import TICK_BAR_COLUMNS, arrow_schema

LENGTHS = {"1m": "minute", "1h": "hour"}
"""Bar lengths and Arrow's words for them."""

_KEYS = ["symbol", "source", "bar_start"]
_IDENTITY = ["producer_run", "symbol", "sequence"]
SCHEMA = arrow_schema(TICK_BAR_COLUMNS, "ms")
"""`tables.TICK_BAR_COLUMNS` in Arrow's types."""


def within(ticks: pa.Table, hour: datetime) -> pa.Table:
    """The rows of an archived file whose event time lies in the hour that begins at `hour`."""
    start, end = (pa.scalar(moment, ticks["event_time"].type) for moment in (hour, hour + timedelta(hours=1)))
    return ticks.filter(pc.and_(pc.greater_equal(ticks["event_time"], start), pc.less(ticks["event_time"], end)))


def distinct(ticks: pa.Table) -> pa.Table:
    """Each tick once: of those that a producer sent under several offsets, the one with the first."""
    first = ticks.group_by(_IDENTITY).aggregate([("offset", "min")])["offset_min"]
    return ticks.filter(pc.is_in(ticks["offset"], value_set=first.combine_chunks()))


def make(ticks: pa.Table, length: str) -> pa.Table:
    """Bars of `length` (`1m` or `1h`), sorted by symbol, source and start, with `SCHEMA`'s columns.

    Args:
        ticks: distinct ticks of one partition, in any order.
    """
    ordered = ticks.sort_by([(name, "ascending") for name in ("symbol", "event_time", "sequence")])
    start = pc.floor_temporal(ordered["event_time"], unit=LENGTHS[length])
    turnover = pc.multiply(ordered["price"], ordered["volume"].cast(pa.float64()))
    bars = (
        ordered.append_column("bar_start", start)
        .append_column("turnover", turnover)
        .group_by(_KEYS, use_threads=False)  # one thread keeps the order, on which first and last depend
        .aggregate(
            [
                ("price", "first"), ("price", "max"), ("price", "min"), ("price", "last"), ("price", "mean"),
                ("price", "count"), ("volume", "sum"), ("turnover", "sum"), ("event_time", "first"),
                ("event_time", "last"),
            ]
        )
        .sort_by([(name, "ascending") for name in _KEYS])
    )  # fmt: skip
    traded = pc.greater(bars["volume_sum"], 0)
    by_volume = pc.divide(bars["turnover_sum"], pc.if_else(traded, bars["volume_sum"], 1).cast(pa.float64()))
    columns = {
        "symbol": bars["symbol"], "bar_length": pa.array([length] * bars.num_rows, pa.string()),
        "bar_start": bars["bar_start"], "open": bars["price_first"], "high": bars["price_max"],
        "low": bars["price_min"], "close": bars["price_last"],
        "vwap": pc.if_else(traded, by_volume, bars["price_mean"]), "volume": bars["volume_sum"],
        "tick_count": bars["price_count"], "first_event_time": bars["event_time_first"],
        "last_event_time": bars["event_time_last"], "source": bars["source"],
    }  # fmt: skip
    return pa.table(columns).cast(SCHEMA)
