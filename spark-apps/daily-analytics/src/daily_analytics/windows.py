"""Indicators over a fixed number of sessions, and those over all so far: window functions with explicit frames.

Definitions are those of TA-Lib where it has the indicator. A value is null until its window is full.
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

TRADING_YEAR = 252
"""Sessions of 52 weeks, and of the year that volatility is scaled to."""

_SESSIONS = Window.partitionBy("symbol").orderBy("session_date")
_SO_FAR = _SESSIONS.rowsBetween(Window.unboundedPreceding, Window.currentRow)
