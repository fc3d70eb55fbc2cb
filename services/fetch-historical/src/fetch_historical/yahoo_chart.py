"""Reads Yahoo's chart format: rows and actions with their numbers as they came.

yfinance's own reading of it changes numbers without a word: a volume that is missing becomes 0, one with a fraction is
cut, a dividend's currency is dropped, and one odd number rejects the whole answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa

from fetch_historical.answer_store import ROWS, Action
from fetch_historical.batch_period import Period

_PRICES = ("open", "high", "low", "close")
_NAN = float("nan")


@dataclass(frozen=True)
class Meta:
    """An answer's description of its symbol; None for what it lacks."""

    symbol: str | None
    granularity: str | None
    currency: str | None
    instrument: str | None
    first_trade: date | None
    last_trade: date | None


@dataclass(frozen=True)
class Chart:
    """One answer, read."""

    meta: Meta
    rows: pa.Table
    """Schema `answers.ROWS`, by time, within the period that was asked for."""
    actions: tuple[Action, ...]
    notes: tuple[str, ...]


def read_meta(meta: Mapping[str, Any], default_zone: str) -> Meta:
    """The description in an answer; what is of another type than it should be counts as missing.

    Args:
        default_zone: where it does not say its exchange's time zone.
    """
    zone = _zone(meta, default_zone)
    return Meta(
        symbol=_text(meta, "symbol"),
        granularity=_text(meta, "dataGranularity"),
        currency=_text(meta, "currency"),
        instrument=_text(meta, "instrumentType"),
        first_trade=_moment(meta, "firstTradeDate", zone),
        last_trade=_moment(meta, "regularMarketTime", zone),
    )


def read_chart(chart: Mapping[str, Any], period: Period, default_zone: str) -> Chart:
    """The rows of `period` in a chart, and all actions from its first day on: later splits are in its prices too.

    Raises:
        ValueError: it is none that can be read.
    """
    try:
        return _read(chart, period, default_zone)
    except KeyError as error:
        raise ValueError(f"it has no {error}") from error
    except (TypeError, IndexError, AttributeError, ArithmeticError, OSError) as error:
        raise ValueError(f"it is not built like a chart: {error}") from error


def _read(chart: Mapping[str, Any], period: Period, default_zone: str) -> Chart:
    meta, zone = read_meta(chart["meta"], default_zone), _zone(chart["meta"], default_zone)
    rows = _rows(chart, zone, period)
    actions = tuple(
        action
        for kind in ("dividend", "split")
        for action in _actions(chart.get("events") or {}, kind, zone)
        if period.first <= action.day
    )
    notes = _place(rows, actions)
    if (chart.get("events") or {}).get("capitalGains"):
        notes.append("distributed capital gains are counted among the dividends, as adj_close counts them")
    if meta.currency is None:
        notes.append("the answer does not say the currency of its prices: it is not known")
    table = pa.Table.from_pylist(rows, schema=ROWS)
    return Chart(meta, table, actions, tuple(notes))


def _rows(chart: Mapping[str, Any], zone: ZoneInfo, period: Period) -> list[dict[str, Any]]:
    indicators = chart["indicators"]
    quote = indicators["quote"][0]
    adjusted = (indicators.get("adjclose") or [{"adjclose": quote["close"]}])[0]["adjclose"]
    columns = [*(quote[name] for name in _PRICES), adjusted, quote["volume"]]
    times = [_day(stamp, zone) for stamp in chart["timestamp"]]
    if any(len(column) != len(times) for column in columns):
        raise ValueError(f"it has {len(times)} times and columns of {[len(column) for column in columns]} values")
    found = [
        {
            "session_date": day,
            **{name: _number(value) for name, value in zip(names, values, strict=True)},
            "dividends": 0.0,
            "stock_splits": 0.0,
        }
        for names in [(*_PRICES, "adj_close", "volume")]
        for day, *values in zip(times, *columns, strict=True)
    ]
    found.sort(key=lambda row: row["session_date"])
    # While a session goes on, Yahoo gives it twice: as a bar, and as the latest quote, which is the later one.
    if len(found) > 1 and found[-1]["session_date"] == found[-2]["session_date"]:
        del found[-2]
    return [row for row in found if period.first <= row["session_date"] <= period.last]


def _actions(events: Mapping[str, Any], kind: Literal["dividend", "split"], zone: ZoneInfo) -> list[Action]:
    found = []
    # A fund's distributed capital gains leave its price as a dividend does, and Yahoo's adjusted close counts them so.
    for name in ("dividends", "capitalGains") if kind == "dividend" else ("splits",):
        for event in (events.get(name) or {}).values():
            currency = event.get("currency") or None
            if kind == "dividend":
                value = _number(event.get("amount"))
            else:
                new, old = _number(event.get("numerator")), _number(event.get("denominator"))
                value = new / old if new > 0 and old > 0 else _NAN
            found.append(Action(_day(event["date"], zone), kind, value, currency, dict(event)))
    return sorted(found, key=lambda action: action.day)


def _place(rows: list[dict[str, Any]], actions: tuple[Action, ...]) -> list[str]:
    """Put each action into the row of its day, or of the next one that there is; what was moved, a line each."""
    moved = []
    for action in actions:
        # One after the last row comes with its own bar in a later answer.
        row = next((row for row in rows if row["session_date"] >= action.day), None)
        if row is None:
            continue
        if row["session_date"] != action.day:
            moved.append(f"the {action.kind} of {action.day} has no bar and is moved to that of {row['session_date']}")
        if action.kind == "dividend":
            row["dividends"] += action.value
        else:
            row["stock_splits"] = (row["stock_splits"] or 1.0) * action.value
    return moved


def _number(value: Any) -> float:
    if value is None:
        return _NAN
    try:
        if not isinstance(value, bool):  # which Python takes for 1 or 0
            return float(value)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{value!r} is no number")


def _day(stamp: Any, zone: ZoneInfo) -> date:
    try:
        local = datetime.fromtimestamp(stamp, UTC).astimezone(zone)
    except (TypeError, ValueError, OverflowError, OSError):
        raise ValueError(f"{stamp!r} is no time in seconds since 1970") from None
    # Some daily bars that begin at midnight are off by the hour or two of a summer time (yfinance: Brazil, 2022).
    return local.date() + timedelta(days=local.minute == 0 and local.hour in (22, 23))


def _moment(meta: Mapping[str, Any], name: str, zone: ZoneInfo) -> date | None:
    value = meta.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC).astimezone(zone).date()
    except (ValueError, OverflowError, OSError):
        return None


def _text(meta: Mapping[str, Any], name: str) -> str | None:
    value = meta.get(name)
    return value if isinstance(value, str) and value else None


def _zone(meta: Mapping[str, Any], default: str) -> ZoneInfo:
    try:
        return ZoneInfo(_text(meta, "exchangeTimezoneName") or default)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(default)
