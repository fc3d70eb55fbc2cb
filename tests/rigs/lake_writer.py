"""Daily rows and windows as the Spark applications leave them, from plain values."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from ticklake.catalog import LakeTables, matching
from ticklake.records import Source
from ticklake.tables import DAILY_ANALYTICS, WINDOWS, Column, arrow_schema, namespace_of

KNOWN_AT = datetime(2026, 1, 9, 22, tzinfo=UTC)
_PLAIN = {"string": "x", "date": date(2000, 1, 1), "timestamp": KNOWN_AT, "double": 1.0}


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> pa.Table:
    whole = [{column.name: row.get(column.name, _PLAIN.get(column.type, 1)) for column in columns} for row in rows]
    return pa.Table.from_pylist(whole, arrow_schema(columns))


def put_daily(
    tables: LakeTables, closes: dict[str, dict[date, float]], source: Source = Source.SIMULATED, **more: Any
) -> None:
    """All rows of some symbols, in the place of those that were there: closes per symbol and session.

    Args:
        more: values of further columns, the same in each row.
    """
    rows = [
        {"symbol": symbol, "source": source.value, "session_date": session, "close": close, "adj_close": close, **more}
        for symbol, mine in closes.items()
        for session, close in mine.items()
    ]
    space = namespace_of(source)
    tables.ensure(space, DAILY_ANALYTICS)
    where = matching(symbol=closes, source=[source.value])
    tables.replace(space, DAILY_ANALYTICS, "run", _table(rows, DAILY_ANALYTICS.columns), where)


def put_windows(tables: LakeTables, flow: str, rows: Sequence[dict[str, Any]]) -> None:
    """One micro-batch of closed 15-minute windows: symbol, window_start and what differs from a plain window."""
    whole = [
        {
            "flow": flow,
            "window_length": "15m",
            "window_end": row["window_start"] + timedelta(minutes=15),
            "source": "simulated",
            "first_event_time": row["window_start"],
            "last_event_time": row["window_start"],
            **row,
        }
        for row in rows
    ]
    tables.ensure("market_test", WINDOWS)
    tables.append("market_test", WINDOWS, "run", lambda _: _table(whole, WINDOWS.columns))
