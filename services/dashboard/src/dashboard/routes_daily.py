"""Routes over the daily history: symbols, bars, indicators, risk, comparison."""

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from dashboard import export, risk
from dashboard.lake import NUMERIC
from dashboard.models import Bars, Indicators, Symbols
from dashboard.models_risk import Compare, Risk
from dashboard.parameters import (
    BASE,
    CursorQuery,
    FormatQuery,
    FromQuery,
    Here,
    SessionsQuery,
    SourceQuery,
    SymbolList,
    SymbolPath,
    ToQuery,
    page_of,
)
from dashboard.service import Service
from ticklake.records import Source
from ticklake.tables import INDICATOR_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

router = APIRouter(prefix=BASE, tags=["daily history"])

_DEFAULT_SYMBOLS = 10
_PRICES = ("open", "high", "low", "close")
_REST = ("volume", "dividends", "stock_splits")
_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}, "application/vnd.apache.parquet": {}}, "description": "Rows, or a download"}
}


@router.get("/symbols")
def symbols(here: Here) -> Symbols:
    """Every symbol with daily history, once per source, and those with live prices only."""
    here.look_at_lake()
    items: list[dict[str, Any]] = []
    live = {symbol: here.live.source_of(symbol) for symbol in here.live.symbols()}
    for symbol, source in here.lake.listed():
        if (found := here.lake.summary(symbol, source)) is None:
            continue  # gone with a look in between
        items.append(
            {"symbol": symbol, "source": source, "first_session": found.first, "last_session": found.last,
             "sessions": found.sessions, "last_close": found.tail[-1][1], "live": symbol in live}
        )  # fmt: skip
    known = {item["symbol"] for item in items}
    items += [
        {"symbol": symbol, "source": source, "first_session": None, "last_session": None, "sessions": None,
         "last_close": None, "live": True}
        for symbol, source in live.items() if symbol not in known
    ]  # fmt: skip
    return Symbols.model_validate({"items": items})


@router.get("/symbols/{symbol}/bars", response_model=Bars, responses=_DOWNLOAD)
def bars(
    here: Here, symbol: SymbolPath, from_: FromQuery = None, to: ToQuery = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500, cursor: CursorQuery = None, source: SourceQuery = None,
    adjusted: Annotated[bool, Query(description="For dividends too, like the indicators")] = True,
    form: FormatQuery = "json",
) -> Any:  # fmt: skip
    """Daily bars, oldest first; without `from` the newest `limit`."""
    chosen, table = _rows(here, symbol, source)
    names = {f"adj_{name}" if adjusted else name: name for name in _PRICES}
    known_at = table["known_at"][-1].as_py()
    table = table.select(["session_date", *names, *_REST]).rename_columns(["session_date", *names.values(), *_REST])
    if form != "json":
        return _download(table, form, f"{symbol}-{chosen}-bars", from_, to)
    begin, end, after = _page(table, from_, to, limit, cursor)
    items = table.slice(begin, end - begin).to_pylist()
    return {
        "symbol": symbol, "source": chosen, "adjusted": adjusted, "known_at": known_at, "items": items,
        "next_cursor": after,
    }  # fmt: skip


@router.get("/symbols/{symbol}/indicators", response_model=Indicators, responses=_DOWNLOAD)
def indicators(
    here: Here, symbol: SymbolPath,
    names: Annotated[str | None, Query(max_length=1000, description="Comma-separated columns")] = None,
    from_: FromQuery = None, to: ToQuery = None, limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    cursor: CursorQuery = None, source: SourceQuery = None, form: FormatQuery = "json",
) -> Any:  # fmt: skip
    """Daily indicators on adjusted prices, oldest first; without `from` the newest `limit`."""
    wanted = [column.name for column in INDICATOR_COLUMNS]
    if names is not None:
        wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if unknown := [name for name in wanted if name not in NUMERIC]:
        raise HTTPException(422, f"names: no column {unknown[0]!r}; there are {', '.join(NUMERIC)}")
    chosen, table = _rows(here, symbol, source)
    table = table.select(["session_date", *wanted])
    if form != "json":
        return _download(table, form, f"{symbol}-{chosen}-indicators", from_, to)
    begin, end, after = _page(table, from_, to, limit, cursor)
    items = table.slice(begin, end - begin).to_pylist()
    return {"symbol": symbol, "source": chosen, "names": wanted, "items": items, "next_cursor": after}


