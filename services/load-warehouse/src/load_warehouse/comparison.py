"""Raw CSV, facts, analytics and warehouse of one run's symbols, compared row by row and symbol by symbol."""

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from load_warehouse import stored_rows
from load_warehouse.daily_load import ANALYTICS, BAR_VERSIONS, PARTS, Part
from load_warehouse.lake_rows import LakeRows, groups
from load_warehouse.record_checks import Records
from load_warehouse.schema import DAILY
from load_warehouse.session import Session
from load_warehouse.stored_rows import Rows, Stored
from ticklake.errors import IntegrityError
from ticklake.lineage import ObjectRef, StageRecord, SymbolChanges, SymbolLineage, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, FETCH, LOAD, PROCESS, VALIDATE_RAW, Stage
from ticklake.records import SymbolStatus, batch_checksum
from ticklake.tables import DAILY_ANALYTICS, DAILY_BARS
from ticklake.warehouse_tables import schema_of

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_ONCE = 25_000
"""Rows of analytics compared together: about 150 MB in memory, with the facts and the warehouse's rows beside them."""
_READERS = 16
_NAMED = 3
"""How many rows of one disagreement are named."""
NO_ROWS = SymbolResult(status=SymbolStatus.UNKNOWN, rows=0, checksum=Rows().checksum)
"""Of a symbol that a record does not know."""


