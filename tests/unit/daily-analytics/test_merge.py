"""A batch after its history: one price basis, each session once, the newest batch first."""

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from daily_analytics.indicators import daily_analytics
from daily_analytics.merge import STORED_COLUMNS

DAYS = pd.bdate_range("2024-01-01", periods=60).date
PRICE = 100 + 10 * np.sin(np.arange(60)) + np.arange(60)


def frame(first: int, last: int, *, shares: float = 1.0, paid: float = 1.0) -> pd.DataFrame:
    """Sessions `first` to `last` on a basis after a split into `shares` and dividends that left `paid` of the price."""
    close = PRICE[first : last + 1] / shares
    return pd.DataFrame(
        {
            "session_date": DAYS[first : last + 1], "open": close, "high": close * 1.02, "low": close * 0.97,
            "close": close, "adj_close": close * paid, "volume": np.full(len(close), 1000 * shares),
            "dividends": 0.0, "stock_splits": 0.0,
        }
    )  # fmt: skip


@pytest.fixture
def run(spark: SparkSession, bars: Callable[..., DataFrame]) -> Callable[..., pd.DataFrame]:
    """The batch's output over the history in older batches, each (rows, batch date, time of fetch)."""
    spark.conf.set("spark.sql.codegen.wholeStage", "false")
    spark.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")

    def compute(batch: pd.DataFrame, *older: tuple[pd.DataFrame, date, str]) -> pd.DataFrame:
        history = None
        for rows, day, fetched_at in older:
            part = daily_analytics(bars({"AAA": rows}, day, fetched_at), None, 1)
            part = part.select(*(column.name for column in STORED_COLUMNS))
            history = part if history is None else history.unionByName(part)
        found = daily_analytics(bars({"AAA": batch}, date(2024, 6, 3), "2024-06-03T22:00:00.000Z"), history, 1)
        return found.toArrow().to_pandas().sort_values("session_date", ignore_index=True)

    return compute


SEEN = ("adj_close", "history_sessions", "sma_20", "ema_12", "rsi_14", "atr_14", "obv", "volatility_20", "drawdown")


def assert_same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    wanted = wanted.tail(len(found)).reset_index(drop=True)
    for name in SEEN:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_older_batches_are_brought_to_the_newest_basis(run):
    newest = {"shares": 6.0, "paid": 0.9}
    found = run(
        frame(40, 59, **newest),
        (frame(0, 25, shares=1.0, paid=0.97), date(2024, 2, 2), "2024-02-02T22:00:00.000Z"),
        (frame(20, 45, shares=3.0, paid=0.95), date(2024, 3, 1), "2024-03-01T22:00:00.000Z"),
    )
    assert len(found) == 20
    assert_same(found, run(frame(0, 59, **newest)))


def test_an_old_period_fetched_late_is_reached_through_a_batch_between(run):
    newest = {"shares": 2.0, "paid": 0.9}
    found = run(
        frame(40, 59, **newest),
        (frame(0, 25, **newest), date(2024, 2, 2), "2024-05-31T22:00:00.000Z"),
        (frame(20, 45), date(2024, 3, 1), "2024-03-01T22:00:00.000Z"),
    )
    assert_same(found, run(frame(0, 59, **newest)))


def test_the_newest_batch_says_what_a_session_was(run):
    corrected, first = frame(0, 59), frame(0, 45)
    first.loc[30, ["high", "low"]] *= 3.0
    found = run(
        frame(40, 59),
        (first, date(2024, 3, 1), "2024-03-01T22:00:00.000Z"),
        (frame(20, 46), date(2024, 3, 4), "2024-03-04T22:00:00.000Z"),
    )
    assert_same(found, run(corrected))


def test_history_fills_a_gap_but_writes_nothing_and_ends_with_the_batch(run):
    batch = frame(30, 50).drop(index=10)
    found = run(batch, (frame(0, 59), date(2024, 5, 1), "2024-05-01T22:00:00.000Z"))
    assert found["session_date"].tolist() == batch["session_date"].tolist()
    assert found["history_sessions"].tolist() == [*range(31, 41), *range(42, 52)]
    whole = run(frame(0, 50))
    assert_same(found, whole[whole["session_date"].isin(batch["session_date"])])


def test_a_batch_without_a_session_in_common_is_left_out(run):
    found = run(frame(40, 59), (frame(0, 39), date(2024, 3, 1), "2024-03-01T22:00:00.000Z"))
    assert_same(found, run(frame(40, 59)))
