"""Puts a batch after the history that is stored: one array of bars per symbol, in one price basis.

A split or dividend restates every session before it, so two batches can hold the same session on different bases. An
older batch's rows are brought to the newer basis by what a session says that both have: adjusted prices by the ratio
of its adjusted closes, volume by the inverse ratio of its closes (which are adjusted for splits only).
"""

from collections.abc import Callable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ticklake.tables import BAR_COLUMNS, DAILY_COLUMNS

_RANK = ("session_date", "fetched_at", "batch_date")
"""Sorts a symbol's rows by session and, within a session, the newest batch last."""
_ADJUSTED = ("adj_high", "adj_low", "adj_close")
STORED_COLUMNS = tuple(
    column for column in DAILY_COLUMNS if column.name in {"symbol", "close", "volume", *_RANK, *_ADJUSTED}
)
"""What history needs of the stored rows."""
PASSING = (*(column.name for column in BAR_COLUMNS if column.name != "symbol"), "adj_open")
"""Columns of the batch's own rows that only pass through."""


def with_adjusted_prices(bars: DataFrame) -> DataFrame:
    """Add adj_open, adj_high and adj_low: each price times its session's adj_close / close."""
    factor = F.col("adj_close") / F.col("close")
    return bars.withColumns({f"adj_{name}": F.col(name) * factor for name in ("open", "high", "low")})


def batch_rows(bars: DataFrame) -> DataFrame:
    """One row per bar of the batch: symbol and `row`, a struct whose field `bar` holds what only passes through.

    Args:
        bars: the columns of `ticklake.tables.BAR_COLUMNS`.
    """
    return with_adjusted_prices(bars).select("symbol", _row(F.struct(*PASSING)))


def history_rows(stored: DataFrame) -> DataFrame:
    """The same of stored rows, their field `bar` null: they are seen, not written again.

    Args:
        stored: the columns `STORED_COLUMNS`.
    """
    types = {column.name: column.type for column in BAR_COLUMNS} | {"adj_open": "double"}
    bar = F.lit(None).cast("struct<" + ",".join(f"{name}:{types[name]}" for name in PASSING) + ">")
    return stored.select("symbol", _row(bar))


def _row(bar: Column) -> Column:
    volume = F.col("volume").cast("double").alias("volume")
    return F.struct(*_RANK, *_ADJUSTED, "close", volume, bar.alias("bar")).alias("row")


def by_symbol(rows: DataFrame, *, with_history: bool) -> DataFrame:
    """One row per symbol: symbol and `bars`, its rows in session order, each session once.

    Args:
        rows: `batch_rows`, with `history_rows` if `with_history`.
    """
    grouped = rows.groupBy("symbol").agg(F.sort_array(F.collect_list("row")).alias("bars"))
    if not with_history:
        return grouped
    return (
        grouped.withColumn("bars", _up_to_batch_end(F.col("bars")))
        .withColumn("bars", _rebased(F.col("bars")))
        .withColumn("bars", _newest_per_session(F.sort_array("bars")))
    )


def _let(value: Column, body: Callable[[Column], Column]) -> Column:
    """`body(value)` with `value` computed once."""
    return F.get(F.transform(F.array(value), body), F.lit(0))


def _up_to_batch_end(rows: Column) -> Column:
    """Without the history after the batch's last session: a row depends on what came before it only."""
    end = F.array_max(F.transform(F.filter(rows, lambda row: row["bar"].isNotNull()), lambda row: row["session_date"]))
    return _let(end, lambda last: F.filter(rows, lambda row: row["session_date"] <= last))


def _rebased(rows: Column) -> Column:
    """All rows on the batch's basis; those of a batch that has no session in common with what follows are left out.

    The batch comes first, then the older ones by descending first session: the order in which `history.choose` found
    each to overlap what it had by then.
    """
    dates = F.array_distinct(F.transform(rows, lambda row: row["batch_date"]))
    versions = F.transform(dates, lambda day: F.filter(rows, lambda row: row["batch_date"] == day))
    ordered = F.sort_array(
        F.transform(
            versions,
            lambda version: F.struct(
                F.get(version, F.lit(0))["bar"].isNotNull().alias("is_batch"),
                F.get(version, F.lit(0))["session_date"].alias("first"),
                version.alias("rows"),
            ),
        ),
        asc=False,
    )
    return _let(
        ordered,
        lambda chain: F.aggregate(
            F.slice(chain, F.lit(2), F.size(chain)),
            F.get(chain, F.lit(0))["rows"],
            lambda known, version: F.concat(known, _on_basis_of(known, version["rows"])),
        ),
    )


def _on_basis_of(known: Column, rows: Column) -> Column:
    """`rows` on the basis of `known`, by the latest session that both have; empty where there is none."""
    session = F.array_max(
        F.array_intersect(
            F.transform(known, lambda row: row["session_date"]), F.transform(rows, lambda row: row["session_date"])
        )
    )

    def at(among: Column, day: Column) -> Column:
        return F.get(F.filter(among, lambda row: row["session_date"] == day), F.lit(0))

    def rebase(pair: Column) -> Column:
        to, this = pair["to"], pair["this"]
        return F.transform(
            rows,
            lambda row: F.struct(
                *(row[name].alias(name) for name in _RANK),
                *((row[name] * (to["adj_close"] / this["adj_close"])).alias(name) for name in _ADJUSTED),
                (row["close"] * (to["close"] / this["close"])).alias("close"),
                (row["volume"] * (this["close"] / to["close"])).alias("volume"),
                row["bar"].alias("bar"),
            ),
        )

    pairs = _let(session, lambda day: F.array(F.struct(at(known, day).alias("to"), at(rows, day).alias("this"))))
    common = F.filter(pairs, lambda pair: pair["to"].isNotNull())
    return F.flatten(F.transform(common, rebase))


def _newest_per_session(rows: Column) -> Column:
    """Of sorted rows, the last of each session."""
    return _let(
        rows,
        lambda ordered: F.filter(
            ordered, lambda row, i: ~F.get(ordered, i + 1)["session_date"].eqNullSafe(row["session_date"])
        ),
    )
