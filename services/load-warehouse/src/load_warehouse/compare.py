"""Raw CSV, Parquet and warehouse of one run, compared row by row and symbol by symbol."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date

from load_warehouse import places
from load_warehouse.places import Rows
from load_warehouse.records_check import Records
from load_warehouse.schema import DAILY, schema_of
from load_warehouse.session import Session
from ticklake.errors import IntegrityError
from ticklake.lineage import ObjectRef, StageRecord, SymbolLineage, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, FETCH, LOAD, PROCESS, VALIDATE_RAW
from ticklake.records import SymbolStatus

_SYMBOLS_AT_ONCE = 32
_READERS = 16
_NAMED = 3
"""How many rows of one disagreement are named."""
NO_ROWS = SymbolResult(status=SymbolStatus.UNKNOWN, rows=0, checksum=Rows().checksum)
"""Of a symbol that a record does not know."""


@dataclass
class Comparison:
    """Reads raw CSV, Parquet and warehouse symbol by symbol and notes where they differ."""

    store: ObjectStore
    session: Session
    records: Records
    faults: list[str] = field(default_factory=list)
    symbols: dict[str, SymbolLineage] = field(default_factory=dict)
    warehouse_checksums: dict[str, str] = field(default_factory=dict)
    """Of the rows that the warehouse holds of this batch."""

    @property
    def table(self) -> str:
        """The warehouse's table."""
        return f"{self.session.database}.{schema_of(self.records[LOAD.program].source)}.{DAILY.name}"

    def run(self) -> None:
        """Compare every symbol that any record or the warehouse knows."""
        self._check_unread(self.records[FETCH.program])
        batch_id = self.records[LOAD.program].batch_id
        stored = places.warehouse_rows(self.session, self.table, batch_id)
        held = next(stored, None)
        known = sorted(set().union(*(record.symbols for record in self.records.values())))
        for start in range(0, len(known), _SYMBOLS_AT_ONCE):
            group = known[start : start + _SYMBOLS_AT_ONCE]
            raw, parquet = self._bodies(CONSUME.program, group), self._bodies(PROCESS.program, group)
            for symbol in group:
                while held is not None and held[0] < symbol:
                    self._unknown(held)
                    held = next(stored, None)
                rows = Rows()
                if held is not None and held[0] == symbol:
                    rows, held = held[1], next(stored, None)
                self._compare(symbol, batch_id, raw[symbol], parquet[symbol], rows)
        while held is not None:
            self._unknown(held)
            held = next(stored, None)

    def _unknown(self, held: tuple[str, Rows]) -> None:
        self.faults.append(f"{LOAD.program} {held[0]}: {len(held[1].hashes)} rows of a symbol that was never fetched")

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

    def _compare(self, symbol: str, batch_id: str, raw: list[bytes], parquet: list[bytes], held: Rows) -> None:
        csv = self._parsed(CONSUME.program, symbol, raw, lambda body: places.csv_rows(body, batch_id))
        files = self._parsed(PROCESS.program, symbol, parquet, lambda body: places.parquet_rows(body, batch_id))
        self.faults += [f"{LOAD.program} {symbol}: {fault}" for fault in held.faults[:_NAMED]]
        self._against_record(FETCH.program, symbol, csv, "the raw CSV holds")
        self._against_record(CONSUME.program, symbol, csv, "the raw CSV holds")
        self._against_record(PROCESS.program, symbol, files, "Parquet holds")
        judged = self.records[VALIDATE_RAW.program].symbols.get(symbol)
        waits = judged is not None and judged.status is SymbolStatus.HELD
        self._differ(PROCESS.program, symbol, csv, files, frozenset(csv.hashes if waits else ()))
        superseded = self._superseded(symbol, batch_id, parquet, files.hashes.keys() - held.hashes.keys())
        self._differ(LOAD.program, symbol, files, held, superseded)
        self.warehouse_checksums[symbol] = held.checksum
        fetched = self.records[FETCH.program].symbols.get(symbol) or NO_ROWS
        self.symbols[symbol] = SymbolLineage(
            status=judged.status if judged is not None else fetched.status, fetched=fetched.rows,
            quarantined=fetched.quarantined, held=fetched.held + (judged.held if judged is not None else 0),
            reasons=judged.reasons if judged is not None else (),
            raw=len(csv.hashes), parquet=len(files.hashes), warehouse=len(held.hashes), superseded=len(superseded),
            checksum=csv.checksum,
        )  # fmt: skip

    def _parsed(self, stage: str, symbol: str, bodies: list[bytes], parse: Callable[[bytes], dict[str, Rows]]) -> Rows:
        total = Rows()
        for body in bodies:
            try:
                found = parse(body)
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

    def _against_record(self, stage: str, symbol: str, rows: Rows, what: str) -> None:
        said = self.records[stage].symbols.get(symbol) or NO_ROWS
        if said.rows != len(rows.hashes):
            self.faults.append(f"{stage} {symbol}: its record says {said.rows} rows, {what} {len(rows.hashes)}")
        elif said.checksum != rows.checksum:
            self.faults.append(f"{stage} {symbol}: {what} {said.rows} rows of another checksum than its record")

    def _differ(self, stage: str, symbol: str, before: Rows, after: Rows, excused: frozenset[date]) -> None:
        """Note what `stage` lost, added or changed; rows in `excused` may be missing."""
        missing = before.hashes.keys() - after.hashes.keys() - excused
        extra = after.hashes.keys() - before.hashes.keys()
        changed = {day for day in before.hashes.keys() & after.hashes.keys() if before.hashes[day] != after.hashes[day]}
        told = [
            f"{len(days)} {what} ({_first(days)})"
            for what, days in (("missing", missing), ("extra", extra), ("different", changed)) if days
        ]  # fmt: skip
        if told:
            self.faults.append(
                f"{stage} {symbol}: {len(after.hashes)} rows against {len(before.hashes)} before: {', '.join(told)}"
            )

    def _superseded(self, symbol: str, batch_id: str, parquet: list[bytes], absent: set[date]) -> frozenset[date]:
        """Those of the absent sessions for which the warehouse holds a row that goes before this batch's."""
        if not absent:
            return frozenset()
        ours: dict[date, places.Rank] = {}
        for body in parquet:
            ours |= places.parquet_ranks(body, symbol)
        theirs = places.other_ranks(self.session, self.table, batch_id, symbol)
        return frozenset(day for day in absent if day in theirs and theirs[day].goes_before(ours[day]))


def _first(days: set[date]) -> str:
    named = ", ".join(map(str, sorted(days)[:_NAMED]))
    return named if len(days) <= _NAMED else f"{named}, …"
