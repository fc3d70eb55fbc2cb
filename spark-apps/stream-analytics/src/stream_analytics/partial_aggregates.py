"""Ticks put together before they go into windows, so that a tick costs one row and not one per window that it lies in.

The span is the largest that divides every window's length and slide (a "pane" in J. Li et al., "No Pane, No Gain",
SIGMOD Record 34(1), 2005): of two ticks in one pane, each window has both or none.
"""

import math
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from stream_analytics.tick_parsing import COUNTS, parsed
from stream_analytics.window_specs import WindowSpec, micros
from ticklake.ticks import MAX_BYTES

LARGEST_VOLUME = 2**63 - 1

_ORDER = ("event_time", "sequence", "producer_run", "price")
"""What comes first and last. The producer's run decides between two ticks of the same moment and number, so that a
retry decides alike."""

SCHEMA = (
    "symbol string, source string, pane_start timestamp, tick_count bigint, volume bigint, traded double, "
    "turnover double, price_mean double, deviations double, high double, low double, "
    + ", ".join(
        f"{end} struct<event_time: timestamp, sequence: bigint, producer_run: string, price: double>"
        for end in ("first", "last")
    )
)
"""Columns of `partial_aggregates`, in Spark's types.

`traded` is the volume as a double, which no sum of it can leave the range of; `turnover` the sum of price x volume;
`deviations` the sum of the squared differences between the prices and their mean.
"""


def pane(specs: Iterable[WindowSpec]) -> timedelta:
    """The largest span that divides the length and the slide of each kind of window."""
    spans = (micros(span) for spec in specs for span in (spec.length, spec.slide))
    return timedelta(microseconds=math.gcd(*spans))


def partial_aggregates(ticks: DataFrame, specs: Iterable[WindowSpec]) -> DataFrame:
    """Some rows per symbol, source and pane, with the columns of `SCHEMA`: one for each part of the ticks read at once.

    Args:
        ticks: valid ones, with the columns of the archive.
    """
    return ticks.mapInArrow(partial(_of_ticks, micros(pane(specs))), SCHEMA)


def partial_aggregates_of_messages(
    messages: DataFrame, specs: Iterable[WindowSpec], future_tolerance: float | None
) -> DataFrame:
    """The same of the ticks in Kafka's messages, and rows that have nothing but `tick_parsing.COUNTS`.

    Args:
        messages: the columns of Kafka's source.
        future_tolerance: see `ticklake.ticks.read_tick`.
    """
    # What is longer is no tick, and ten thousand of it at once would be too much for Arrow.
    short = (F.when(F.octet_length(name) <= MAX_BYTES, F.col(name)).alias(name) for name in ("key", "value"))
    work = partial(_of_messages, micros(pane(specs)), future_tolerance)
    counts = "".join(f", {name} bigint" for name in COUNTS)
    return messages.select(*short, "timestamp").mapInArrow(work, SCHEMA + counts)


def _of_ticks(span: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from summed(pa.Table.from_batches([batch]), span).to_batches()


def _of_messages(
    span: int, future_tolerance: float | None, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        ticks, counts = parsed(batch, future_tolerance)
        yield from pa.concat_tables([summed(ticks, span), counts], promote_options="default").to_batches()


def summed(ticks: pa.Table, span: int) -> pa.Table:
    """One row per symbol, source and pane.

    Args:
        span: of a pane in microseconds.
    """
    moment = ticks["event_time"].cast(pa.int64())
    # Arrow's division rounds towards zero; before 1970 the pane begins below it.
    remainder = pc.subtract(moment, pc.multiply(pc.divide(moment, span), span))
    start = pc.subtract(moment, pc.if_else(pc.less(remainder, 0), pc.add(remainder, span), remainder))
    traded = ticks["volume"].cast(pa.float64(), safe=False)
    ticks = (
        ticks.append_column("pane_start", start)
        .append_column("traded", traded)
        .append_column("turnover", pc.multiply(ticks["price"], traded))
        .sort_by([(name, "ascending") for name in _ORDER])
    )
    # One thread keeps the order, on which first and last depend.
    found = ticks.group_by(["symbol", "source", "pane_start"], use_threads=False).aggregate(
        [
            ("price", "count"),
            ("volume", "sum"),
            ("traded", "sum"),
            ("turnover", "sum"),
            ("price", "mean"),
            ("price", "variance", pc.VarianceOptions(ddof=0)),
            ("price", "max"),
            ("price", "min"),
            *((name, end) for end in ("first", "last") for name in _ORDER),
        ]
    )
    # Arrow's sum of integers wraps around.
    beyond = pc.or_(pc.greater_equal(found["traded_sum"], float(2**63)), pc.less(found["volume_sum"], 0))
    ends: dict[str, Any] = {
        end: pa.StructArray.from_arrays(
            [found[f"{name}_{end}"].combine_chunks() for name in _ORDER], fields=[ticks.schema.field(n) for n in _ORDER]
        )
        for end in ("first", "last")
    }
    return pa.table(
        {
            "symbol": found["symbol"],
            "source": found["source"],
            "pane_start": found["pane_start"].cast(ticks["event_time"].type),
            "tick_count": found["price_count"],
            "volume": pc.if_else(beyond, LARGEST_VOLUME, found["volume_sum"]),
            "traded": found["traded_sum"],
            "turnover": found["turnover_sum"],
            "price_mean": found["price_mean"],
            "deviations": pc.multiply(found["price_variance"], found["price_count"].cast(pa.float64())),
            "high": found["price_max"],
            "low": found["price_min"],
            **ends,
        }
    )
