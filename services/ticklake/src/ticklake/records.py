"""Records on the wire: pydantic models, JSON, a `schema_version` in each.

Prices follow Yahoo's convention: open, high, low, close and volume are adjusted for splits, `adj_close` for splits and
dividends. All prices are in the listing's currency; all times are UTC.
"""

import hashlib
import math
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)

SYMBOL = r"^[A-Z0-9^][A-Z0-9.^=&-]{0,19}$"
Symbol = Annotated[str, StringConstraints(pattern=SYMBOL)]
"""A ticker in Yahoo's notation, e.g. `AAPL`, `BRK-B`, `^GSPC`, `EURUSD=X`, `M&M.NS`."""

Price = Annotated[float, Field(ge=1e-12, le=1e18, allow_inf_nan=False)]
"""Per unit, in the listing's currency.

The bounds leave room for any instrument (tokens that cost 1e-9; shares of 1e15 before a dozen reverse splits), and are
so narrow that what is computed of prices stays finite: their squares, sums of price x volume, the ratio of any two.
"""

TickVolume = Annotated[int, Field(ge=0, le=10**12)]
"""Shares traded in a tick. A double holds it exactly, and 64 bits the sum of nine million of the greatest."""

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
"""Tables hold volumes as bigint; a larger number is no volume and would fail far from where it came in."""


def iso_ms(value: datetime) -> str:
    """`2026-01-31T14:30:00.123Z`: UTC, milliseconds, four digits of the year, the form of every time on the wire."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _whole_ms(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs a zone")
    try:
        utc = value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies outside of the years 1 to 9999 in UTC") from error
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


UtcMs = Annotated[datetime, AfterValidator(_whole_ms), PlainSerializer(iso_ms, return_type=str, when_used="json")]
"""A time in UTC, cut to whole milliseconds."""

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _event_time(value: object) -> datetime:
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError("should be a text like 2026-01-31T14:30:00.123Z")
    return _whole_ms(value)


EventTime = Annotated[
    datetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(2262, 1, 1, tzinfo=UTC)),
    BeforeValidator(_event_time),
    PlainSerializer(iso_ms, return_type=str, when_used="json"),
]
"""When something was traded, written as RFC 3339 has it, with capital T and Z.

From 1970, where Kafka's own timestamps begin, up to 2262, where nanoseconds since then leave 64 bits: every reader of
the tables holds such a time and the windows around it.
"""


def _whole_number(value: object) -> object:
    # To Python, and so to pydantic even where it is strict, True and 1.0 are the number 1; on the wire they differ.
    if type(value) is not int:
        raise ValueError("should be a whole number")
    return value


SchemaVersion = Annotated[Literal[1], BeforeValidator(_whole_number)]
"""Version of a record's schema."""


class Source(StrEnum):
    """Where a row comes from; on every row, never silent."""

    YAHOO = "yahoo"
    REPLAY = "replay"
    SIMULATED = "simulated"
    ALPHA_VANTAGE = "alpha_vantage"

    @property
    def is_real(self) -> bool:
        """Whether it is the market itself, neither recorded nor simulated."""
        return self in (Source.YAHOO, Source.ALPHA_VANTAGE)


DAILY_SOURCES = (Source.YAHOO, Source.REPLAY, Source.SIMULATED)
"""Sources of daily bars, first the one to take where none is asked for."""


def _daily(source: Source) -> Source:
    if source not in DAILY_SOURCES:
        raise ValueError(f"should be {', '.join(DAILY_SOURCES[:-1])} or {DAILY_SOURCES[-1]}")
    return source


DailySource = Annotated[Source, AfterValidator(_daily)]
"""A source of daily bars."""


def known_at(source: Source, fetched_at: datetime, batch_date: date) -> datetime:
    """The moment from which an answer counts as known; a replayed or simulated one plays on its batch's date."""
    if source.is_real:
        return fetched_at
    return min(fetched_at, datetime.combine(batch_date, time(23, 59, 59, 999_000), UTC))


class SymbolStatus(StrEnum):
    """The source's description of a symbol."""

    OK = "ok"
    EMPTY = "empty"
    """Known, but no session in the period."""
    UNKNOWN = "unknown"
    DELISTED = "delisted"
    HELD = "held"
    """Its answer fails a check: nothing of it is used, what was known of it stays, and a person decides."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _BatchRecord(_Record):
    """What bars and trailers share: which batch they belong to."""

    schema_version: SchemaVersion = 1
    symbol: Symbol
    source: Source
    batch_id: str = Field(min_length=1)
    batch_date: date
    sequence: int = Field(ge=0, le=_INT32_MAX)
    """Position among the symbol's messages of this batch, from 0; (batch_id, symbol, sequence) is the identity."""
    fetched_at: UtcMs

    @property
    def identity(self) -> tuple[str, str, int]:
        """What makes two deliveries the same message."""
        return (self.batch_id, self.symbol, self.sequence)


