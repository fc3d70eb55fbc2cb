"""Windows as messages of the analytics topic.

Key: `symbol|window_length|window_start|source`. Value: a JSON object of the window's columns (times in UTC with
milliseconds, a missing volatility as null), `version` and `final`. Delivered at least once: readers keep the greatest
version per key. A running window's version is its micro-batch's time in milliseconds since 1970; a closed one's is
`FINAL_VERSION`, which no running one reaches, so whatever order the two queries write in, the closed one stays.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ticklake.tables import WINDOW_COLUMNS

FINAL_VERSION = 2**53 - 1
"""The largest integer that a reader in JavaScript holds exactly."""

_TIME_FORMAT = "yyyy-MM-dd'T'HH:mm:ss.SSSX"


def running_messages(windows: DataFrame) -> DataFrame:
    """`key` and `value` of running windows. Spark fixes the time once per micro-batch: a retry has the same version."""
    return windows.select(_key(), _value(F.unix_millis(F.current_timestamp()), final=False))


def final_messages(windows: DataFrame) -> DataFrame:
    """`key` and `value` of closed windows."""
    return windows.select(_key(), _value(F.lit(FINAL_VERSION), final=True))


def _key() -> Column:
    start = F.date_format("window_start", _TIME_FORMAT)
    return F.concat_ws("|", "symbol", "window_length", start, "source").cast("binary").alias("key")


def _value(version: Column, *, final: bool) -> Column:
    columns = (column.name for column in WINDOW_COLUMNS)
    window = F.struct(*columns, version.alias("version"), F.lit(final).alias("final"))
    options = {"ignoreNullFields": "false", "timestampFormat": _TIME_FORMAT}
    return F.to_json(window, options).cast("binary").alias("value")
