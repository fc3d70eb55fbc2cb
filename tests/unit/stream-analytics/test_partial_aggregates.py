"""Ticks put together by pane, without Spark."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from stream_analytics.partial_aggregates import summed
from stream_analytics.tick_parsing import _TICKS

MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tick(second: float, sequence: int, price: float, volume: int = 1, run: str = "r") -> dict[str, object]:
    at = EPOCH + timedelta(seconds=second)
    return {
        "symbol": "A",
        "source": "simulated",
        "price": price,
        "volume": volume,
        "event_time": at,
        "sequence": sequence,
        "producer_run": run,
    }


def by_pane(*ticks: dict[str, object]) -> dict[datetime, dict[str, object]]:
    found = summed(pa.Table.from_pylist(list(ticks), _TICKS), MINUTE // timedelta(microseconds=1)).to_pylist()
    return {row["pane_start"]: row for row in found}


def test_a_pane_has_its_start_and_not_its_end() -> None:
    found = by_pane(*(tick(second, 0, 1.0) for second in (-60.001, -60, -0.001, 0, 59.999, 60)))
    assert {start: row["tick_count"] for start, row in found.items()} == {
        EPOCH - 2 * MINUTE: 1,
        EPOCH - MINUTE: 2,
        EPOCH: 2,
        EPOCH + MINUTE: 1,
    }


def test_first_and_last_are_by_event_time_and_sequence_and_not_by_arrival() -> None:
    (row,) = by_pane(tick(9, 4, 13.0), tick(9, 5, 14.0), tick(9, 3, 12.0), tick(1, 2, 11.0), tick(1, 1, 10.0)).values()
    assert (row["first"]["price"], row["last"]["price"]) == (10.0, 14.0)  # type: ignore[index]


def test_sums() -> None:
    (row,) = by_pane(tick(1, 1, 10.0, 1), tick(2, 2, 13.0, 0), tick(3, 3, 16.0, 5)).values()
    names = ("tick_count", "volume", "turnover", "price_mean", "deviations", "high", "low")
    assert [row[name] for name in names] == pytest.approx([3, 6, 90.0, 13.0, 18.0, 16.0, 10.0])
