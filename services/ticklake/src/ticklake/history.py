"""One symbol's daily history out of the tables of facts: as known at any moment, adjusted as asked for."""

import io
from collections.abc import Callable, Collection
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal

import pandas as pd
import pyarrow as pa

from ticklake import indicators
from ticklake.adjustment import Actions, adjusted, with_events
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.facts import ACTION_KEY, BAR_KEY, Facts, in_force, split_actions
from ticklake.history_options import Adjust
from ticklake.quality import NOISE
from ticklake.records import DAILY_SOURCES, Source, iso_ms
from ticklake.tables import CORPORATE_ACTIONS, DAILY_ANALYTICS, DAILY_BARS, NAMESPACES, arrow_schema, namespace_of

if TYPE_CHECKING:
    from ticklake.catalog import LakeTables

Format = Literal["csv", "parquet"]

_PRICES = ("open", "high", "low", "close")
_NAMES = ("session_date", *_PRICES, "volume", "dividends", "stock_splits", "known_at")
_COLUMNS = {column.name: column for column in DAILY_ANALYTICS.columns}

BARS = arrow_schema(_COLUMNS[name] for name in _NAMES)
"""Columns of `bars`: session_date, open, high, low, close, volume, dividends and stock_splits on the basis asked for,
and in each row the same known_at, the latest answer that the rows are computed from."""
ANALYTICS = arrow_schema(
    column
    for column in DAILY_ANALYTICS.columns
    if column.name in ("session_date", "known_at") or column.type in ("double", "bigint", "int")
)
"""Columns of `analytics`: the session, the numbers of the table `daily_analytics`, and known_at as in `BARS`."""

_PLAIN = pa.schema([field for field in ANALYTICS if field.name not in (*indicators.NAMES, *indicators.METRICS)])
"""What `analysed` has of them."""

_READ = ("symbol", "known_at", "batch_id", "currency")
_OF_BARS = (*_READ, "session_date", *_PRICES, "volume")
_OF_ACTIONS = (*_READ, "ex_date", "kind", "value", "withdrawn")


class UnknownSymbolError(ConfigurationError):
    """There is no daily history of the symbol."""


class NothingKnownError(ConfigurationError):
    """There is history of the symbol, but none that was known at the moment, or up to the day, asked for."""


def bars(
    tables: "LakeTables",
    symbol: str,
    source: Source,
    *,
    as_of: datetime | None = None,
    until: date | None = None,
    adjust: Adjust = "splits",
    noise: float = NOISE,
) -> pa.Table:
    """A symbol's daily bars from one source, oldest first: the columns `BARS`.

    Args:
        as_of: only what was known then; None for all that is known.
        until: only sessions, splits and dividends up to that day, for history that was fetched later; None for all.
        adjust: `none` gives prices, volume and dividends as traded and paid.
        noise: see `facts.in_force`.

    Raises:
        UnknownSymbolError, NothingKnownError: there are no rows.
        IntegrityError: a dividend is not below the close before it.
        StageError: see `LakeTables`.
    """
    facts = read(tables, [symbol], source).get(symbol)
    if facts is None:
        raise UnknownSymbolError(f"no daily history of {symbol} from {source}")
    return bars_of(facts, as_of=as_of, until=until, adjust=adjust, noise=noise)


def sources(tables: "LakeTables", symbol: str) -> list[Source]:
    """The sources that there is daily history of the symbol from, the preferred first.

    Raises:
        StageError: see `LakeTables`.
    """
    from ticklake.catalog import matching

    found: set[str] = set()
    for namespace in NAMESPACES:
        rows = tables.read(namespace, DAILY_BARS, matching(symbol=[symbol]), ("source",))
        found |= set(rows["source"].unique().to_pylist())
    return [source for source in DAILY_SOURCES if source.value in found]


def read(tables: "LakeTables", symbols: Collection[str], source: Source) -> dict[str, Facts]:
    """All versions of some symbols' facts, by symbol; one without bars is left out.

    Raises:
        StageError: see `LakeTables`.
    """
    from ticklake.catalog import matching

    rows, namespace = matching(symbol=symbols, source=[source.value]), namespace_of(source)
    # Actions last: they are written first, so none is missing that a bar read before depends on.
    found = [
        tables.read(namespace, table, rows, columns).select(columns).to_pandas(date_as_object=False)
        for table, columns in ((DAILY_BARS, _OF_BARS), (CORPORATE_ACTIONS, _OF_ACTIONS))
    ]
    return {
        str(symbol): Facts(own.reset_index(drop=True), found[1][found[1]["symbol"] == symbol].reset_index(drop=True))
        for symbol, own in found[0].groupby("symbol", sort=False)
    }


