"""Every column of the analytics on real bars: against TA-Lib where it has the indicator, else numpy and pandas."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import talib
from bokeh_sampledata import stocks
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from daily_analytics.analytics import daily_analytics
from ticklake.tables import CORPORATE_ACTIONS, DAILY_ANALYTICS, DAILY_BARS, INDICATOR_COLUMNS, arrow_schema

RELATIVE = 1e-9
NOISE = {"volatility_20": 1e-13, "bb_upper": 1e-7, "bb_lower": 1e-7}
"""Absolute: a deviation that is 0 but for the rounding of logarithms, or of the squares that TA-Lib takes it from."""

Frame = pd.DataFrame
Floats = NDArray[np.float64]


def real(symbol: str) -> Frame:
    """The bars as they were traded."""
    recorded: dict[str, list[Any]] = getattr(stocks, symbol)
    frame = pd.DataFrame({name: recorded[name] for name in ("open", "high", "low", "close", "adj_close", "volume")})
    frame.insert(0, "session_date", pd.to_datetime(pd.Series(recorded["date"])).dt.date)
    return frame.drop(columns="adj_close")


def flat(sessions: int) -> Frame:
    days = pd.bdate_range("2010-01-04", periods=sessions).date
    return pd.DataFrame(
        {
            "session_date": days,
            "open": 7.5,
            "high": 7.5,
            "low": 7.5,
            "close": 7.5,
            "volume": 100,
        }
    )


def one_way(sessions: int, step: float) -> Frame:
    frame = flat(sessions)
    price = 100 * (1 + step) ** np.arange(sessions)
    return frame.assign(open=price, high=price * 1.01, low=price * 0.99, close=price)


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


ACTIONS: dict[str, list[tuple[date, str, float]]] = {
    "AAPL": [
        (date(2000, 6, 21), "split", 2.0),
        (date(2005, 2, 28), "split", 2.0),
        (date(2012, 8, 9), "dividend", 2.65),
        (date(2012, 11, 7), "dividend", 2.65),
        (date(2013, 2, 7), "dividend", 2.65),
    ],
    "MSFT": [(date(2003, 2, 18), "split", 2.0), (date(2004, 11, 15), "dividend", 3.08)],
    "FLAT": [(flat(60)["session_date"].iloc[30], "dividend", 0.75)],
}
"""Some of each symbol's own, as traded."""


@pytest.fixture(scope="module", params=["interpreted", "compiled, two parts"])
def computed(request: pytest.FixtureRequest, spark: SparkSession) -> dict[str, Frame]:
    """The output per symbol, for a plan that Spark interprets, as for few rows, and one that it compiles."""
    interpreted = request.param == "interpreted"
    spark.conf.set("spark.sql.codegen.wholeStage", str(not interpreted).lower())
    spark.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN" if interpreted else "CODEGEN_ONLY")
    stamp = {
        "known_at": datetime(2013, 3, 1, 22, tzinfo=UTC),
        "currency": "USD",
        "source": "replay",
        "batch_id": "batch",
        "batch_date": date(2013, 3, 1),
    }
    bars = pd.concat([frame.assign(symbol=symbol) for symbol, frame in SYMBOLS.items()])
    actions = pd.DataFrame(
        [(symbol, *action) for symbol, own in ACTIONS.items() for action in own],
        columns=["symbol", "ex_date", "kind", "value"],
    )
    frames = (
        spark.createDataFrame(
            pa.Table.from_pandas(
                rows.assign(**stamp, **more)[[column.name for column in table.columns]],
                arrow_schema(table.columns),
                preserve_index=False,
            )
        ).coalesce(1 if interpreted else 2)
        for table, rows, more in (
            (DAILY_BARS, bars, {"row_hash": "hash", "change": "first"}),
            (CORPORATE_ACTIONS, actions, {"withdrawn": False}),
        )
    )
    table = daily_analytics(*frames, noise=0.0, batch_id="batch", batch_date=date(2013, 3, 1)).toArrow()
    assert table.column_names == [column.name for column in DAILY_ANALYTICS.columns]
    assert not any(pc.any(pc.is_nan(column)).as_py() for column in table if pa.types.is_floating(column.type))
    return {
        str(symbol): frame.sort_values("session_date", ignore_index=True)
        for symbol, frame in table.to_pandas().groupby("symbol")
    }


