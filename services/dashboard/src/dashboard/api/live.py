"""Routes over the live flow: status, quotes, ticks, windows, alerts and the event stream."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from dashboard.api import export
from dashboard.api.event_stream import MEDIA_TYPE, EventStream
from dashboard.api.models import Quotes, Status, Ticks, Windows
from dashboard.api.models_platform import AlertRules, Alerts
from dashboard.api.parameters import BASE, FormatQuery, FromTimeQuery, Here, SourceQuery, SymbolPath, ToTimeQuery
from dashboard.live.windows import with_bands
from dashboard.service import Service
from ticklake.errors import StageError
from ticklake.records import WindowLength
from ticklake.tables import WINDOW_COLUMNS

router = APIRouter(prefix=BASE, tags=["live"])

_TICK_COLUMNS = {
    "event_time": "timestamp",
    "price": "double",
    "volume": "bigint",
    "sequence": "bigint",
    "source": "string",
}
_WINDOW_COLUMNS = {
    **{column.name: column.type for column in WINDOW_COLUMNS},
    "upper_band": "double",
    "lower_band": "double",
    "final": "boolean",
}
_MOST_WINDOWS = 2000


@router.get("/status")
async def status(here: Here) -> Status:
    """The state of the market, the live flow, the store and the broker."""
    return here.status()


@router.get("/quotes")
async def quotes(here: Here) -> Quotes:
    """The live price of every symbol with ticks."""
    return Quotes.model_validate({"items": here.quotes()})


@router.get(
    "/stream",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}, "description": "Events: hello, quotes, window, alert, status"}},
)
async def stream(here: Here) -> Response:
    """Live prices, windows, alerts and the status as they change.

    `hello` has the whole state: quotes, running windows, the last 20 alerts, the status. `quotes` has the symbols that
    changed, at most every 200 ms; `window` and `alert` one each; `status` comes every 5 s and on change.
    """
    hub = here.hub
    if hub is None or hub.closing:
        raise HTTPException(503, "the server is stopping", {"retry-after": "2"})
    if hub.open_streams >= here.options.streams:
        raise HTTPException(503, f"{hub.open_streams} pages are open, which is the most that this server serves")
    return EventStream(hub, here.metrics, here.options.slow_client_seconds)


@router.get("/symbols/{symbol}/ticks", response_model=Ticks, responses=export.DOWNLOAD)
def ticks(
    here: Here, symbol: SymbolPath, limit: Annotated[int, Query(ge=1, le=5000)] = 500, form: FormatQuery = "json"
) -> Any:
    """The newest ticks held in memory, oldest first."""
    found = here.live.ticks(symbol, limit if form == "json" else here.options.ticks_per_symbol)
    if found is None:
        raise HTTPException(404, f"no ticks of {symbol} since this server started or shortly before")
    source, held = found
    rows = [
        {
            "event_time": datetime.fromtimestamp(tick.event_ms / 1000, UTC),
            "price": tick.price,
            "volume": tick.volume,
            "sequence": tick.sequence,
            "source": source,
        }
        for tick in held
    ]
    if form != "json":
        return export.download(export.of_rows(rows, _TICK_COLUMNS), form, f"{symbol}-{source}-ticks")
    return {"symbol": symbol, "items": rows}


@router.get("/symbols/{symbol}/windows", response_model=Windows, responses=export.DOWNLOAD)
def windows(
    here: Here,
    symbol: SymbolPath,
    length: WindowLength = "15m",
    from_: FromTimeQuery = None,
    to: ToTimeQuery = None,
    limit: Annotated[int, Query(ge=1, le=_MOST_WINDOWS)] = 200,
    source: SourceQuery = None,
    form: FormatQuery = "json",
) -> Any:
    """The newest windows of a symbol, oldest first: closed ones from the lake, running ones from the stream."""
    most = limit if form == "json" else _MOST_WINDOWS
    rows = _windows(here, symbol, length, from_, to, most, source.value if source else None)
    if form != "json":
        return export.download(export.of_rows(rows, _WINDOW_COLUMNS), form, f"{symbol}-windows-{length}")
    return {"symbol": symbol, "length": length, "items": rows}


def _windows(
    here: Service,
    symbol: str,
    length: str,
    first: datetime | None,
    last: datetime | None,
    limit: int,
    source: str | None,
) -> list[dict[str, Any]]:
    live = here.windows.find(symbol, length, source)
    chosen = source or (live[-1]["source"] if live else None)
    try:
        closed = here.closed_windows.find(symbol, length, limit, first, last, chosen)
    except StageError:
        if not live:
            raise
        closed = []  # the live ones can be shown all the same; the status says that the store is away
    if chosen is None and closed:
        chosen = closed[-1]["source"]
    by_start = {
        window["window_start"]: window
        for window in live
        if (first is None or window["window_start"] >= first) and (last is None or window["window_start"] <= last)
    }
    by_start |= {
        window["window_start"]: with_bands(window) | {"final": True, "version": None}
        for window in closed
        if window["source"] == chosen
    }
    if not by_start and symbol not in here.live.symbols():
        here.refresh_lake()
        if here.lake.best_source(symbol) is None:
            raise HTTPException(404, f"no windows of {symbol}")
    return [by_start[start] for start in sorted(by_start)][-limit:]


@router.get("/alerts")
async def alerts(here: Here, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> Alerts:
    """Market alerts, newest first."""
    return Alerts(items=here.alerts.newest(limit))


@router.get("/alerts/rules")
def alert_rules(here: Here) -> AlertRules:
    """The rules that market-alerts evaluates."""
    here.expect_broker()
    rules = here.rules.read()
    return AlertRules(configured=bool(rules), items=rules)