@router.get("/risk")
def risk_measures(
    here: Here, symbols: SymbolList, sessions: SessionsQuery = 252, source: SourceQuery = None
) -> Risk:  # fmt: skip
    """Volatility, drawdown, value at risk and correlation, from the newest `sessions` daily returns."""
    many = _series(here, symbols, source)
    items = [
        {"symbol": symbol, "source": chosen, **risk.measure(series, sessions)}
        for symbol, (chosen, series) in many.items()
    ]
    matrix, count = risk.correlation([series for _, series in many.values()], sessions)
    correlation = {"symbols": list(many), "matrix": matrix, "sessions": count}
    return Risk.model_validate({"sessions": sessions, "items": items, "correlation": correlation})


@router.get("/compare")
def compare(here: Here, symbols: SymbolList, sessions: SessionsQuery = 252, source: SourceQuery = None) -> Compare:
    """Adjusted closes on one scale: 100 at the first session that all symbols have."""
    many = _series(here, symbols, source)
    days, lines = risk.rebased([series for _, series in many.values()], sessions)
    items = [
        {"symbol": symbol, "source": chosen,
         "points": [{"session_date": day, "value": value} for day, value in zip(days, line, strict=True)]}
        for (symbol, (chosen, _)), line in zip(many.items(), lines, strict=True)
    ]  # fmt: skip
    return Compare.model_validate({"items": items})


def _rows(here: Service, symbol: str, asked: Source | None) -> tuple[str, "pa.Table"]:
    here.look_at_lake()
    source = here.lake.best_source(symbol, asked.value if asked else None)
    if source is not None:
        table = here.lake.rows(symbol, source)
        if table.num_rows:
            return source, table
    which = f" from {asked}" if asked else ""
    raise HTTPException(404, f"no daily history of {symbol}{which}: see /api/v1/symbols for what there is")


def _page(
    table: "pa.Table", first: date | None, last: date | None, limit: int, cursor: str | None
) -> tuple[int, int, str | None]:
    return page_of(table["session_date"].to_pylist(), first, last, limit, cursor)


def _download(table: "pa.Table", form: Any, name: str, first: date | None, last: date | None) -> Response:
    begin, end, _ = page_of(table["session_date"].to_pylist(), first, last, table.num_rows, None)
    part = table.slice(begin, end - begin)
    days = part["session_date"]
    span = f"-{days[0].as_py()}-{days[-1].as_py()}" if part.num_rows else ""
    return export.download(part, form, name + span)


def _series(here: Service, asked: list[str] | None, source: Source | None) -> dict[str, tuple[str, risk.Series]]:
    """Adjusted closes by symbol. Of the watchlist, which nobody asked for, what has no history is left out."""
    here.look_at_lake()
    wanted = asked if asked is not None else _watchlist(here, source)
    found: dict[str, tuple[str, risk.Series]] = {}
    for symbol in wanted:
        chosen, table = _rows(here, symbol, source)
        closes = zip(table["session_date"].to_pylist(), table["adj_close"].to_pylist(), strict=True)
        found[symbol] = (chosen, dict(closes))
    return found


def _watchlist(here: Service, source: Source | None) -> list[str]:
    have = list(dict.fromkeys(symbol for symbol, chosen in here.lake.listed() if source in (None, chosen)))
    live = [symbol for symbol in here.live.symbols() if symbol in have]
    return live or have[:_DEFAULT_SYMBOLS]