def adjusted(symbol: str) -> dict[str, Floats]:
    """Bars on fully adjusted prices, as TA-Lib takes them: each action taken on all sessions before it, one by one."""
    frame = SYMBOLS[symbol]
    days = frame["session_date"].to_numpy()
    prices = {name: frame[name].to_numpy("float64") for name in ("open", "high", "low", "close")}
    volume, traded = frame["volume"].to_numpy("float64"), frame["close"].to_numpy("float64")
    for day, kind, value in ACTIONS.get(symbol, []):
        before = days < day
        share = 1 / value if kind == "split" else 1 - value / traded[before][-1]
        prices = {name: np.where(before, values * share, values) for name, values in prices.items()}
        if kind == "split":
            volume = np.where(before, volume * value, volume)
    return prices | {"volume": volume}


def of_talib(bar: dict[str, Floats]) -> dict[str, Floats]:
    close = bar["close"]
    macd, signal, hist = talib.MACD(close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    return {
        **{f"sma_{n}": talib.SMA(close, n) for n in (5, 20, 50, 200)},
        "ema_12": talib.EMA(close, 12),
        "ema_26": talib.EMA(close, 26),
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": hist,
        "rsi_14": talib.RSI(close, 14),
        "bb_upper": upper,
        "bb_middle": middle,
        "bb_lower": lower,
        "atr_14": talib.ATR(bar["high"], bar["low"], close, 14),
        "obv": talib.OBV(close, bar["volume"]),
        "high_52w": talib.MAX(bar["high"], 252),
        "low_52w": talib.MIN(bar["low"], 252),
    }


def of_numpy(bar: dict[str, Floats]) -> dict[str, Floats]:
    """What TA-Lib does not have, or has otherwise, written out."""
    close = pd.Series(bar["close"])
    returns = np.log(close).diff()
    deviations = [
        np.std(returns.iloc[i - 19 : i + 1], ddof=1) * np.sqrt(252) if i >= 20 else np.nan for i in range(len(close))
    ]
    return {
        "history_sessions": np.arange(1.0, len(close) + 1),
        "adj_open": bar["open"],
        "adj_high": bar["high"],
        "adj_low": bar["low"],
        "change": close.diff().to_numpy(),
        "change_pct": (close.pct_change() * 100).to_numpy(),
        "log_return": returns.to_numpy(),
        "volatility_20": np.array(deviations),
        "drawdown": (close / np.maximum.accumulate(close) - 1).to_numpy(),
    }


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_indicator_is_the_references(computed: dict[str, Frame], symbol: str) -> None:
    frame, ours = SYMBOLS[symbol], computed[symbol]
    assert ours["session_date"].tolist() == frame["session_date"].tolist()
    bar = adjusted(symbol)
    expected = of_talib(bar) | of_numpy(bar)
    assert expected.keys() == {column.name for column in INDICATOR_COLUMNS}
    for name, wanted in expected.items():
        there, wanted = ours[name].to_numpy("float64"), np.asarray(wanted, "float64")
        np.testing.assert_array_equal(np.isnan(there), np.isnan(wanted), f"{symbol} {name}: other nulls")
        close = np.isclose(there, wanted, rtol=RELATIVE, atol=NOISE.get(name, 0.0), equal_nan=True)
        worst = np.nanmax(np.abs(there - wanted) / np.abs(wanted)) if not close.all() else 0
        assert close.all(), f"{symbol} {name}: {worst:.2e} at session {np.argmin(close)}"
