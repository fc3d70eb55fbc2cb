"""Loading the daily history of one batch's symbols: the versions of their facts, and their analytics.

Facts are only ever added. Of the analytics the warehouse has what the lake has, symbol by symbol. Both are read at the
lake's current snapshot, whichever run made it, so it does not matter in which order runs load.
"""
# ruff: noqa: S608 - identifiers are this package's own and the checked database name; values are parameters

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from load_warehouse import audit, merge
from load_warehouse.audit import LoadResult
from load_warehouse.lake_rows import LakeRows, groups
from load_warehouse.parquet import for_warehouse
from load_warehouse.schema import ACTIONS, ADJUSTED_PRICES, AUDIT, BARS, DAILY, Table, ensure, present
from load_warehouse.session import Session
from load_warehouse.staging import Staging, drop_leftovers, staged
from ticklake.batch_stage import Stopwatch
from ticklake.errors import IntegrityError, StageError
from ticklake.lineage import StageRecord, SymbolResult
from ticklake.records import batch_checksum
from ticklake.tables import CORPORATE_ACTIONS, DAILY_ANALYTICS, DAILY_BARS, IcebergTable
from ticklake.warehouse_tables import schema_of

_ROWS_PER_FILE = 100_000
"""About 40 MB in memory with the columns of the analytics."""

State = tuple[Any, ...]


@dataclass(frozen=True)
class Part:
    """A table of the lake and its twin in the warehouse."""

    lake: IcebergTable
    table: Table
    state: tuple[tuple[str, str], ...]
    """Columns and aggregates that, with the number of rows, say whether the two differ for a symbol."""


ANALYTICS = Part(DAILY_ANALYTICS, DAILY, (("fact_versions", "max"), ("known_at", "max")))
BAR_VERSIONS = Part(DAILY_BARS, BARS, (("known_at", "max"),))
ACTION_VERSIONS = Part(CORPORATE_ACTIONS, ACTIONS, (("known_at", "max"),))
PARTS = (ANALYTICS, BAR_VERSIONS, ACTION_VERSIONS)
"""The analytics first: of a transaction's statements only the first can be a MERGE."""


@dataclass
class Loaded:
    """What a load did to each table, and what the warehouse then holds of the batch's symbols, read back from it."""

    results: list[LoadResult]
    symbols: dict[str, SymbolResult] = field(default_factory=dict)


def fit_symbols(processed: StageRecord) -> list[str]:
    """The symbols that daily-analytics has rows of, in order: neither held nor without any history."""
    return sorted(symbol for symbol, part in processed.symbols.items() if part.rows)


def load(lake: LakeRows, session: Session, processed: StageRecord, code_version: str, watch: Stopwatch) -> Loaded:
    """Bring the history of the batch's symbols into the warehouse and read the analytics back.

    Doing it again changes nothing but the audit. All tables change together, after the warehouse itself found every row
    that was sent in them; on any error they stay as they were.

    Raises:
        IntegrityError: the lake lacks rows that daily-analytics recorded, or the warehouse holds other values.
        StageError: another load of the same run began meanwhile, another run changed the analytics, or lake or
            warehouse failed.
    """
    schema, symbols, load_id = schema_of(processed.source), fit_symbols(processed), audit.new_load_id()
    loaded = Loaded(
        [LoadResult(part.lake.name, processed.run_id, processed.batch_id, code_version, load_id) for part in PARTS]
    )
    works = [
        _Work(session, schema, str(processed.source), part, result)
        for part, result in zip(PARTS, loaded.results, strict=True)
    ]
    there = present(session)
    for work in works:
        drop_leftovers(session, there, work.part.table, processed.run_id)
    ensure(session, there, schema, (*(work.part.table for work in works), AUDIT), (ADJUSTED_PRICES,))
    watch.lap("prepare")
    with ExitStack() as stack:
        for work in works:
            work.compare(lake, symbols)
            watch.lap("compare")
            if work.part is ANALYTICS:
                _check_recorded(processed, work.counts)
            if work.differing:
                staging = stack.enter_context(staged(session, schema, work.part.table, processed.run_id, load_id))
                work.stage(lake, staging)
                watch.lap("stage")
        with session.transaction():
            for work in works:
                work.merge()
            watch.lap("merge")
            for work in works:
                work.verify()
            loaded.symbols = _read_back(session, works[0], processed)
            # What was merged locks the table: a newer state is loaded after this one.
            if not lake.is_current(DAILY_ANALYTICS):
                raise StageError("another run changed the table daily_analytics during the load; try again")
            watch.lap("verify")
            for result in loaded.results:
                audit.write(session, schema, result)
    return loaded