class DailyBar(_BatchRecord):
    """One session of one symbol. Message key: the symbol."""

    kind: Literal["daily_bar"] = "daily_bar"
    session_date: date
    open: Price
    high: Price
    low: Price
    close: Price
    adj_close: Price
    volume: int = Field(ge=0, le=_INT64_MAX)
    """Shares, adjusted for splits."""
    currency: str | None = None
    """Of the prices, as the source names it; None where it does not say."""
    dividends: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Cash per share that went ex on this session, adjusted for splits."""
    stock_splits: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """New shares per old one on this session, 0 where there was no split."""

    @model_validator(mode="after")
    def _range_holds_open_and_close(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"high {self.high} is below low {self.low}")
        for name, value in (("open", self.open), ("close", self.close)):
            if not self.low <= value <= self.high:
                raise ValueError(f"{name} {value} is outside low {self.low} to high {self.high}")
        return self

    def row_hash(self) -> str:
        """Hash of the values that every stage must preserve; see `row_hash`."""
        return row_hash(
            self.symbol,
            self.session_date,
            self.open,
            self.high,
            self.low,
            self.close,
            self.adj_close,
            self.volume,
            self.dividends,
            self.stock_splits,
            self.source,
        )


class CorporateAction(_Record):
    """A split or dividend as the source gives it."""

    ex_date: date
    kind: Literal["dividend", "split"]
    value: float = Field(gt=0, allow_inf_nan=False)
    """Cash per share, adjusted for the splits after it; or new shares per old one."""
    currency: str | None = None
    """Of a dividend, as the source names it."""


class BatchTrailer(_BatchRecord):
    """Ends one symbol's bars in a batch; sent after them with the same key, so in the same partition and in order.

    Also sent for a symbol without rows: nothing is guessed from silence. `sequence` is the number of bars before it.
    """

    kind: Literal["batch_trailer"] = "batch_trailer"
    status: SymbolStatus
    row_count: int = Field(ge=0)
    checksum: str
    """`batch_checksum` over the bars' row hashes in order."""
    batch_symbols: tuple[Symbol, ...]
    """Every symbol that the batch asked for."""
    actions: tuple[CorporateAction, ...] = ()
    """Every split and dividend from the first bar up to `fetched_at`, also after the last bar; one per day and kind."""


BatchMessage = Annotated[DailyBar | BatchTrailer, Field(discriminator="kind")]


class Tick(_Record):
    """One trade print. Message key: the symbol. `ticklake.ticks.read_tick` reads it from a message."""

    schema_version: SchemaVersion = 1
    symbol: Symbol
    price: Price
    volume: TickVolume
    event_time: EventTime
    sequence: int = Field(ge=0, le=_INT64_MAX)
    """Counts up from 0 per symbol and producer run; (producer_run, symbol, sequence) is the identity."""
    producer_run: str = Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,128}$")
    """Goes into files and logs: no control characters, no ends of lines."""
    source: Source

    @property
    def event_ms(self) -> int:
        """`event_time` in milliseconds since 1970."""
        return round(self.event_time.timestamp() * 1000)


WindowLength = Literal["15m", "1h"]
WINDOW_LENGTHS: dict[WindowLength, timedelta] = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1)}


class WindowMessage(BaseModel):
    """A sliding window over ticks, as the analytics topic has it: the columns of `ticklake.tables.WINDOW_COLUMNS`."""

    model_config = ConfigDict(frozen=True)

    symbol: str
    source: str
    window_length: WindowLength
    window_start: UtcMs = Field(description="Included")
    window_end: UtcMs = Field(description="Excluded")
    open: float
    high: float
    low: float
    close: float
    vwap: float = Field(description="Price averaged by volume")
    volume: int
    tick_count: int
    moving_average: float = Field(description="Mean price of the ticks")
    volatility: float | None = Field(description="Sample standard deviation of the prices; null for a single tick")
    first_event_time: UtcMs
    last_event_time: UtcMs
    version: int = Field(description="A greater one replaces a smaller")
    final: bool = Field(description="False while the window still runs")


def row_hash(
    symbol: str,
    session_date: date,
    open_: float,
    high: float,
    low: float,
    close: float,
    adj_close: float,
    volume: int,
    dividends: float,
    stock_splits: float,
    source: str,
) -> str:
    """128-bit BLAKE2b, in hex, of a bar's values.

    Numbers enter in Python's shortest form that reads back to the same double, so equal hashes mean equal bits: a
    stage that rounds a price anywhere between source and warehouse is found.
    """
    numbers = (open_, high, low, close, adj_close, dividends, stock_splits)
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{symbol} {session_date}: a row hash needs finite numbers")
    return value_hash((symbol, session_date.isoformat(), str(int(volume)), str(source)), numbers)


def value_hash(texts: Iterable[str], numbers: Iterable[float]) -> str:
    """128-bit BLAKE2b, in hex, of texts and then numbers, these as `row_hash` has them."""
    parts = (*texts, *(repr(float(number)) for number in numbers))
    return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()


def batch_checksum(row_hashes: Iterable[str]) -> str:
    """SHA-256, in hex, over row hashes in session order."""
    return hashlib.sha256("".join(row_hashes).encode()).hexdigest()


def reason_of(error: ValidationError) -> str:
    """What is wrong with a record, in one line of at most 1,000 characters without the rejected values themselves."""
    found = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        text = item["msg"].removeprefix("Value error, ")
        found.append(f"{where}: {text}" if where else text)
    text = "; ".join(found)
    return text if len(text) <= 1000 else f"{text[:999]}…"