@dataclass
class Comparison:
    """Reads raw CSV, the lake's tables and the warehouse symbol by symbol and notes where they differ."""

    store: ObjectStore
    lake: LakeRows
    session: Session
    records: Records
    faults: list[str] = field(default_factory=list)
    symbols: dict[str, SymbolLineage] = field(default_factory=dict)
    warehouse_checksums: dict[str, str] = field(default_factory=dict)
    """Of the rows that the warehouse holds."""

    @property
    def table(self) -> str:
        """The warehouse's table of analytics."""
        return f"{self._schema}.{DAILY.name}"

    @property
    def _schema(self) -> str:
        return f"{self.session.database}.{schema_of(self.records[LOAD.program].source)}"

    def run(self) -> None:
        """Compare every symbol that any record knows."""
        self._check_unread(self.records[FETCH.program])
        known = sorted(set().union(*(record.symbols for record in self.records.values())))
        rows = dict.fromkeys(known, 1) | {
            entry["values"]: entry["counts"]
            for entry in self.lake.read(DAILY_BARS, known, ("symbol",)).column("symbol").value_counts().to_pylist()
        }
        for group in groups(rows, _ROWS_AT_ONCE):
            raw = self._bodies(CONSUME.program, group)
            tables = {part: self.lake.read(part.lake, group) for part in PARTS}
            in_force = stored_rows.bars_in_force(tables[BAR_VERSIONS])
            held = {part: self._stored(part, group, tables.pop(part)) for part in PARTS}
            for symbol in group:
                csv = self._parsed(symbol, raw[symbol])
                both = {
                    part: (ours.get(symbol, Stored()), theirs.get(symbol, Stored()))
                    for part, (ours, theirs) in held.items()
                }
                self._compare(symbol, csv, in_force.get(symbol, {}), both)

    def _stored(
        self, part: Part, group: Sequence[str], rows: "pa.Table"
    ) -> tuple[dict[str, Stored], dict[str, Stored]]:
        """Rows of one table in the lake and in the warehouse."""
        source = str(self.records[LOAD.program].source)
        return (
            stored_rows.lake_rows(rows, part.table),
            stored_rows.warehouse_rows(self.session, self._schema, part.table, group, source),
        )

    def _check_unread(self, record: StageRecord) -> None:
        """The source's answers: there, and unchanged."""
        for _ in self._read(record.stage, record.objects):
            pass

    def _bodies(self, stage: str, group: Sequence[str]) -> dict[str, list[bytes]]:
        wanted = set(group)
        refs = [ref for ref in self.records[stage].objects if ref.symbol in wanted]
        found: dict[str, list[bytes]] = {symbol: [] for symbol in group}
        for ref, body in self._read(stage, refs):
            found[ref.symbol or ""].append(body)
        return found

    def _read(self, stage: str, refs: Sequence[ObjectRef]) -> Iterator[tuple[ObjectRef, bytes]]:
        def get(ref: ObjectRef) -> bytes | None:
            try:
                return self.store.get(ref.key)
            except KeyError:
                return None

        with ThreadPoolExecutor(_READERS) as pool:
            for ref, body in zip(refs, pool.map(get, refs), strict=True):
                where = f"{stage} {ref.symbol}" if ref.symbol else stage
                if body is None:
                    self.faults.append(f"{where}: {ref.key} with {ref.rows} rows is gone")
                    continue
                if hashlib.sha256(body).hexdigest() != ref.sha256:
                    self.faults.append(f"{where}: {ref.key} is not the object that was written (SHA-256)")
                yield ref, body

    def _parsed(self, symbol: str, bodies: list[bytes]) -> Rows:
        stage, batch_id = CONSUME.program, self.records[CONSUME.program].batch_id
        total = Rows()
        for body in bodies:
            try:
                found = stored_rows.csv_rows(body, batch_id)
            except IntegrityError as error:
                self.faults.append(f"{stage} {symbol}: {error}")
                continue
            for other in found.keys() - {symbol}:
                self.faults.append(f"{stage} {symbol}: its object holds {len(found[other].hashes)} rows of {other}")
            rows = found.get(symbol, Rows())
            twice = total.hashes.keys() & rows.hashes.keys()
            total.faults += rows.faults + [f"{day} is there twice" for day in sorted(twice)]
            total.hashes |= rows.hashes
        self.faults += [f"{stage} {symbol}: {fault}" for fault in total.faults[:_NAMED]]
        return total

    def _compare(
        self, symbol: str, csv: Rows, in_force: dict[date, str], held: Mapping[Part, tuple[Stored, Stored]]
    ) -> None:
        fetched, judged, processed = (
            self.records[stage.program].symbols.get(symbol) or NO_ROWS for stage in (FETCH, VALIDATE_RAW, PROCESS)
        )
        analytics, loaded = (_hashes(side) for side in held[ANALYTICS])
        for stage in (FETCH, CONSUME):
            self._against_record(stage.program, symbol, len(csv.hashes), csv.checksum, "the raw CSV holds")
        if judged.status is not SymbolStatus.HELD and (lacking := csv.hashes.keys() - in_force.keys()):
            self.faults.append(
                f"{VALIDATE_RAW.program} {symbol}: daily_bars knows {len(in_force)} sessions, "
                f"but not {len(lacking)} of the {len(csv.hashes)} in the raw CSV ({_first(lacking)})"
            )
        # A symbol that is held, or has no history, was not computed and loaded in this run.
        if processed.rows:
            self.faults += self._computed(symbol, in_force, held[BAR_VERSIONS][0], held[ANALYTICS][0])
            self._against_table(PROCESS, symbol, analytics, "the table daily_analytics holds")
            self._against_table(LOAD, symbol, loaded, f"{DAILY.name} holds")
            for part in PARTS:
                self.faults += self._loaded(symbol, part, *held[part])
        self.warehouse_checksums[symbol] = _checksum(loaded)
        self.symbols[symbol] = SymbolLineage(
            status=fetched.status if judged is NO_ROWS else judged.status,
            fetched=fetched.rows,
            quarantined=fetched.quarantined,
            held=fetched.held + judged.held,
            reasons=judged.reasons,
            raw=len(csv.hashes),
            changes=judged.changes or SymbolChanges(),
            facts=len(in_force),
            analytics=len(analytics),
            warehouse=len(loaded),
            checksum=csv.checksum,
        )

    def _computed(self, symbol: str, in_force: dict[date, str], bars: Stored, analytics: Stored) -> list[str]:
        """Where the analytics are not of the facts that count.

        A later batch may have brought facts that it has not computed from yet: then those count that this run's
        analytics were computed from.
        """
        faults = self._differ(PROCESS.program, symbol, "daily_analytics", in_force, _hashes(analytics))
        if not faults or (then := self._as_left_by(PROCESS, symbol)) is None:
            return faults
        bars_then, analytics_then = (
            stored_rows.lake_rows(then[part], part.table).get(symbol, Stored()) for part in (BAR_VERSIONS, ANALYTICS)
        )
        if bars.batches | analytics.batches <= bars_then.batches | analytics_then.batches:
            return faults
        in_force = stored_rows.bars_in_force(then[BAR_VERSIONS]).get(symbol, {})
        return self._differ(PROCESS.program, symbol, "daily_analytics", in_force, _hashes(analytics_then))

    def _loaded(self, symbol: str, part: Part, lake: Stored, warehouse: Stored) -> list[str]:
        """Where the warehouse has not what the lake has, or had when this run loaded it if a later batch came since."""
        name = part.table.name
        twice = (
            [
                f"{LOAD.program} {symbol}: {name} holds {len(warehouse.twice)} keys twice "
                f"({_first({key[0] for key in warehouse.twice})})"
            ]
            if warehouse.twice
            else []
        )

        def differ(lake: Stored) -> list[str]:
            # Facts that a lake lost stay in the warehouse.
            rows = {key: values for key, values in warehouse.rows.items() if part is ANALYTICS or key in lake.rows}
            return self._differ(LOAD.program, symbol, name, lake.rows, rows)

        faults = differ(lake)
        if faults and (then := self._as_left_by(LOAD, symbol)) is not None:
            lake_then = stored_rows.lake_rows(then[part], part.table).get(symbol, Stored())
            if not lake.batches <= lake_then.batches:
                faults = differ(lake_then)
        return twice + faults

    def _as_left_by(self, stage: Stage, symbol: str) -> "dict[Part, pa.Table] | None":
        """The symbol's rows in the lake when `stage` of this run was done; None where those snapshots are gone."""
        lake = self.lake.at(self.records[stage.program].snapshots)
        try:
            return {part: lake.read(part.lake, [symbol]) for part in PARTS}
        except IntegrityError:
            return None

    def _against_record(self, stage: str, symbol: str, rows: int, checksum: str, what: str) -> None:
        recorded = self.records[stage].symbols.get(symbol) or NO_ROWS
        if recorded.rows != rows:
            self.faults.append(f"{stage} {symbol}: its record says {recorded.rows} rows, {what} {rows}")
        elif recorded.checksum != checksum:
            self.faults.append(f"{stage} {symbol}: {what} {recorded.rows} rows of another checksum than its record")

    def _against_table(self, stage: Stage, symbol: str, hashes: dict[date, str], what: str) -> None:
        """Where a later run has changed the analytics, the record can only say how many rows there are at least."""
        record = self.records[stage.program]
        if record.snapshots.get(DAILY_ANALYTICS.name) == self.lake.snapshot(DAILY_ANALYTICS):
            self._against_record(stage.program, symbol, len(hashes), _checksum(hashes), what)
        elif len(hashes) < record.symbols.get(symbol, NO_ROWS).rows:
            recorded = record.symbols[symbol].rows
            self.faults.append(f"{stage.program} {symbol}: its record says {recorded} rows, {what} {len(hashes)}")

    def _differ(
        self, stage: str, symbol: str, place: str, before: Mapping[Any, Hashable], after: Mapping[Any, Hashable]
    ) -> list[str]:
        """What `stage` lost, added or changed in a table, in a line; keys are days, or tuples that begin with one."""
        changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
        differences = [
            f"{len(keys)} {what} ({_first({key[0] if isinstance(key, tuple) else key for key in keys})})"
            for what, keys in (
                ("missing", before.keys() - after.keys()),
                ("extra", after.keys() - before.keys()),
                ("different", changed),
            )
            if keys
        ]
        counts = f"{stage} {symbol}: {place}: {len(after)} rows against {len(before)} before"
        return [f"{counts}: {', '.join(differences)}"] if differences else []


_HASH = DAILY.compared.index("ROW_HASH")


def _hashes(stored: Stored) -> dict[date, str]:
    return {key[0]: values[_HASH] for key, values in stored.rows.items()}


def _checksum(hashes: dict[date, str]) -> str:
    return batch_checksum(hashes[day] for day in sorted(hashes))


def _first(days: set[date]) -> str:
    named = ", ".join(map(str, sorted(days)[:_NAMED]))
    return named if len(days) <= _NAMED else f"{named}, …"
