"""From facts to `ticklake.tables.DAILY_ANALYTICS`: functions of data frames, apart from reading and writing."""

from collections.abc import Iterable
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from daily_analytics.window_metrics import METRICS, with_metrics
from ticklake import indicators
from ticklake.spark import spark_schema
from ticklake.tables import DAILY_ANALYTICS, arrow_schema

if TYPE_CHECKING:
    import pandas as pd

_OF_SYMBOL = tuple(
    column for column in DAILY_ANALYTICS.columns if column.name not in {*METRICS, "batch_id", "batch_date"}
)
"""What `of_symbol` computes."""


def daily_analytics(bars: DataFrame, actions: DataFrame, *, noise: float, batch_id: str, batch_date: date) -> DataFrame:
    """Every known session of the symbols in `bars`, with its indicators.

    Args:
        bars: all versions of these symbols' bars from one source, columns as `tables.DAILY_BARS`.
        actions: all versions of their actions, as `tables.CORPORATE_ACTIONS`.
        noise: see `facts.in_force`.
        batch_id: of the batch after which this is computed.
        batch_date: its date.

    Returns:
        one row per session, the columns of `DAILY_ANALYTICS` in order; each symbol in one part, in session order.
    """
    symbols = bars.groupBy("symbol").cogroup(actions.groupBy("symbol"))
    rows = symbols.applyInArrow(partial(_of_group, noise=noise), spark_schema(_OF_SYMBOL))
    stamped = with_metrics(rows).withColumns({"batch_id": F.lit(batch_id), "batch_date": F.lit(batch_date)})
    return stamped.select(*(column.name for column in DAILY_ANALYTICS.columns))


def start_worker(session: SparkSession) -> None:
    """Start the Python worker that `daily_analytics` will use, its libraries loaded."""
    session.range(1).mapInArrow(_loaded, "id long").collect()


def _loaded(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    import talib  # noqa: F401

    from ticklake import history  # noqa: F401

    return batches


def _of_group(bars: pa.Table, actions: pa.Table, *, noise: float) -> pa.Table:
    # Threads would cost more than they bring: the columns are short, and Spark's tasks share the cores already.
    rows, events = (part.to_pandas(date_as_object=False, use_threads=False) for part in (bars, actions))
    return of_symbol(rows, events, noise)


def of_symbol(bars: "pd.DataFrame", actions: "pd.DataFrame", noise: float) -> pa.Table:
    """One symbol's sessions in order, adjusted for all its actions, with TA-Lib's indicators.

    Args:
        bars: all versions of the symbol's bars from one source.
        actions: all versions of its actions.
        noise: see `facts.in_force`.

    Returns:
        the columns of `DAILY_ANALYTICS` but for the metrics and the batch.

    Raises:
        IntegrityError: a dividend is not below the close before it.
    """
    # In the worker's process, which needs pandas only here.
    from ticklake import facts, history

    rows = history.analysed(facts.Facts(bars, actions), noise=noise)
    given = arrow_schema(column for column in _OF_SYMBOL if column.name not in indicators.NAMES)
    priced = indicators.indicators(pa.Table.from_pandas(rows[given.names], given, preserve_index=False, nthreads=1))
    return priced.select([column.name for column in _OF_SYMBOL])
