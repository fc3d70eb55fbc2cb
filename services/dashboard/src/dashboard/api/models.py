"""What the market side of the API answers: prices, bars, indicators, windows, risk. The OpenAPI page is made of these.

Times are UTC with milliseconds, prices in the listing's currency, shares of a whole are fractions of 1.
"""

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ticklake.history_options import Adjust
from ticklake.records import UtcMs, WindowLength, WindowMessage


class Model(BaseModel):
    """What every answer shares: it is made by this service alone, so nothing unknown is in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Market(Model):
    """The exchange's hours."""

    open: bool = Field(description="Whether a session is under way")
    next_open: UtcMs = Field(description="Start of the next session")
    next_close: UtcMs = Field(description="End of the session under way, else of the next one")


class LiveState(Model):
    """The live flow as seen from here."""

    state: Literal["live", "stale", "empty"] = Field(
        description="`stale`: no tick arrived for TICKLAKE_DASHBOARD_STALE_SECONDS; `empty`: none came yet"
    )
    source: str | None = Field(description="Source of the newest tick", examples=["simulated"])
    last_tick: UtcMs | None = Field(description="When the newest tick arrived, by the broker's clock")
    age_seconds: float | None = Field(description="Age of the newest tick by arrival, seconds")
    symbols: list[str] = Field(description="Symbols with ticks")
    left_out: list[str] = Field(description="Symbols beyond TICKLAKE_DASHBOARD_LIVE_SYMBOLS, whose ticks are left out")


class PartState(Model):
    """Whether a part that the dashboard reads from answers."""

    state: Literal["ok", "error"]
    detail: str = Field(description="What is wrong, or empty")


class Status(Model):
    """The state of everything in one look."""

    now: UtcMs = Field(description="This server's clock")
    version: str = Field(description="Version or commit of the running code")
    calendar: str = Field(description="Exchange calendar (ISO 10383 code)", examples=["XNYS"])
    zone: str | None = Field(description="Time zone of the exchange", examples=["America/New_York"])
    market: Market | None = Field(description="Null in the first seconds after a start")
    live: LiveState
    store: PartState = Field(description="The lake: its store and the catalog of its tables")
    broker: PartState
    data_sources: list[str] = Field(description="Sources of the daily batches in the lake and of the live ticks")


class SymbolItem(Model):
    """What there is of one symbol from one source; the daily fields are null where it has live prices only."""

    symbol: str = Field(examples=["AAPL"])
    source: str = Field(examples=["yahoo"])
    first_session: date | None
    last_session: date | None
    sessions: int | None = Field(description="Sessions with a daily bar")
    last_close: float | None = Field(description="Close of the last session, adjusted for splits")
    live: bool = Field(description="Whether there are ticks of it")


class Symbols(Model):
    """All symbols."""

    items: list[SymbolItem]


class QuoteChange(Model):
    """A symbol's price as the event stream repeats it."""

    symbol: str = Field(examples=["AAPL"])
    price: float = Field(description="Price of the newest tick by event time")
    change: float = Field(description="Price minus the previous close (or the first tick known)")
    change_percent: float = Field(description="The change in percent of what it is measured against")
    volume: int = Field(description="Shares in the ticks held of the present trading day")
    high: float = Field(description="Highest price of the ticks held of the present trading day")
    low: float = Field(description="Lowest price of the ticks held of the present trading day")
    event_time: UtcMs = Field(description="Event time of the newest tick")
    arrived_at: UtcMs = Field(description="When the broker took that tick")
    source: str = Field(description="Source of the ticks", examples=["simulated"])


class Quote(QuoteChange):
    """A symbol's price in full."""

    previous_close: float | None = Field(description="Close of the last session before the tick's; null if not known")
    change_since: Literal["previous_close", "first_tick"] = Field(description="What the change is measured against")
    sparkline: list[float] = Field(description="At most 60 prices, evenly taken from the ticks held, oldest first")


class Quotes(Model):
    """All live prices."""

    items: list[Quote]


class QuoteChanges(Model):
    """The event `quotes`."""

    items: list[QuoteChange]


class AsKnown(Model):
    """What of the history counts."""

    as_of: UtcMs | None = Field(description="Only what was known then; null for all that is known")
    until: date | None = Field(description="Only sessions, splits and dividends up to that day; null for all")


class Bar(Model):
    """One session."""

    session_date: date
    open: float
    high: float
    low: float
    close: float
    volume: int = Field(description="Shares traded, adjusted for splits unless `adjust` is none")
    dividends: float = Field(description="Cash per share that went ex on this session; shares as for volume")
    stock_splits: float = Field(description="New shares per old one, 0 for no split")


class Bars(AsKnown):
    """Daily bars, oldest first."""

    symbol: str
    source: str
    adjust: Adjust = Field(description="What prices are adjusted for; all is splits and dividends")
    known_at: UtcMs = Field(description="Latest answer of the source that the rows are computed from")
    items: list[Bar]
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last")


class Indicators(AsKnown):
    """Daily indicators, oldest first."""

    symbol: str
    source: str
    names: list[str]
    items: list[dict[str, date | float | None]] = Field(
        description="`session_date` and one number or null per name",
        examples=[[{"session_date": "2026-01-30", "sma_20": 211.4, "rsi_14": 55.2}]],
    )
    next_cursor: str | None


class Window(Model, WindowMessage):
    """One sliding window over ticks."""

    upper_band: float | None = Field(description="moving_average + 2 x volatility")
    lower_band: float | None = Field(description="moving_average - 2 x volatility")
    version: int | None = Field(  # type: ignore[assignment]
        description="Of a running window: a greater one replaces a smaller; null from the lake"
    )


class Windows(Model):
    """Windows, oldest first."""

    symbol: str
    length: WindowLength
    items: list[Window]


class TickItem(Model):
    """One trade print."""

    event_time: UtcMs
    price: float
    volume: int = Field(description="Shares traded in this tick")
    sequence: int
    source: str


class Ticks(Model):
    """The newest ticks held in memory, oldest first."""

    symbol: str
    items: list[TickItem]


class Problem(Model):
    """An error (RFC 9457, application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    errors: list[dict[str, str]] | None = Field(default=None, description="Of a 422: what is wrong where")
