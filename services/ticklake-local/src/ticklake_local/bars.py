"""`ticklake bars`: one symbol's daily bars out of the lake, adjusted as asked, as they were known at any moment."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from ticklake.batch_checks import QualitySettings
from ticklake.errors import ConfigurationError
from ticklake.history import NothingKnownError, UnknownSymbolError, bars, encoded, sources
from ticklake.history_options import Adjust
from ticklake.records import Source, iso_ms
from ticklake.settings import CatalogSettings, StoreSettings, load
from ticklake_local.data_folder import DataFolder
from ticklake_local.platform import with_store
from ticklake_local.report import plain_console, print_whole

if TYPE_CHECKING:
    import pyarrow as pa

    from ticklake.catalog import LakeTables

OWN_CATALOG = "TICKLAKE_CATALOG_URI"
"""Set by a user who wants the tables of another lake than the data folder's."""

_ADJUSTED = {"none": "as traded", "splits": "adjusted for splits", "all": "adjusted for splits and dividends"}


@dataclass(frozen=True)
class BarsOptions:
    """What to show."""

    folder: Path
    cache: Path
    symbol: str
    source: str | None
    """None for the preferred one that has rows to show."""
    as_of: datetime | None
    until: date | None
    adjust: Adjust
    first: date | None
    last: date | None
    form: Literal["table", "csv", "parquet"]


def show(options: BarsOptions) -> None:
    """Write the bars to stdout.

    Raises:
        ConfigurationError: there are none, or nobody could read the form asked for.
        StageError: store or catalog does not answer.
    """
    if options.form == "parquet" and sys.stdout.isatty():
        raise ConfigurationError(f"Parquet is no text: write it to a file, as in … > {options.symbol}.parquet")
    with _tables(options) as tables:
        source, found = _bars(tables, options)
    try:
        if options.form == "table":
            _print(found, options, source)
        else:
            sys.stdout.buffer.write(encoded(found, options.form))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough, such as `head`. What is still to be flushed at the exit must not fail there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _bars(tables: "LakeTables", options: BarsOptions) -> "tuple[Source, pa.Table]":
    """The rows asked for, and from which source.

    Raises:
        UnknownSymbolError, NothingKnownError: there are none, see `ticklake.history.bars`.
    """
    import pyarrow.compute as pc

    candidates = [Source(options.source)] if options.source else sources(tables, options.symbol)
    if not candidates:
        raise UnknownSymbolError(f"no daily history of {options.symbol}: `ticklake run` fetches some")
    bars_from = partial(
        bars,
        tables,
        options.symbol,
        as_of=options.as_of,
        until=options.until,
        adjust=options.adjust,
        noise=load(QualitySettings).noise,
    )
    found: list[tuple[Source, pa.Table]] = []
    failures: list[NothingKnownError] = []
    for source in candidates:
        try:
            rows = bars_from(source)
        except NothingKnownError as error:
            failures.append(error)
            continue
        if options.first is not None:
            rows = rows.filter(pc.greater_equal(rows["session_date"], options.first))
        if options.last is not None:
            rows = rows.filter(pc.less_equal(rows["session_date"], options.last))
        found.append((source, rows.combine_chunks()))
        if rows.num_rows:
            return found[-1]
    if not found:
        raise failures[0]
    return found[0]


@contextmanager
def _tables(options: BarsOptions) -> Iterator["LakeTables"]:
    """The lake of the settings where a catalog is set, else the data folder's; its store runs for the time."""
    from ticklake.catalog import LakeTables

    if os.environ.get(OWN_CATALOG):
        yield LakeTables(load(CatalogSettings), load(StoreSettings))
        return
    folder = DataFolder.at(options.folder)
    if not folder.catalog_file.exists():
        raise ConfigurationError(f"no daily history in {options.folder}: `ticklake run` fetches some")
    with with_store(folder, options.cache, _say) as here:
        yield LakeTables(here.catalog, here.store)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(found: "pa.Table", options: BarsOptions, source: Source) -> None:
    table = Table()
    table.add_column("session", no_wrap=True)
    names = found.column_names[1:-1]
    for name in names:
        table.add_column(name.replace("stock_splits", "split"), justify="right", no_wrap=True)
    for row in found.to_pylist():
        values = (_number(row[name], name) for name in names)
        table.add_row(str(row["session_date"]), *values)
    console = plain_console()
    print_whole(console, table)
    line = f"{found.num_rows:,} sessions of {options.symbol} from {source}, {_ADJUSTED[options.adjust]}"
    if found.num_rows:
        line += f"; the source's latest answer is of {iso_ms(found['known_at'][0].as_py())}"
    console.print(line)


def _number(value: float, name: str) -> str:
    if name in ("dividends", "stock_splits"):
        return f"{value:g}" if value else ""
    return f"{value:,}" if name == "volume" else f"{value:,.4f}"
