"""Sliding windows and late ticks against a plain computation, tick by tick and window by window."""

import math
import random
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from stream_analytics.late_ticks import LateTicks, late_ticks
from stream_analytics.partial_aggregates import pane, partial_aggregates
from stream_analytics.sliding_windows import in_windows, windows_of
from stream_analytics.window_specs import WindowSpec
from ticklake.tables import WINDOW_COLUMNS

SPECS = (
    WindowSpec("15m", timedelta(minutes=15), timedelta(minutes=1)),
    WindowSpec("1h", timedelta(hours=1), timedelta(minutes=5)),
)
START = datetime(2026, 3, 8, 6, 50, tzinfo=UTC)
HOUR = timedelta(hours=1)
SCHEMA = (
    "symbol string, source string, price double, volume bigint, event_time timestamp, sequence bigint, "
    "producer_run string"
)
Ticks = list[tuple[str, str, float, int, datetime, int, str]]


def some_ticks(count: int) -> Ticks:
    chance = random.Random(7)
    return [
        (
            chance.choice(["AAPL", "MSFT"]),
            chance.choice(["simulated", "replay"]),
            round(chance.uniform(90, 110), 2),
            chance.choice([0, 0, 5, 100]),
            START + timedelta(seconds=chance.randrange(5400)),
            sequence,
            "run",
        )
        for sequence in range(count)
    ]


def window_starts(moment: datetime, spec: WindowSpec) -> list[datetime]:
    """Every start of a window with start <= moment < start + length, found by trying one after the other."""
    start = datetime(moment.year, moment.month, moment.day, tzinfo=UTC) - timedelta(hours=2)
    found = []
    while start <= moment:
        if moment < start + spec.length:
            found.append(start)
        start += spec.slide
    return found


def plain_windows(ticks: Ticks) -> dict[tuple[Any, ...], dict[str, Any]]:
    groups: dict[tuple[Any, ...], Ticks] = {}
    for tick in ticks:
        for spec in SPECS:
            for start in window_starts(tick[4], spec):
                groups.setdefault((tick[0], tick[1], spec.name, start, start + spec.length), []).append(tick)
    result = {}
    for key, members in groups.items():
        members.sort(key=lambda tick: (tick[4], tick[5]))
        prices, volume = [tick[2] for tick in members], sum(tick[3] for tick in members)
        result[key] = {
            "open": prices[0],
            "high": max(prices),
            "low": min(prices),
            "close": prices[-1],
            "volume": volume,
            "vwap": math.fsum(t[2] * t[3] for t in members) / volume if volume else statistics.fmean(prices),
            "tick_count": len(members),
            "moving_average": statistics.fmean(prices),
            "volatility": statistics.stdev(prices) if len(prices) > 1 else None,
            "first_event_time": members[0][4],
            "last_event_time": members[-1][4],
        }
    return result


def test_windows_are_those_of_the_plain_computation(spark: SparkSession) -> None:
    ticks = some_ticks(150)
    parts = partial_aggregates(spark.createDataFrame(ticks, SCHEMA).coalesce(2), SPECS)
    frame = windows_of(parts, SPECS, timedelta(minutes=5))
    assert frame.columns == [column.name for column in WINDOW_COLUMNS]
    expected = plain_windows(ticks)
    rows = {}
    for row in frame.collect():
        start, end = row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)
        rows[row.symbol, row.source, row.window_length, start, end] = row.asDict()
    assert rows.keys() == expected.keys()
    for key, wanted in expected.items():
        for name, value in wanted.items():
            seen = rows[key][name]
            if isinstance(value, float):
                assert seen == pytest.approx(value, rel=1e-12, abs=1e-12), (key, name)
            else:
                assert (seen.astimezone(UTC) if isinstance(seen, datetime) else seen) == value, (key, name)


def test_a_single_tick_has_no_volatility_and_heartbeats_make_no_window(spark: SparkSession) -> None:
    parts = partial_aggregates(spark.createDataFrame([("AAPL", "simulated", 101.5, 0, START, 0, "run")], SCHEMA), SPECS)
    heartbeat = spark.createDataFrame([(None,)], "symbol string")
    found = windows_of(heartbeat.unionByName(parts, allowMissingColumns=True), SPECS, timedelta(0)).collect()
    assert len(found) == 15 + 12
    assert {(row.symbol, row.volatility, row.vwap, row.tick_count) for row in found} == {("AAPL", None, 101.5, 1)}


def test_a_volume_beyond_64_bits_stops_at_the_largest(spark: SparkSession) -> None:
    rows = [("AAPL", "simulated", 10.0, 2**63 - 1, START, number, "run") for number in range(2)]
    for parts in (1, 2):
        ticks = spark.createDataFrame(rows, SCHEMA).repartition(parts)
        found = windows_of(partial_aggregates(ticks, SPECS[:1]), SPECS[:1], timedelta(0)).first()
        assert found is not None
        assert (found.volume, found.vwap) == (2**63 - 1, 10.0)


