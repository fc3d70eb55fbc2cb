"""The tables: columns in order, with type and meaning, once for Iceberg, Arrow, Spark and the warehouse."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ticklake import keys
from ticklake.records import Source

if TYPE_CHECKING:
    import pyarrow as pa

CATALOG = "ticklake"
"""Of the lake's tables, in PyIceberg as in Spark; a SQL catalog's rows carry it."""

ColumnType = Literal["string", "date", "timestamp", "double", "bigint", "int", "boolean"]


@dataclass(frozen=True)
class Column:
    """One column: its name (lower case; the warehouse's is the same in upper case), type and meaning."""

    name: str
    type: ColumnType
    comment: str
    nullable: bool = True


def arrow_schema(columns: Iterable[Column], time_unit: Literal["us", "ms"] = "us") -> "pa.Schema":
    """`columns` in Arrow's types; times are in UTC."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "date": pa.date32(),
        "timestamp": pa.timestamp(time_unit, "UTC"),
        "double": pa.float64(),
        "bigint": pa.int64(),
        "int": pa.int32(),
        "boolean": pa.bool_(),
    }
    return pa.schema([pa.field(column.name, types[column.type], column.nullable) for column in columns])


@dataclass(frozen=True)
class IcebergTable:
    """A table of the lake."""

    name: str
    columns: tuple[Column, ...]
    sort: tuple[str, ...]
    """Columns by which a commit's rows are sorted, so that a reader of one symbol skips most of a file."""
    comment: str
    partitions: tuple[tuple[str, str], ...] = ()
    """Columns whose values name the folders of the data files, each with the folder's own name."""
    folder: str | None = None
    """Prefix in the bucket for the data files; None puts them beside the table's metadata."""

    @property
    def bounded(self) -> tuple[str, ...]:
        """Columns whose least and greatest value of each file is kept, for readers to skip files by."""
        others = {"source", "known_at", "fact_versions"} & {column.name for column in self.columns}
        return tuple(dict.fromkeys((*self.sort, *sorted(others))))


NAMESPACES = ("market", "market_test")


def namespace_of(source: Source) -> str:
    """The namespace for rows from `source`: nothing recorded or simulated is stored beside the real."""
    return NAMESPACES[0] if source.is_real else NAMESPACES[1]


def sources_of(namespace: str) -> list[str]:
    """The sources whose rows are in `namespace`."""
    return [source.value for source in Source if namespace_of(source) == namespace]


_FACT_ORIGIN: tuple[Column, ...] = (
    Column("currency", "string", "ISO 4217, or a source's name for a minor unit (GBp); null where it does not say"),
    Column("source", "string", "Where the bars come from", nullable=False),
    Column("batch_id", "string", "Batch that brought the version", nullable=False),
    Column("batch_date", "date", "Date of that batch", nullable=False),
)

DAILY_BARS = IcebergTable(
    "daily_bars",
    (
        Column("symbol", "string", "Ticker in Yahoo's notation", nullable=False),
        Column("session_date", "date", "Session of the exchange", nullable=False),
        Column("known_at", "timestamp", "When the source answered so (UTC)", nullable=False),
        Column("open", "double", "First price as traded, adjusted for nothing", nullable=False),
        Column("high", "double", "Highest price as traded", nullable=False),
        Column("low", "double", "Lowest price as traded", nullable=False),
        Column("close", "double", "Last price as traded", nullable=False),
        Column("volume", "bigint", "Shares traded, as traded", nullable=False),
        *_FACT_ORIGIN,
        Column("row_hash", "string", "Hash of the values, see ticklake.facts.bar_hash", nullable=False),
        Column("change", "string", "first, or revision where another value was known before", nullable=False),
    ),
    ("symbol", "session_date", "known_at"),
    "Versions of daily bars as traded; of two versions of a session the one with the later known_at counts",
)

CORPORATE_ACTIONS = IcebergTable(
    "corporate_actions",
    (
        Column("symbol", "string", "Ticker in Yahoo's notation", nullable=False),
        Column(
            "ex_date",
            "date",
            "First day on which shares trade without the dividend, or after the split",
            nullable=False,
        ),
        Column("kind", "string", "dividend or split", nullable=False),
        Column("value", "double", "Cash per share as paid, or new shares per old one", nullable=False),
        Column("known_at", "timestamp", "When the source answered so (UTC)", nullable=False),
        *_FACT_ORIGIN,
        Column("withdrawn", "boolean", "Whether the source no longer has it", nullable=False),
    ),
    ("symbol", "ex_date", "kind", "known_at"),
    "Versions of splits and dividends; of two versions of one the one with the later known_at counts",
)

FACT_TABLES = (DAILY_BARS, CORPORATE_ACTIONS)

BAR_COLUMNS: tuple[Column, ...] = (
    Column("symbol", "string", "Ticker in Yahoo's notation", nullable=False),
    Column("session_date", "date", "Session of the exchange", nullable=False),
    Column("open", "double", "First price, adjusted for splits", nullable=False),
    Column("high", "double", "Highest price, adjusted for splits", nullable=False),
    Column("low", "double", "Lowest price, adjusted for splits", nullable=False),
    Column("close", "double", "Last price, adjusted for splits", nullable=False),
    Column("adj_close", "double", "Last price, adjusted for splits and dividends", nullable=False),
    Column("volume", "bigint", "Shares traded, adjusted for splits", nullable=False),
    Column("dividends", "double", "Cash per share that went ex on this session", nullable=False),
    Column("stock_splits", "double", "New shares per old one on this session, 0 for no split", nullable=False),
    Column("currency", "string", "Of the prices, as the source names it; null where it does not"),
    Column("source", "string", "Where the bars come from", nullable=False),
    Column("batch_id", "string", "Batch that brought the row", nullable=False),
    Column("batch_date", "date", "Date of that batch", nullable=False),
    Column("sequence", "int", "Position of the row among its symbol's in the batch, from 0", nullable=False),
    Column("fetched_at", "timestamp", "When the source answered (UTC)", nullable=False),
    Column("row_hash", "string", "Hash of the bar's values, see ticklake.records.row_hash", nullable=False),
)
"""The bar and where it comes from: columns of the raw daily CSV, in order."""

_ADJUSTED_BAR = {
    "symbol",
    "session_date",
    "open",
    "high",
    "low",
    "close",
    "adj_close",
    "volume",
    "dividends",
    "stock_splits",
    "currency",
    "source",
}

INDICATOR_COLUMNS: tuple[Column, ...] = (
    Column("history_sessions", "int", "Sessions that the indicators see, this one included", nullable=False),
    Column("adj_open", "double", "open x adj_close / close", nullable=False),
    Column("adj_high", "double", "high x adj_close / close", nullable=False),
    Column("adj_low", "double", "low x adj_close / close", nullable=False),
    Column("change", "double", "adj_close minus the session before"),
    Column("change_pct", "double", "change in percent of the session before"),
    Column("log_return", "double", "Natural logarithm of adj_close over the session before"),
    Column("sma_5", "double", "Simple moving average of adj_close, 5 sessions"),
    Column("sma_20", "double", "Simple moving average of adj_close, 20 sessions"),
    Column("sma_50", "double", "Simple moving average of adj_close, 50 sessions"),
    Column("sma_200", "double", "Simple moving average of adj_close, 200 sessions"),
    Column("ema_12", "double", "Exponential moving average of adj_close, 12 sessions, seeded with its SMA"),
    Column("ema_26", "double", "Exponential moving average of adj_close, 26 sessions, seeded with its SMA"),
    Column("macd", "double", "EMA 12 minus EMA 26, as TA-Lib's MACD seeds them"),
    Column("macd_signal", "double", "EMA of macd, 9 sessions"),
    Column("macd_hist", "double", "macd minus macd_signal"),
    Column("rsi_14", "double", "Relative strength index (Wilder), 14 sessions, 0 to 100"),
    Column("bb_middle", "double", "Bollinger middle band: SMA 20"),
    Column("bb_upper", "double", "Middle band plus 2 population standard deviations"),
    Column("bb_lower", "double", "Middle band minus 2 population standard deviations"),
    Column("atr_14", "double", "Average true range (Wilder), 14 sessions, in price"),
    Column(
        "obv", "double", "On-balance volume since the start of the stored history; depends on how far back that reaches"
    ),
    Column("volatility_20", "double", "Sample standard deviation of 20 log returns, times the root of 252"),
    Column("high_52w", "double", "Highest adj_high of 252 sessions"),
    Column("low_52w", "double", "Lowest adj_low of 252 sessions"),
    Column(
        "drawdown",
        "double",
        "adj_close over its highest value in the stored history so far, minus 1; 0 or below, so it depends on "
        "how far back that reaches",
        nullable=False,
    ),
)

DAILY_ANALYTICS = IcebergTable(
    "daily_analytics",
    (
        *(column for column in BAR_COLUMNS if column.name in _ADJUSTED_BAR),
        *INDICATOR_COLUMNS,
        Column("row_hash", "string", "Hash of the bar as traded, see ticklake.facts.bar_hash", nullable=False),
        Column("known_at", "timestamp", "Latest answer that the symbol's rows are computed from (UTC)", nullable=False),
        Column(
            "fact_versions",
            "int",
            "Versions of the symbol's facts that its rows are computed from; facts are only "
            "ever added, so a symbol with as many has nothing new",
            nullable=False,
        ),
        Column("batch_id", "string", "Batch after which the symbol's rows were computed", nullable=False),
        Column("batch_date", "date", "Date of that batch", nullable=False),
    ),
    ("symbol", "session_date"),
    "Daily bars with indicators, a row per session; all rows of a symbol have one basis and are replaced together",
    partitions=(("batch_date", "date"), ("symbol", "symbol")),
    folder=keys.PROCESSED_DAILY,
)

_TICKER_COLUMN = Column("symbol", "string", "Ticker", nullable=False)

_OF_TICKS: tuple[Column, ...] = (
    Column("open", "double", "Price of the first tick by event time and sequence", nullable=False),
    Column("high", "double", "Highest price", nullable=False),
    Column("low", "double", "Lowest price", nullable=False),
    Column("close", "double", "Price of the last tick by event time and sequence", nullable=False),
    Column("vwap", "double", "Price averaged by volume; the plain mean where the volume is 0", nullable=False),
    Column("volume", "bigint", "Shares traded", nullable=False),
    Column("tick_count", "bigint", "Ticks", nullable=False),
)

_ENDS: tuple[Column, ...] = (
    Column("first_event_time", "timestamp", "Event time of the first tick (UTC)", nullable=False),
    Column("last_event_time", "timestamp", "Event time of the last tick (UTC)", nullable=False),
    Column("source", "string", "Where the ticks come from", nullable=False),
)

WINDOW_COLUMNS: tuple[Column, ...] = (
    _TICKER_COLUMN,
    Column("window_length", "string", "15m or 1h", nullable=False),
    Column("window_start", "timestamp", "Start of the window, included (UTC)", nullable=False),
    Column("window_end", "timestamp", "End of the window, excluded (UTC)", nullable=False),
    *_OF_TICKS,
    Column("moving_average", "double", "Mean price of the ticks", nullable=False),
    Column("volatility", "double", "Sample standard deviation of the ticks' prices; null for a single tick"),
    *_ENDS,
)
"""Columns of the sliding windows, running ones too; the key is (symbol, source, window_length, window_start)."""

FLOW = Column("flow", "string", "Live flow of the ticks; empty for the real one", nullable=False)
"""Column of the tables of live data, and part of their keys: accelerated flows have event times of their own."""

WINDOWS = IcebergTable(
    "windows",
    (FLOW, *WINDOW_COLUMNS),
    ("window_start", "window_length", "symbol"),
    "Closed sliding windows of the live ticks, each once",
    partitions=(("flow", "flow"), ("window_length", "window_length")),
    folder=keys.PROCESSED_LIVE,
)

TICKS = IcebergTable(
    "ticks",
    (
        FLOW,
        _TICKER_COLUMN,
        Column("event_time", "timestamp", "When it was traded (UTC)", nullable=False),
        Column("price", "double", "Price", nullable=False),
        Column("volume", "bigint", "Shares traded in this tick", nullable=False),
        Column("sequence", "bigint", "Counts up from 0 per symbol and producer run", nullable=False),
        Column(
            "producer_run",
            "string",
            "Run of the producer; (producer_run, symbol, sequence) is the identity",
            nullable=False,
        ),
        Column("source", "string", "Where the tick comes from", nullable=False),
        Column("topic_id", "string", "Id of the topic that it was archived from", nullable=False),
        Column("partition", "int", "Partition of the topic", nullable=False),
        Column(
            "offset", "bigint", "Offset in the partition, the first of those under which it was sent", nullable=False
        ),
        Column("append_time", "timestamp", "When the broker appended it (UTC)", nullable=False),
        Column("event_date", "date", "Day of event_time (UTC)", nullable=False),
    ),
    ("symbol", "event_time", "sequence"),
    "Archived live ticks by event time, each once; a snapshot's properties have the offsets that it covers",
    partitions=(("flow", "flow"), ("event_date", "date")),
    folder=f"{keys.PROCESSED_LIVE}/ticks",
)

TICK_BARS = IcebergTable(
    "bars",
    (
        FLOW,
        _TICKER_COLUMN,
        Column("bar_length", "string", "1m, 5m, 15m, 1h, or 1d for the exchange's session", nullable=False),
        Column(
            "bar_start",
            "timestamp",
            "Start of the bar by event time, included (UTC); of 1d the session's open",
            nullable=False,
        ),
        *_OF_TICKS,
        *_ENDS,
        Column("bar_date", "date", "Day of bar_start (UTC); of 1d the session", nullable=False),
    ),
    ("bar_length", "symbol", "bar_start"),
    "Bars of the archived live ticks; those of an hour are replaced together where a tick came late",
    partitions=(("flow", "flow"), ("bar_date", "date")),
    folder=f"{keys.PROCESSED_LIVE}/bars",
)
"""The key is (flow, symbol, source, bar_length, bar_start)."""

TICK_GAPS = IcebergTable(
    "tick_gaps",
    (
        FLOW,
        Column(
            "kind",
            "string",
            "silent (minutes of trading without a tick of the symbol), lost (offsets that the "
            "archive lacks) or invalid (offsets of messages that went to quarantine)",
            nullable=False,
        ),
        Column("symbol", "string", "Ticker that was silent; null where offsets do not show it"),
        Column(
            "gap_start",
            "timestamp",
            "Start, included (UTC); of offsets the broker's time of the last record before them or with them",
            nullable=False,
        ),
        Column(
            "gap_end",
            "timestamp",
            "End, excluded (UTC); of offsets the broker's time of the first record after them or the last with them",
            nullable=False,
        ),
        Column("count", "bigint", "Minutes, or offsets", nullable=False),
        Column("topic_id", "string", "Id of the topic of the offsets"),
        Column("partition", "int", "Partition of the offsets"),
        Column("first_offset", "bigint", "First offset, included"),
        Column("last_offset", "bigint", "Last offset, included"),
    ),
    ("gap_start", "kind", "symbol"),
    "Where live ticks are missing: one row per symbol and span, which ends with its hour",
    partitions=(("flow", "flow"),),
    folder=f"{keys.PROCESSED_LIVE}/gaps",
)

TICK_TABLES = (TICKS, TICK_BARS, TICK_GAPS)

ALL_TABLES = (*FACT_TABLES, DAILY_ANALYTICS, WINDOWS, *TICK_TABLES)
"""Every table of the lake, for what maintains them."""
