"""Bars from ticks: those of a minute from the ticks themselves, longer ones from the minutes' sums.

Nothing is lost by that: a longer bar's first, last, highest and lowest price, volume and count are those of its
minutes, and average prices are made of the minutes' sums of price and of price x volume.
"""

from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from ticklake.errors import IntegrityError
from ticklake.tables import TICK_BARS, arrow_schema

INTRADAY = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
}
"""Lengths whose bars lie within one hour."""
SESSION = "1d"

IDENTITY = ("producer_run", "symbol", "sequence")
SCHEMA = arrow_schema(column for column in TICK_BARS.columns if column.name != "flow")

_KEYS = ["symbol", "source", "bar_start"]
_TIME = pa.timestamp("us", "UTC")


def distinct(ticks: pa.Table, known: pa.Table) -> pa.Table:
    """Each tick once: of those that a producer sent under several offsets, the one that comes first.

    Args:
        ticks: in the order of their archive; all that have an identity in common are of one partition.
        known: identities that are out.
    """
    numbered = ticks.append_column("place", pa.array(range(ticks.num_rows), pa.int64()))
    first = numbered.group_by(list(IDENTITY)).aggregate([("place", "min")])
    new = first.join(known.select(IDENTITY), list(IDENTITY), join_type="left anti")
    return ticks.take(new["place_min"].combine_chunks().sort())


def minutes(ticks: pa.Table) -> pa.Table:
    """The sums of each minute: a row per symbol, source and `bar_start`.

    Args:
        ticks: distinct, in any order.
    """
    ordered = ticks.sort_by([(name, "ascending") for name in ("symbol", "event_time", "sequence")])
    turnover = pc.multiply(ordered["price"], ordered["volume"].cast(pa.float64(), safe=False))
    return _together(
        ordered.select(["symbol", "source"])
        .append_column("bar_start", pc.floor_temporal(ordered["event_time"].cast(_TIME), unit="minute"))
        .append_column("turnover", turnover)
        .append_column("volume", ordered["volume"])
        .append_column("tick_count", pa.repeat(pa.scalar(1, pa.int64()), ordered.num_rows))
        .append_column("first_event_time", ordered["event_time"].cast(_TIME))
        .append_column("last_event_time", ordered["event_time"].cast(_TIME)),
        dict.fromkeys(("open", "high", "low", "close", "price_sum"), ordered["price"]),
    )


def _together(rows: pa.Table, prices: dict[str, pa.ChunkedArray]) -> pa.Table:
    """Rows in order of time, with `prices` as further columns, put together by their keys."""
    for name, column in prices.items():
        rows = rows.append_column(name, column)
    kinds = {
        "open": "first",
        "high": "max",
        "low": "min",
        "close": "last",
        "price_sum": "sum",
        "turnover": "sum",
        "volume": "sum",
        "tick_count": "sum",
        "first_event_time": "first",
        "last_event_time": "last",
    }
    # One thread keeps the order, on which first and last depend.
    found = rows.group_by(_KEYS, use_threads=False).aggregate(list(kinds.items()))
    renamed = {name: found[f"{name}_{kind}"] for name, kind in kinds.items()}
    return pa.table({name: found[name] for name in _KEYS} | renamed)


def intraday(sums: pa.Table, ticks: int) -> pa.Table:
    """The bars of all lengths up to an hour, with `SCHEMA`'s columns.

    Args:
        sums: of the minutes of one hour or more.
        ticks: in these minutes.

    Raises:
        IntegrityError: the bars of a length have another number of ticks.
    """
    made = []
    for length, width in INTRADAY.items():
        start = pc.floor_temporal(sums["bar_start"], int(width.total_seconds()) // 60, "minute")
        made.append(_finished(_joined(sums, start), length))
        if (counted := pc.sum(made[-1]["tick_count"]).as_py() or 0) != ticks:
            raise IntegrityError(f"{counted} of {ticks} ticks are in the bars of {length}")
    return pa.concat_tables(made)


def session(sums: pa.Table, day: date, opens: datetime, closes: datetime) -> pa.Table:
    """The bars of a session from its minutes; those before its open and from its close on are left out."""
    start, end = pa.scalar(opens, _TIME), pa.scalar(closes, _TIME)
    own = sums.filter(pc.and_(pc.greater_equal(sums["bar_start"], start), pc.less(sums["bar_start"], end)))
    return _finished(_joined(own, pa.chunked_array([pa.repeat(start, own.num_rows)])), SESSION, day)


def _joined(sums: pa.Table, start: pa.ChunkedArray) -> pa.Table:
    ordered = sums.set_column(sums.schema.get_field_index("bar_start"), "bar_start", start)
    ordered = ordered.sort_by([(name, "ascending") for name in ("symbol", "source", "first_event_time")])
    prices = {name: ordered[name] for name in ("open", "high", "low", "close", "price_sum")}
    return _together(ordered.drop_columns(list(prices)), prices)


def _finished(sums: pa.Table, length: str, day: date | None = None) -> pa.Table:
    traded = pc.greater(sums["volume"], 0)
    by_volume = pc.divide(sums["turnover"], pc.if_else(traded, sums["volume"], 1).cast(pa.float64(), safe=False))
    plain = pc.divide(sums["price_sum"], sums["tick_count"].cast(pa.float64()))
    days = sums["bar_start"].cast(pa.date32()) if day is None else _all(day, pa.date32(), sums)
    columns = {name: sums[name] for name in SCHEMA.names if name in sums.column_names} | {
        "bar_length": _all(length, pa.string(), sums),
        "vwap": pc.if_else(traded, by_volume, plain),
        "bar_date": days,
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _all(value: object, kind: pa.DataType, of: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), of.num_rows)
