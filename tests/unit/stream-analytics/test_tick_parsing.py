"""Kafka's messages through Spark to partial aggregates: which ticks are in them, and what is counted."""

from datetime import UTC, datetime, timedelta

from hostile_ticks import APPENDED, FUTURE, INVALID, TEXT, VALID, WRONG_KEYS
from pyspark.sql import SparkSession

from stream_analytics.partial_aggregates import partial_aggregates_of_messages
from stream_analytics.tick_parsing import COUNTS
from stream_analytics.window_specs import WindowSpec

SPECS = (WindowSpec("15m", timedelta(minutes=15), timedelta(minutes=1)),)


def test_every_message_is_counted_and_only_valid_ticks_are_put_together(spark: SparkSession) -> None:
    appended = datetime.fromtimestamp(APPENDED / 1000, UTC)
    known = [*VALID.values(), *INVALID.values(), *FUTURE.values()]
    rows = [(b"AAPL", value, appended) for value in known] + [(key, TEXT.encode(), appended) for key in WRONG_KEYS]
    messages = spark.createDataFrame(
        [(key and bytearray(key), value and bytearray(value), time) for key, value, time in rows],
        "key binary, value binary, timestamp timestamp",
    ).repartition(3)
    for tolerance, future in ((60.0, len(FUTURE)), (None, 0)):
        found = partial_aggregates_of_messages(messages, SPECS, tolerance).collect()
        counts = [sum(row[name] or 0 for row in found) for name in COUNTS]
        assert counts == [len(rows), len(INVALID) + len(WRONG_KEYS), future]
        panes = [row for row in found if row.symbol is not None]
        assert sum(row.tick_count for row in panes) == len(known) - len(INVALID) - future
        assert {(row.symbol, row.source) for row in panes} == {("AAPL", "simulated")}
        assert min(row.first.event_time.astimezone(UTC) for row in panes) == datetime(1970, 1, 1, tzinfo=UTC)
        assert max(row.high for row in panes) == 1e18