def bars_of(
    versions: Facts,
    *,
    as_of: datetime | None = None,
    until: date | None = None,
    adjust: Adjust = "splits",
    noise: float = NOISE,
) -> pa.Table:
    """`bars` of facts that were read before: all versions of one symbol's from one source."""
    if adjust == "none":
        return _arrow(_known(with_events, versions, as_of, until, noise), BARS)
    return priced(_arrow(analysed(versions, as_of=as_of, until=until, noise=noise), _PLAIN), adjust)


def analytics(
    versions: Facts, *, as_of: datetime | None = None, until: date | None = None, noise: float = NOISE
) -> pa.Table:
    """One symbol's sessions with all indicators, on fully adjusted prices, oldest first: the columns `ANALYTICS`.

    Args and Raises: as for `bars_of`. Needs the package `ta-lib`.
    """
    plain = _arrow(analysed(versions, as_of=as_of, until=until, noise=noise), _PLAIN)
    return shaped(indicators.metrics(indicators.indicators(plain)), ANALYTICS)


def priced(rows: pa.Table, adjust: Literal["splits", "all"]) -> pa.Table:
    """The columns `BARS` out of `analytics`, or out of a symbol's rows of the table `daily_analytics` in order."""
    names = {f"adj_{name}" if adjust == "all" and name in _PRICES else name: name for name in _NAMES}
    return shaped(rows.select(list(names)).rename_columns(list(names.values())), BARS)


def shaped(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` as `schema` has it to the last detail, in one piece: equal rows are then equal files."""
    return table.select(schema.names).cast(schema).combine_chunks()


def analysed(
    versions: Facts, *, as_of: datetime | None = None, until: date | None = None, noise: float = NOISE
) -> pd.DataFrame:
    """One symbol's sessions in order, adjusted: what the table `daily_analytics` is computed from.

    Returns:
        the versions of the bars that count, with `adjustment.adjusted`'s columns, and in each row the same known_at
        (the latest answer among the versions used) and fact_versions (their number).

    Raises:
        NothingKnownError, IntegrityError: as for `bars`.
    """
    return _known(adjusted, versions, as_of, until, noise)


def _known(
    adjustment: Callable[[pd.DataFrame, Actions], pd.DataFrame],
    versions: Facts,
    as_of: datetime | None,
    until: date | None,
    noise: float,
) -> pd.DataFrame:
    rows, actions = versions.bars, versions.actions
    symbol = rows["symbol"].iloc[0]
    if as_of is not None:
        first = rows["known_at"].min()
        rows, actions = (part[part["known_at"] <= pd.Timestamp(as_of)] for part in (rows, actions))
        if rows.empty:
            raise NothingKnownError(
                f"as_of: nothing of {symbol} was known at {iso_ms(as_of)}; the first answer is of {iso_ms(first)}"
            )
    if until is not None:
        first = rows["session_date"].min()
        last = pd.Timestamp(until)
        rows, actions = rows[rows["session_date"] <= last], actions[actions["ex_date"] <= last]
        if rows.empty:
            raise NothingKnownError(f"until: the first session known of {symbol} is {first.date()}, after {until}")
    counting = split_actions(in_force(actions, ACTION_KEY, noise=noise))
    try:
        found = adjustment(in_force(rows, BAR_KEY, noise=noise), counting)
    except ValueError as error:
        raise IntegrityError(f"{symbol}: {error}") from error
    known_at = max(part["known_at"].max() for part in (rows, actions) if len(part))
    return found.assign(known_at=known_at, fact_versions=len(rows) + len(actions))


def _arrow(rows: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False).replace_schema_metadata(None)


def encoded(table: pa.Table, form: Format) -> bytes:
    """`table` as the content of a CSV or Parquet file."""
    import pyarrow.csv
    import pyarrow.parquet as pq

    target = io.BytesIO()
    if form == "csv":
        pyarrow.csv.write_csv(table, target)
    else:
        pq.write_table(table, target, compression="zstd")
    return target.getvalue()
