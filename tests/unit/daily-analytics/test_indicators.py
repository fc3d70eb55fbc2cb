"""Every indicator on real bars: against TA-Lib where it has the indicator, else against numpy and pandas."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib
from bokeh_sampledata import stocks
from pyspark.sql import DataFrame

from daily_analytics.indicators import daily_analytics
from ticklake.tables import DAILY_COLUMNS

RELATIVE = 1e-9

Frame = pd.DataFrame
Bars = Callable[..., DataFrame]


def real(symbol: str) -> Frame:
    """The bars as they were traded, with the publisher's adjusted close."""
    recorded: dict[str, list[Any]] = getattr(stocks, symbol)
    frame = pd.DataFrame({name: recorded[name] for name in ("open", "high", "low", "close", "adj_close", "volume")})
    frame.insert(0, "session_date", pd.to_datetime(pd.Series(recorded["date"])).dt.date)
    return frame.assign(dividends=0.0, stock_splits=0.0)


def flat(sessions: int) -> Frame:
    days = pd.bdate_range("2010-01-04", periods=sessions).date
    return pd.DataFrame(
        {
            "session_date": days, "open": 7.5, "high": 7.5, "low": 7.5, "close": 7.5, "adj_close": 7.5, "volume": 100,
            "dividends": 0.0, "stock_splits": 0.0,
        }
    )  # fmt: skip


def one_way(sessions: int, step: float) -> Frame:
    frame = flat(sessions)
    price = 100 * (1 + step) ** np.arange(sessions)
    return frame.assign(open=price, high=price * 1.01, low=price * 0.99, close=price, adj_close=price * 0.9)


SYMBOLS: dict[str, Frame] = {
    **{symbol: real(symbol) for symbol in ("AAPL", "FB", "GOOG", "IBM", "MSFT")},
    **{f"N{length}": real("IBM").head(length) for length in (1, 2, 5, 14, 15, 20, 21, 26, 33, 34, 200, 252)},
    "FLAT": flat(60),
    "HALT": pd.concat([real("GOOG").head(80), flat(3)]).assign(
        session_date=pd.bdate_range("2010-01-04", periods=83).date
    ),
    "RISE": one_way(60, 0.01),
    "FALL": one_way(60, -0.01),
}


@pytest.fixture(scope="module", params=["compiled", "interpreted", "two parts"])
def computed(request: pytest.FixtureRequest, spark: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Frame]:
    """The stage's output per symbol, for plans that Spark compiles, interprets, and spreads over two parts."""
    interpreted = request.param == "interpreted"
    spark.conf.set("spark.sql.codegen.wholeStage", str(not interpreted).lower())
    spark.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN" if interpreted else "CODEGEN_ONLY")
    from conftest import as_bars

    bars = as_bars(spark, tmp_path_factory.mktemp("bars"), SYMBOLS)
    table = daily_analytics(bars, None, 2 if request.param == "two parts" else 1).toArrow()
    assert table.column_names == [column.name for column in DAILY_COLUMNS]
    return dict(iter(table.to_pandas().groupby("symbol")))
