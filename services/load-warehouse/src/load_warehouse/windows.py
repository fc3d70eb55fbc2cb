"""Loading closed streaming windows: every manifest of a live flow that the warehouse has not taken yet.

A final window never changes. One that the table holds already stays as it is, also where the lake has other values for
it now (a flow whose ticks were analysed twice, with another beginning); those are counted and named in the log.
"""
# ruff: noqa: S608 - identifiers are this package's own and the checked database name; values are parameters

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from load_warehouse import audit, merge, staging
from load_warehouse.audit import LoadResult
from load_warehouse.parquet import fetch, read_table, with_constant
from load_warehouse.schema import AUDIT, FLOW, LEDGER, SCHEMAS, WINDOWS, ensure, literal, present, schema_of
from load_warehouse.session import Session
from ticklake import logs, manifests, names
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.records import Source
from ticklake.settings import LiveSettings
from ticklake.tables import WINDOW_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

log = logs.get(__name__)

RUN_ID = "streaming-windows"
"""Loads of windows belong to no batch run; this stands in their audit rows."""
MANIFESTS_PER_LOAD = 1000
"""Taken together in one transaction; at one micro-batch a minute, most of a day."""
_READERS = 16
_NAMED = 5


def load(store: ObjectStore, session: Session, live: LiveSettings, code_version: str) -> list[LoadResult]:
    """Load what is new; empty where there is nothing new.

    Raises:
        IntegrityError: an object is not the one that its manifest names.
        StageError: the store or the warehouse failed; what was loaded before stays loaded.
    """
    listed = list(manifests.list_windows(store, live.names))
    if not listed:
        return []
    there = present(session)
    taken = _taken(session, there)
    new = [found for found in listed if (found.key, found.etag) not in taken]
    results: list[LoadResult] = []
    if new:
        staging.drop_leftovers(session, there, WINDOWS, _run_id(live))
    for start in range(0, len(new), MANIFESTS_PER_LOAD):
        group = new[start : start + MANIFESTS_PER_LOAD]
        results += _load_group(store, session, live, group, there, code_version)
    return results


def any_listed(store: ObjectStore, live: LiveSettings) -> bool:
    """Whether the flow has any manifest, so that nobody signs in for nothing."""
    return next(manifests.list_windows(store, live.names), None) is not None


def _run_id(live: LiveSettings) -> str:
    return f"{RUN_ID}/{live.namespace}" if live.namespace else RUN_ID


def _taken(session: Session, there: dict[tuple[str, str], set[str]]) -> set[tuple[str, str]]:
    ledgers = [f"{session.database}.{schema}.{LEDGER.name}" for schema in SCHEMAS if (schema, LEDGER.name) in there]
    if not ledgers:
        return set()
    query = " UNION ALL ".join(f"SELECT MANIFEST, ETAG FROM {ledger}" for ledger in ledgers)
    return {(manifest, etag) for manifest, etag in session.rows(query)}


def _load_group(
    store: ObjectStore, session: Session, live: LiveSettings, group: Sequence[ObjectInfo],
    there: dict[tuple[str, str], set[str]], code_version: str,
) -> list[LoadResult]:  # fmt: skip
    by_schema, files, checksum = _read(store, live, group)
    # A manifest is taken once all its rows are: it is noted where rows went, and with the simulated if it has none.
    results: list[LoadResult] = []
    for schema, rows in (by_schema or {names.SCHEMA_OTHER: None}).items():
        result = LoadResult("windows", _run_id(live), None, code_version, files=files, checksum=checksum)
        ensure(session, there, schema, (WINDOWS, AUDIT, LEDGER))
        last = len(results) + 1 == max(1, len(by_schema))
        _load_rows(session, schema, rows, result, group if last else ())
        log.info(
            "windows loaded", schema=schema, manifests=len(group), rows=result.staged, new=result.new,
            unchanged=result.unchanged, differing=result.differing,
        )  # fmt: skip
        results.append(result)
    return results


def _read(
    store: ObjectStore, live: LiveSettings, group: Sequence[ObjectInfo]
) -> tuple[dict[str, "pa.Table"], int, str]:
    import pyarrow as pa

    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(lambda info: manifests.read_windows(store, info.key), group))
    refs = [ref for manifest in found for ref in manifest.objects if ref.rows]
    checksum = hashlib.sha256("".join(ref.sha256 for ref in refs).encode()).hexdigest()
    if not refs:
        return {}, 0, checksum
    tables = [read_table(body, ref, WINDOW_COLUMNS) for body, ref in zip(fetch(store, refs), refs, strict=True)]
    rows = with_constant(pa.concat_tables(tables).combine_chunks(), FLOW.name.upper(), live.namespace)
    return _by_schema(_first_of_each(rows)), len(refs), checksum


def _first_of_each(rows: "pa.Table") -> "pa.Table":
    """One row per key: where two micro-batches brought the same window, the earlier one's."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbered = rows.append_column("N", pc.cumulative_sum(pa.repeat(pa.scalar(1), rows.num_rows)))
    first = numbered.group_by(list(WINDOWS.key)).aggregate([("N", "min")])
    return rows.take(pc.subtract(first.column("N_min").combine_chunks().sort(), 1))


def _by_schema(rows: "pa.Table") -> dict[str, "pa.Table"]:
    import pyarrow.compute as pc

    split: dict[str, list[str]] = {}
    for source in rows.column("SOURCE").unique().to_pylist():
        split.setdefault(schema_of(Source(source)), []).append(source)
    chosen: dict[str, pa.Table] = {}
    for schema, sources in sorted(split.items()):
        mask = pc.equal(rows.column("SOURCE"), sources[0])
        for source in sources[1:]:
            mask = pc.or_(mask, pc.equal(rows.column("SOURCE"), source))
        chosen[schema] = rows.filter(mask)
    return chosen


def _load_rows(
    session: Session, schema: str, rows: "pa.Table | None", result: LoadResult, taken: Sequence[ObjectInfo]
) -> None:
    if rows is None:
        with session.transaction():
            _note(session, schema, result, taken)
        return
    target = f"{session.database}.{schema}.{WINDOWS.name}"
    with staging.staged(session, schema, WINDOWS, result.run_id, result.load_id) as table:
        table.put(rows)
        table.copy()
        result.staged = table.rows
        with session.transaction():
            merged = session.run(merge.merge_windows(target, table.qualified))
            result.new = merged.number("number of rows inserted")
            result.unchanged = result.staged - result.new
            differing = session.run(merge.differing_windows(target, table.qualified)).rows
            result.differing = len(differing)
            _note(session, schema, result, taken)
    if differing:
        named = [" ".join(map(str, key)) for key in differing[:_NAMED]]
        log.warning("final windows differ from those loaded before, which stay", count=len(differing), first=named)


def _note(session: Session, schema: str, result: LoadResult, taken: Sequence[ObjectInfo]) -> None:
    audit.write(session, schema, result)
    if taken:
        values = ", ".join(f"({literal(m.key)}, {literal(m.etag)}, {literal(result.load_id)})" for m in taken)
        session.run(
            f"INSERT INTO {session.database}.{schema}.{LEDGER.name} ({', '.join(LEDGER.column_names)}) VALUES {values}"
        )