@pytest.mark.parametrize("volume", [0, 10**12])
def test_the_least_and_greatest_ticks_make_finite_windows(spark: SparkSession, volume: int) -> None:
    prices = [1e-12, 1e18, 1e18, 1e-12, 1e-12, 1e18] * 10
    ticks = [
        ("AAPL", "simulated", price, volume, START + timedelta(seconds=n // 3 * 40), n, "run")
        for n, price in enumerate(prices)
    ]
    parts = partial_aggregates(spark.createDataFrame(ticks, SCHEMA).repartition(3), SPECS)
    rows = windows_of(parts, SPECS, timedelta(0)).collect()
    for row in rows:
        found = [row[name] for name in ("open", "high", "low", "close", "vwap", "moving_average", "volatility")]
        assert all(math.isfinite(value) for value in found), row
        assert 1e-12 <= row.low <= row.high <= 1e18
    whole = next(row for row in rows if row.tick_count == len(prices))
    assert whole.moving_average == pytest.approx(statistics.fmean(prices), rel=1e-12)
    assert whole.vwap == pytest.approx(statistics.fmean(prices), rel=1e-12)
    assert whole.volatility == pytest.approx(statistics.stdev(prices), rel=1e-9)


def test_many_ticks_of_a_minute_are_one_row_before_they_go_into_windows(spark: SparkSession) -> None:
    ticks = [("AAPL", "simulated", 100.0, 1, START + timedelta(milliseconds=n), n, "run") for n in range(5000)]
    ticks += [("AAPL", "simulated", 100.0, 1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), 0, "run")]
    rows = partial_aggregates(spark.createDataFrame(ticks, SCHEMA).coalesce(1), SPECS).collect()
    found = [(row.pane_start.astimezone(UTC), row.tick_count) for row in rows]
    assert sorted(found) == [(datetime(1969, 12, 31, 23, 59, tzinfo=UTC), 1), (START, 5000)]
    # Slides of any length; what divides all of them is what ticks are put together by.
    odd = (
        WindowSpec("15m", timedelta(minutes=15), timedelta(seconds=20)),
        WindowSpec("1h", HOUR, timedelta(seconds=50)),
    )
    assert (pane(SPECS), pane(odd)) == (timedelta(minutes=1), timedelta(seconds=10))


@pytest.mark.parametrize("spread", [0.0, 1e-4, 0.01])
def test_a_price_that_hardly_moves(spark: SparkSession, spread: float) -> None:
    """Parts that are put together lose no deviation that a market shows, and make none up."""
    prices = [64_321.97 + spread * (n % 3) for n in range(900)]
    ticks = [("AAPL", "simulated", price, 1, START + timedelta(seconds=n), n, "run") for n, price in enumerate(prices)]
    parts = partial_aggregates(spark.createDataFrame(ticks, SCHEMA).repartition(7), SPECS)
    frame = windows_of(parts, SPECS, timedelta(0))
    whole = frame.where((F.col("window_length") == "15m") & (F.col("tick_count") == 900)).first()
    assert whole is not None
    assert whole.volatility == pytest.approx(statistics.stdev(prices), rel=1e-6, abs=1e-15 * prices[0])


def test_spark_itself_makes_the_same_windows(spark: SparkSession) -> None:
    ticks = spark.createDataFrame(some_ticks(20), SCHEMA)
    ours = in_windows(ticks, "event_time", SPECS[:1], timedelta(0)).select("sequence", "window.start", "window.end")
    theirs = ticks.select("sequence", F.window("event_time", "15 minutes", "1 minute").alias("window"))
    assert sorted(ours.collect()) == sorted(theirs.select("sequence", "window.start", "window.end").collect())


def test_late_ticks_are_counted_by_the_windows_they_missed(spark: SparkSession) -> None:
    ticks = some_ticks(60)
    watermark = START + timedelta(minutes=62, seconds=17)
    expected = []
    for spec in SPECS:
        missed = [[start + spec.length <= watermark for start in window_starts(tick[4], spec)] for tick in ticks]
        partly = sum(any(windows) and not all(windows) for windows in missed)
        expected.append(LateTicks(spec.name, partly, sum(all(windows) for windows in missed)))
    parts = partial_aggregates(spark.createDataFrame(ticks, SCHEMA).coalesce(1), SPECS)
    assert late_ticks(parts, SPECS, watermark) == tuple(expected)
    assert late_ticks(parts.limit(0), SPECS, watermark) == (LateTicks("15m", 0, 0), LateTicks("1h", 0, 0))
    assert all(found.partly and found.entirely for found in expected)
