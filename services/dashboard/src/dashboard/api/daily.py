"""Routes over the daily history: symbols, bars, indicators, risk, comparison."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from dashboard.api import export
from dashboard.api.models import Bars, Indicators, Symbols
from dashboard.api.models_risk import Compare, Risk
from dashboard.api.parameters import (
    BASE,
    AdjustQuery,
    CursorQuery,
    FormatQuery,
    FromQuery,
    Here,
    Known,
    KnownQuery,
    ReturnsQuery,
    SessionsQuery,
    SourceQuery,
    SymbolList,
    SymbolPath,
    ToQuery,
    page_of,
)
from dashboard.lake import risk
from dashboard.lake.daily_history import NUMERIC
from dashboard.service import Service
from ticklake import history
from ticklake.facts import Facts
from ticklake.history import NothingKnownError, UnknownSymbolError
from ticklake.history_options import Adjust
from ticklake.records import Source
from ticklake.tables import INDICATOR_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

router = APIRouter(prefix=BASE, tags=["daily history"])

_DEFAULT_SYMBOLS = 10


@router.get("/symbols")
def symbols(here: Here) -> Symbols:
    """Every symbol with daily history, once per source with the preferred first, and those with live prices only."""
    here.refresh_lake()
    items: list[dict[str, Any]] = []
    live = {symbol: here.live.source_of(symbol) for symbol in here.live.symbols()}
    for symbol, source in here.lake.listed():
        if (found := here.lake.summary(symbol, source)) is None:
            continue  # gone with a look in between
        items.append(
            {
                "symbol": symbol,
                "source": source,
                "first_session": found.first,
                "last_session": found.last,
                "sessions": found.sessions,
                "last_close": found.tail[-1][1],
                "live": symbol in live,
            }
        )
    known = {item["symbol"] for item in items}
    items += [
        {
            "symbol": symbol,
            "source": source,
            "first_session": None,
            "last_session": None,
            "sessions": None,
            "last_close": None,
            "live": True,
        }
        for symbol, source in live.items()
        if symbol not in known
    ]
    return Symbols.model_validate({"items": items})


@router.get("/symbols/{symbol}/bars", response_model=Bars, responses=export.DOWNLOAD)
def bars(
    here: Here,
    symbol: SymbolPath,
    known: KnownQuery,
    from_: FromQuery = None,
    to: ToQuery = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    cursor: CursorQuery = None,
    source: SourceQuery = None,
    adjust: AdjustQuery = "splits",
    form: FormatQuery = "json",
) -> Any:
    """Daily bars, oldest first; without `from` the newest `limit`."""
    chosen = _source(here, symbol, source)
    table = _bars(here, [symbol], chosen, known, adjust)[symbol]
    if form != "json":
        return _download(table, form, f"{symbol}-{chosen}-bars", from_, to)
    begin, end, after = _page(table, from_, to, limit, cursor)
    items = table.slice(begin, end - begin).drop_columns("known_at").to_pylist()
    return {
        "symbol": symbol,
        "source": chosen,
        "adjust": adjust,
        "as_of": known.as_of,
        "until": known.until,
        "known_at": table["known_at"][0].as_py(),
        "items": items,
        "next_cursor": after,
    }


@router.get("/symbols/{symbol}/indicators", response_model=Indicators, responses=export.DOWNLOAD)
def indicators(
    here: Here,
    symbol: SymbolPath,
    known: KnownQuery,
    names: Annotated[str | None, Query(max_length=1000, description="Comma-separated columns")] = None,
    from_: FromQuery = None,
    to: ToQuery = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    cursor: CursorQuery = None,
    source: SourceQuery = None,
    form: FormatQuery = "json",
) -> Any:
    """Daily indicators on adjusted prices, oldest first; without `from` the newest `limit`."""
    wanted = [column.name for column in INDICATOR_COLUMNS]
    if names is not None:
        wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if unknown := [name for name in wanted if name not in NUMERIC]:
        raise HTTPException(422, f"names: no column {unknown[0]!r}; there are {', '.join(NUMERIC)}")
    chosen = _source(here, symbol, source)
    if known.now:
        table = _stored(here, symbol, chosen)
    else:
        facts = _facts(here, [symbol], chosen)[symbol]
        table = history.analytics(facts, as_of=known.as_of, until=known.until, noise=here.settings.quality.noise)
    table = table.select(["session_date", *wanted])
    if form != "json":
        return _download(table, form, f"{symbol}-{chosen}-indicators", from_, to)
    begin, end, after = _page(table, from_, to, limit, cursor)
    items = table.slice(begin, end - begin).to_pylist()
    return {
        "symbol": symbol,
        "source": chosen,
        "as_of": known.as_of,
        "until": known.until,
        "names": wanted,
        "items": items,
        "next_cursor": after,
    }


@router.get("/risk")
def risk_measures(
    here: Here,
    symbols: SymbolList,
    known: KnownQuery,
    sessions: SessionsQuery = 252,
    source: SourceQuery = None,
    adjust: ReturnsQuery = "all",
) -> Risk:
    """Volatility, drawdown, value at risk and correlation, from the newest `sessions` daily returns."""
    many = _series(here, symbols, source, known, adjust)
    items = [
        {"symbol": symbol, "source": chosen, **risk.measure(series, sessions)}
        for symbol, (chosen, series) in many.items()
    ]
    matrix, count = risk.correlation([series for _, series in many.values()], sessions)
    correlation = {"symbols": list(many), "matrix": matrix, "sessions": count}
    return Risk.model_validate(
        {
            "adjust": adjust,
            "as_of": known.as_of,
            "until": known.until,
            "sessions": sessions,
            "items": items,
            "correlation": correlation,
        }
    )


@router.get("/compare")
def compare(
    here: Here,
    symbols: SymbolList,
    known: KnownQuery,
    sessions: SessionsQuery = 252,
    source: SourceQuery = None,
    adjust: ReturnsQuery = "all",
) -> Compare:
    """Adjusted closes on one scale: 100 at the first session that all symbols have."""
    many = _series(here, symbols, source, known, adjust)
    days, lines = risk.rebased([series for _, series in many.values()], sessions)
    items = [
        {
            "symbol": symbol,
            "source": chosen,
            "points": [{"session_date": day, "value": value} for day, value in zip(days, line, strict=True)],
        }
        for (symbol, (chosen, _)), line in zip(many.items(), lines, strict=True)
    ]
    return Compare.model_validate({"adjust": adjust, "as_of": known.as_of, "until": known.until, "items": items})


def _source(here: Service, symbol: str, asked: Source | None) -> Source:
    """The source to show of a symbol."""
    here.refresh_lake()
    found = here.lake.best_source(symbol, asked.value if asked else None)
    if found is None:
        raise _no_history(symbol, asked)
    return Source(found)


def _no_history(symbol: str, source: Source | None) -> UnknownSymbolError:
    which = f" from {source}" if source else ""
    return UnknownSymbolError(f"no daily history of {symbol}{which}: see {BASE}/symbols for what there is")


def _stored(here: Service, symbol: str, source: Source) -> "pa.Table":
    """A symbol's rows of the table of analytics."""
    table = here.lake.rows(symbol, source.value)
    if not table.num_rows:
        raise _no_history(symbol, source)
    return table


