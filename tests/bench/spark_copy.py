"""What Spark needs where it computes nothing: daily-analytics with its shuffle, its sort and rows of the same width."""

from datetime import date
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from daily_analytics import analytics
from daily_analytics.main import main
from ticklake.spark import spark_schema
from ticklake.tables import DAILY_ANALYTICS

_ONE: dict[str, Any] = {"string": "USD", "date": date(2025, 12, 30), "int": 2514, "bigint": 1}


def _value(name: str, kind: str, bars: DataFrame) -> Column:
    if name in bars.columns and name != "change":
        return F.col(name)
    # As hard to compress as an indicator.
    return F.col("close") * F.rand(1) if kind == "double" else F.lit(_ONE[kind])


def _copied(bars: DataFrame, actions: DataFrame, **_: Any) -> DataFrame:
    sorted_bars = bars.repartition("symbol").sortWithinPartitions("symbol", "session_date")
    columns = zip(DAILY_ANALYTICS.columns, spark_schema(DAILY_ANALYTICS.columns), strict=True)
    return sorted_bars.select(
        *(_value(column.name, column.type, bars).cast(field.dataType).alias(column.name) for column, field in columns)
    )


if __name__ == "__main__":
    analytics.daily_analytics = _copied
    main()
