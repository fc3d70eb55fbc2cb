"""Parameters that several routes share."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query, Request
from pydantic import AwareDatetime, BeforeValidator, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from dashboard.api import paging
from dashboard.api.export import Format
from dashboard.service import Service
from ticklake.history_options import Adjust, day, moment
from ticklake.records import DAILY_SOURCES, Source, Symbol

BASE = "/api/v1"
MOST_SYMBOLS = 30
_SYMBOL = TypeAdapter(Symbol)


def service_of(request: Request) -> Service:
    """The service behind the app."""
    found: Service = request.app.state.service
    found.touch()
    return found


def _no_number(text: object) -> object:
    # Pydantic would take a number for seconds since 1970.
    try:
        float(str(text))
    except ValueError:
        return text
    raise ValueError("is to be written as in ISO 8601, like 2026-01-31 or 2026-01-31T21:00:00Z")


_ISO = BeforeValidator(_no_number)

Here = Annotated[Service, Depends(service_of)]
SymbolPath = Annotated[Symbol, Path(description="Ticker in Yahoo's notation", examples=["AAPL"])]
SourceQuery = Annotated[
    Source | None, Query(description=f"Without it the best there is: {', then '.join(DAILY_SOURCES)}")
]
FormatQuery = Annotated[
    Format, Query(alias="format", description="csv and parquet are downloads of all rows, not paged")
]
FromQuery = Annotated[date | None, _ISO, Query(alias="from", description="First session, included")]
ToQuery = Annotated[date | None, _ISO, Query(description="Last session, included")]
FromTimeQuery = Annotated[AwareDatetime | None, _ISO, Query(alias="from", description="First window start, included")]
ToTimeQuery = Annotated[AwareDatetime | None, _ISO, Query(description="Last window start, included")]
CursorQuery = Annotated[str | None, Query(max_length=300, description="`next_cursor` of the page before")]
AdjustQuery = Annotated[
    Adjust, Query(description="none: as traded; splits; all: splits and dividends, as the indicators are")
]
ReturnsQuery = Annotated[
    Literal["splits", "all"], Query(description="Returns of the price alone (splits), or with dividends (all)")
]
SessionsQuery = Annotated[int, Query(ge=2, le=5000, description="Newest sessions, as a number of daily returns")]


def symbol_list(
    symbols: Annotated[
        str | None,
        Query(
            max_length=MOST_SYMBOLS * 21,
            description=f"Comma-separated, at most {MOST_SYMBOLS}; without it the watchlist",
        ),
    ] = None,
) -> list[str] | None:
    """The tickers of a comma-separated parameter, each once; None where it is not given."""
    if symbols is None:
        return None
    asked = list(dict.fromkeys(part.strip().upper() for part in symbols.split(",") if part.strip()))
    if not 1 <= len(asked) <= MOST_SYMBOLS:
        raise HTTPException(422, f"symbols: 1 to {MOST_SYMBOLS} tickers, comma-separated")
    try:
        for symbol in asked:
            _SYMBOL.validate_python(symbol)
    except ValidationError:
        raise HTTPException(422, f"symbols: {symbol!r} is no ticker in Yahoo's notation") from None
    return asked


@dataclass(frozen=True)
class Known:
    """What of the daily history counts: what was known at a moment, up to a day; everything where both are None."""

    as_of: datetime | None
    until: date | None

    @property
    def now(self) -> bool:
        """Whether everything that is known counts."""
        return self.as_of is None and self.until is None


def known(
    as_of: Annotated[
        str | None,
        Query(
            max_length=40,
            examples=["2026-01-30"],
            description="Only what was known then: a date for the end of that day in UTC, or a time with its offset",
        ),
    ] = None,
    until: Annotated[
        str | None,
        Query(
            max_length=40,
            examples=["2026-01-30"],
            description="Only sessions, splits and dividends up to this date, for history that was fetched later",
        ),
    ] = None,
) -> Known:
    """What `as_of` and `until` ask for."""
    found: dict[str, Any] = {"as_of": None, "until": None}
    for name, text, read in (("as_of", as_of, moment), ("until", until, day)):
        if text is not None:
            try:
                found[name] = read(text)
            except ValueError as error:
                raise HTTPException(422, f"{name}: {error}") from None
    return Known(**found)


KnownQuery = Annotated[Known, Depends(known)]


SymbolList = Annotated[list[str] | None, Depends(symbol_list)]


def page_of(
    days: Sequence[date], first: date | None, last: date | None, limit: int, cursor: str | None
) -> tuple[int, int, str | None]:
    """Which rows of `days` (in order) a page has, as begin and end, and the cursor of the next page.

    With `first`, pages go from old to new; without it they begin with the newest rows and go back. Rows within a page
    are in order either way.
    """
    low = bisect_left(days, first) if first else 0
    high = bisect_right(days, last) if last else len(days)
    forward = first is not None
    if cursor is not None:
        direction, at = paging.decode_session(cursor)
        forward = direction == "after"
        if forward:
            low = max(low, bisect_right(days, at))
        else:
            high = min(high, bisect_left(days, at))
    if low >= high:
        return 0, 0, None
    if forward:
        end = min(high, low + limit)
        return low, end, paging.encode("after", days[end - 1].isoformat()) if end < high else None
    begin = max(low, high - limit)
    return begin, high, paging.encode("before", days[begin].isoformat()) if begin > low else None
