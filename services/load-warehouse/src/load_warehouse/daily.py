"""Loading one run's daily analytics: what the record of daily-analytics names, and nothing else."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from load_warehouse import audit, merge, staging
from load_warehouse.audit import LoadResult
from load_warehouse.parquet import fetch, parts, read_table
from load_warehouse.schema import AUDIT, DAILY, ensure, present, schema_of
from load_warehouse.session import Session
from ticklake.errors import IntegrityError
from ticklake.lineage import ObjectRef, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.records import batch_checksum, row_hash


@dataclass
class Loaded:
    """What the warehouse holds of a batch after its load, read back from it."""

    result: LoadResult
    symbols: dict[str, SymbolResult]
    timings: dict[str, float] = field(default_factory=dict)


Clock = Callable[[], float]


@contextmanager
def timed(timings: dict[str, float], step: str) -> Iterator[None]:
    """Add the seconds that the block takes to `timings[step]`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[step] = round(timings.get(step, 0.0) + time.perf_counter() - start, 4)


def load(store: ObjectStore, session: Session, processed: StageRecord, code_version: str) -> Loaded:
    """Bring the rows that `processed` names into the warehouse and read them back.

    Doing it again changes nothing. The rows become visible together with the audit row, after they were read back and
    found to be those of the record; on any error the table stays as it was.

    Raises:
        IntegrityError: the lake's objects are not those of the record, or the warehouse holds other values.
        StageError: another load of the same run began meanwhile, or the store or the warehouse failed.
    """
    result = LoadResult("daily", processed.run_id, processed.batch_id, code_version, files=len(processed.objects))
    loaded = Loaded(result, {})
    timings = loaded.timings
    schema = schema_of(processed.source)
    target = f"{session.database}.{schema}.{DAILY.name}"
    with timed(timings, "prepare"):
        there = present(session)
        staging.drop_leftovers(session, there, DAILY, processed.run_id)
        ensure(session, there, schema, (DAILY, AUDIT))
    with staging.staged(session, schema, DAILY, processed.run_id, result.load_id) as table:
        _stage(store, processed, table, timings)
        result.staged = table.rows
        with session.transaction():
            with timed(timings, "merge"):
                merged = session.run(merge.merge_daily(target, table.qualified))
            result.inserted = merged.number("number of rows inserted")
            result.updated = merged.number("number of rows updated")
            with timed(timings, "verify"):
                loaded.symbols = _read_back(session, target, table.qualified, processed, result)
            audit.write(session, schema, result)
    return loaded


def _stage(store: ObjectStore, processed: StageRecord, table: staging.Staging, timings: dict[str, float]) -> None:
    found: Counter[str] = Counter()
    for group in parts(processed.objects):
        with timed(timings, "read"):
            rows = _read(store, group, processed.batch_id)
            for entry in rows.column("SYMBOL").value_counts():
                found[entry["values"].as_py()] += entry["counts"].as_py()
        with timed(timings, "put"):
            table.put(rows)
    expected = {symbol: part.rows for symbol, part in processed.symbols.items() if part.rows}
    for symbol in sorted(expected.keys() | found.keys()):
        if found[symbol] != expected.get(symbol, 0):
            raise IntegrityError(
                f"{processed.stage} {symbol}: its objects hold {found[symbol]} rows, "
                f"its record says {expected.get(symbol, 0)}"
            )
    if table.rows:
        with timed(timings, "copy"):
            table.copy()


def _read(store: ObjectStore, refs: list[ObjectRef], batch_id: str):  # type: ignore[no-untyped-def]
    import pyarrow as pa

    bodies = fetch(store, refs)
    rows = pa.concat_tables(
        read_table(body, ref, DAILY.columns) for body, ref in zip(bodies, refs, strict=True)
    ).combine_chunks()
    batches = rows.column("BATCH_ID").unique().to_pylist()
    if batches != [batch_id]:
        raise IntegrityError(f"objects of batch {batch_id} hold rows of {', '.join(map(str, batches)) or 'no batch'}")
    return rows


def _read_back(
    session: Session, target: str, staged: str, processed: StageRecord, result: LoadResult
) -> dict[str, SymbolResult]:
    """Per symbol what the table holds of this batch; every staged row must be there, or one that goes before it."""
    hashes: dict[str, list[str]] = {symbol: [] for symbol in processed.symbols}
    superseded: Counter[str] = Counter()
    previous = None
    for row in session.rows(merge.read_back(target, staged)):
        *bar, batch_id, staged_hash, taken = row
        place = (bar[0], bar[1])
        if place == previous:
            raise IntegrityError(f"{bar[0]} {bar[1]}: the key (symbol, session_date) is there more than once")
        previous = place
        if batch_id != processed.batch_id:
            if taken:
                raise IntegrityError(f"{bar[0]} {bar[1]}: the table holds batch {batch_id}, which this one goes before")
            superseded[bar[0]] += 1
            continue
        value = row_hash(*bar)
        if value != staged_hash:
            raise IntegrityError(f"{bar[0]} {bar[1]}: the warehouse holds other values than the lake")
        hashes[bar[0]].append(value)
    result.superseded = superseded.total()
    counted = sum(map(len, hashes.values())) + result.superseded
    if counted != result.staged:
        raise IntegrityError(f"the warehouse holds {counted} of the {result.staged} rows that were staged")
    result.checksum = batch_checksum(value for symbol in sorted(hashes) for value in hashes[symbol])
    symbols = {
        symbol: SymbolResult(
            status=part.status, rows=len(hashes[symbol]), checksum=batch_checksum(hashes[symbol]),
            superseded=superseded[symbol], missing_sessions=part.missing_sessions, reasons=part.reasons,
        )
        for symbol, part in processed.symbols.items()
    }  # fmt: skip
    for symbol, part in processed.symbols.items():
        if not superseded[symbol] and symbols[symbol].checksum != part.checksum:
            raise IntegrityError(f"{symbol}: the checksum of the warehouse's rows is not that of {processed.stage}")
    return symbols