def _facts(here: Service, symbols: Sequence[str], source: Source) -> dict[str, Facts]:
    found = here.facts.of(symbols, source)
    if lost := [symbol for symbol in symbols if symbol not in found]:
        raise _no_history(lost[0], source)
    return found


def _bars(here: Service, symbols: Sequence[str], source: Source, known: Known, adjust: Adjust) -> "dict[str, pa.Table]":
    """Some symbols' bars from one source, without those of which nothing was known.

    Raises:
        NothingKnownError: that is all of them.
    """
    if known.now and adjust != "none":
        return {symbol: history.priced(_stored(here, symbol, source), adjust) for symbol in symbols}
    noise, found, nothing = here.settings.quality.noise, {}, None
    for symbol, facts in _facts(here, symbols, source).items():
        try:
            found[symbol] = history.bars_of(facts, as_of=known.as_of, until=known.until, adjust=adjust, noise=noise)
        except NothingKnownError as error:
            nothing = error
    if nothing is not None and not found:
        raise nothing
    return found


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


def _series(
    here: Service, asked: list[str] | None, source: Source | None, known: Known, adjust: Adjust
) -> dict[str, tuple[str, risk.Series]]:
    """Adjusted closes by symbol; those of which nothing was known are left out.

    Raises:
        NothingKnownError: that is all that were asked for.
    """
    here.refresh_lake()
    wanted = asked if asked is not None else _watchlist(here, source)
    chosen = {symbol: _source(here, symbol, source) for symbol in wanted}
    tables: dict[str, pa.Table] = {}
    nothing = None
    for each in dict.fromkeys(chosen.values()):
        mine = [symbol for symbol in wanted if chosen[symbol] is each]
        try:
            tables |= _bars(here, mine, each, known, adjust)
        except NothingKnownError as error:
            nothing = error
    if nothing is not None and asked is not None and not tables:
        raise nothing
    return {
        symbol: (
            chosen[symbol],
            dict(zip(*(tables[symbol][name].to_pylist() for name in ("session_date", "close")), strict=True)),
        )
        for symbol in wanted
        if symbol in tables
    }


def _watchlist(here: Service, source: Source | None) -> list[str]:
    have = list(dict.fromkeys(symbol for symbol, chosen in here.lake.listed() if source in (None, chosen)))
    live = [symbol for symbol in here.live.symbols() if symbol in have]
    return live or have[:_DEFAULT_SYMBOLS]
