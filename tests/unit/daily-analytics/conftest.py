"""A local Spark session without a store, and bars as CSV files for it."""

import csv
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from daily_analytics.reading import raw_bars
from onebox.platform import Tools
from ticklake.settings import StoreSettings
from ticklake.spark import SparkSettings, build_session, close_jvm
from ticklake.tables import BAR_COLUMNS


@pytest.fixture(scope="module")
def spark(onebox_tools: Tools) -> Iterator[SparkSession]:
    settings = SparkSettings(
        master="local[2]", java_home=onebox_tools.java.home, jars_dir=onebox_tools.jars["spark"], log_level="ERROR"
    )
    session = build_session("tests", settings, StoreSettings())
    session.conf.set("spark.sql.adaptive.enabled", "false")
    session.conf.set("spark.sql.shuffle.partitions", "2")
    yield session
    close_jvm()


@pytest.fixture(scope="module")
def bars(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DataFrame]:
    """A function that turns pandas bars (session_date, open … stock_splits) per symbol into the batch's data frame."""

    def make(
        symbols: dict[str, pd.DataFrame], day: date = date(2013, 3, 1), fetched_at: str = "2013-03-01T22:00:00.000Z"
    ) -> DataFrame:
        folder = tmp_path_factory.mktemp("bars")
        files = [_write(folder, symbol, frame, day, fetched_at) for symbol, frame in symbols.items()]
        return raw_bars(spark, files)

    return make


def _write(folder: Path, symbol: str, frame: pd.DataFrame, day: date, fetched_at: str) -> str:
    path = folder / f"{symbol}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column.name for column in BAR_COLUMNS])
        for number, bar in enumerate(frame.itertuples(index=False)):
            writer.writerow(_row(symbol, number, bar, day, fetched_at))
    return str(path)


def _row(symbol: str, number: int, bar: Any, day: date, fetched_at: str) -> Sequence[object]:
    return (
        symbol, bar.session_date, bar.open, bar.high, bar.low, bar.close, bar.adj_close, int(bar.volume),
        bar.dividends, bar.stock_splits, "USD", "replay", f"batch {day}", day, number, fetched_at,
        f"hash-{symbol}-{bar.session_date}",
    )  # fmt: skip