class _Work:
    """What a load does to one table."""

    def __init__(self, session: Session, schema: str, source: str, part: Part, result: LoadResult) -> None:
        self.session, self.source, self.part, self.result = session, source, part, result
        self.target = f"{session.database}.{schema}.{part.table.name}"
        self.counts: dict[str, int] = {}
        """Rows in the lake, by symbol."""
        self.differing: list[str] = []
        """Symbols of which the warehouse has not what the lake has."""
        self._staging: Staging | None = None

    def compare(self, lake: LakeRows, symbols: Collection[str]) -> None:
        """Find the symbols to load."""
        theirs, ours = self._lake_states(lake, symbols), self._warehouse_states(symbols)
        self.counts = {symbol: state[0] for symbol, state in theirs.items()}
        self.differing = [symbol for symbol in sorted(theirs) if ours.get(symbol) != theirs[symbol]]
        self.result.snapshot = lake.snapshot(self.part.lake)
        self.result.unchanged = sum(self.counts.values())

    def _lake_states(self, lake: LakeRows, symbols: Collection[str]) -> dict[str, State]:
        names = dict.fromkeys(name for name, _ in self.part.state)
        rows = lake.read(self.part.lake, symbols, ("symbol", *names))
        found = rows.group_by("symbol").aggregate([([], "count_all"), *self.part.state])
        columns = ["symbol", "count_all", *(f"{name}_{what}" for name, what in self.part.state)]
        return _by_symbol(zip(*(found.column(name).to_pylist() for name in columns), strict=True))

    def _warehouse_states(self, symbols: Collection[str]) -> dict[str, State]:
        if not symbols:
            return {}
        wanted = ", ".join(f"{what.upper()}({name.upper()})" for name, what in self.part.state)
        where, values = merge.of_symbols(symbols, self.source)
        found = self.session.rows(
            f"SELECT SYMBOL, COUNT(*), {wanted} FROM {self.target} WHERE {where} GROUP BY SYMBOL", values
        )
        return _by_symbol(found)

    def stage(self, lake: LakeRows, staging: Staging) -> None:
        """Send the whole rows of the differing symbols to `staging`."""
        for group in groups({symbol: self.counts[symbol] for symbol in self.differing}, _ROWS_PER_FILE):
            staging.put(for_warehouse(lake.read(self.part.lake, group), self.part.table.columns))
        staging.copy()
        self._staging = staging
        self.result.staged, self.result.files = staging.rows, staging.files

    def merge(self) -> None:
        """Change the table."""
        if self._staging is None:
            return
        place, result = (self.target, self._staging.qualified, self.part.table), self.result
        if self.part is ANALYTICS:
            merged = self.session.run(merge.mirror(*place))
            result.new = merged.number("number of rows inserted")
            result.revised = merged.number("number of rows updated")
            result.withdrawn = self.session.run(merge.withdraw(*place)).number("number of rows deleted")
            result.unchanged -= result.new + result.revised
            return
        fates = {fate: int(count) for fate, count in self.session.run(merge.fates(*place)).rows}
        result.new, result.revised, result.withdrawn = (fates.get(name, 0) for name in ("new", "revised", "withdrawn"))
        inserted = self.session.run(merge.append(*place)).number("number of rows inserted")
        if inserted != sum(fates.values()):
            raise StageError(f"{self.target}: {inserted} rows inserted, {sum(fates.values())} were lacking; try again")
        result.unchanged -= inserted

    def verify(self) -> None:
        """Have the warehouse look for what was staged.

        Raises:
            IntegrityError: a row is not there or has other values, or the analytics have one more.
        """
        if self._staging is None:
            return
        for row in self.session.rows(merge.unlike(self.target, self._staging.qualified, self.part.table)):
            raise IntegrityError(f"{self.target}: the row {_named(row)} is not there as the lake has it")
        if self.part is ANALYTICS:
            ((held,),) = self.session.run(merge.count(self.target, self._staging.qualified)).rows
            if int(held) != self.result.staged:
                raise IntegrityError(
                    f"{self.target} holds {held} rows of symbols that have {self.result.staged} in the lake"
                )


def _by_symbol(rows: Any) -> dict[str, State]:
    """States that compare equal: times in UTC with a zone, counts as plain numbers."""
    return {symbol: tuple(_plain(value) for value in state) for symbol, *state in rows}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value if isinstance(value, str) else int(value)


def _named(row: tuple[Any, ...]) -> str:
    return " ".join(map(str, row))


def _check_recorded(processed: StageRecord, counts: dict[str, int]) -> None:
    """Facts are only added, so whatever a later run did, the lake has no fewer rows than were recorded."""
    for symbol in fit_symbols(processed):
        recorded, found = processed.symbols[symbol].rows, counts.get(symbol, 0)
        if found < recorded:
            raise IntegrityError(
                f"{processed.stage} {symbol}: its record says {recorded} rows, the table daily_analytics has {found}: "
                "run it again"
            )


def _read_back(session: Session, work: _Work, processed: StageRecord) -> dict[str, SymbolResult]:
    """Per symbol what the warehouse's analytics hold of the batch's symbols."""
    hashes: dict[str, list[str]] = {symbol: [] for symbol in processed.symbols}
    if work.counts:
        where, values = merge.of_symbols(work.counts, work.source)
        query = f"SELECT SYMBOL, ROW_HASH FROM {work.target} WHERE {where} ORDER BY SYMBOL, SESSION_DATE"
        for symbol, row_hash in session.rows(query, values):
            hashes[symbol].append(row_hash)
    for symbol, count in work.counts.items():
        if len(hashes[symbol]) != count:
            raise IntegrityError(f"{symbol}: {work.target} holds {len(hashes[symbol])} rows, the lake {count}")
    work.result.checksum = batch_checksum(value for symbol in sorted(hashes) for value in hashes[symbol])
    return {
        symbol: SymbolResult(
            status=part.status,
            rows=len(hashes[symbol]),
            checksum=batch_checksum(hashes[symbol]),
            missing_sessions=part.missing_sessions,
            reasons=part.reasons,
        )
        for symbol, part in processed.symbols.items()
    }
