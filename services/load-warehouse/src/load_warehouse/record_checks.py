"""Whether the stages' records agree with each other, before any stored row is read."""

import itertools
from collections import Counter
from collections.abc import Iterator

from ticklake import keys
from ticklake.lineage import StageRecord, SymbolChanges
from ticklake.objects import ObjectStore
from ticklake.pipeline import FETCH, LOAD, PROCESS, SUCCESS, VALIDATE_RAW
from ticklake.quarantine import messages_below
from ticklake.records import SymbolStatus
from ticklake.tables import DAILY_ANALYTICS

Records = dict[str, StageRecord]
"""Records by program: of the stages before reconciliation that write rows, and of validate-raw, which holds some."""


def record_faults(records: Records) -> Iterator[str]:
    """Where counts and checksums in the records disagree, a line each."""
    fetch = records[FETCH.program]
    for stage, record in records.items():
        yield from _sums(stage, record)
        for name in ("batch_id", "batch_date", "source"):
            if getattr(record, name) != getattr(fetch, name):
                yield f"{stage}: {name} is {getattr(record, name)}, that of {fetch.stage} {getattr(fetch, name)}"
    processed, loaded = records[PROCESS.program], records[LOAD.program]
    yield from _changes(records[VALIDATE_RAW.program])
    # What was computed and loaded is the whole history, which is no shorter than the batch. The warehouse has the same,
    # unless a later run has changed it meanwhile.
    same = processed.snapshots.get(DAILY_ANALYTICS.name) == loaded.snapshots.get(DAILY_ANALYTICS.name)
    exact = {PROCESS: False, LOAD: same}
    for before, after in itertools.pairwise(SUCCESS.upstream):
        yield from _handed_on(records[before.program], records[after.program], exact.get(after, True))


def _sums(stage: str, record: StageRecord) -> Iterator[str]:
    if record.rows_in != record.rows_out + record.quarantined + record.held:
        held = f" + {record.held} held" if record.held else ""
        yield f"{stage}: {record.rows_in} rows in, but {record.rows_out} out + {record.quarantined} quarantined{held}"
    rows = sum(part.rows for part in record.symbols.values())
    if rows != record.rows_out:
        yield f"{stage}: {record.rows_out} rows out, but {rows} by symbol"
    waiting = sum(part.held for part in record.symbols.values())
    if waiting != record.held:
        yield f"{stage}: {record.held} rows held, but {waiting} by symbol"
    quarantined = sum(part.quarantined for part in record.symbols.values())
    # A message too broken to name its symbol counts in the whole only.
    if quarantined > record.quarantined:
        yield f"{stage}: {record.quarantined} rows quarantined, but {quarantined} by symbol"


def _changes(judged: StageRecord) -> Iterator[str]:
    """Every row that passed is new, unchanged or revised."""
    for symbol, part in sorted(judged.symbols.items()):
        changes = part.changes or SymbolChanges()
        if changes.new + changes.unchanged + changes.revised != part.rows:
            yield (
                f"{judged.stage} {symbol}: {part.rows} rows, but {changes.new} new + {changes.unchanged} unchanged + "
                f"{changes.revised} revised"
            )


def _handed_on(before: StageRecord, after: StageRecord, exact: bool) -> Iterator[str]:
    """Compare two stages' records symbol by symbol.

    Args:
        exact: whether the later stage has the very rows of the earlier; otherwise it has no fewer.
    """
    for symbol in sorted(before.symbols.keys() | after.symbols.keys()):
        old, new = before.symbols.get(symbol), after.symbols.get(symbol)
        if old is None or new is None:
            lacking, having = (after, before) if old else (before, after)
            yield f"{lacking.stage} {symbol}: not in its record, but in that of {having.stage}"
        elif old.rows and after.stage == VALIDATE_RAW.program and new.status is SymbolStatus.HELD:
            if old.rows != new.held or new.rows:
                yield f"{after.stage} {symbol}: {new.held} rows held, {before.stage} had {old.rows}"
        elif old.status is SymbolStatus.HELD and new.status is not SymbolStatus.HELD:
            yield f"{after.stage} {symbol}: is {new.status}, though it was held before"
        elif old.status is SymbolStatus.HELD and new.rows:
            yield f"{after.stage} {symbol}: {new.rows} rows, though it was held before"
        elif new.rows < old.rows or (exact and new.rows > old.rows):
            yield f"{after.stage} {symbol}: {new.rows} rows, {before.stage} had {old.rows}"
        elif exact and old.checksum != new.checksum:
            yield f"{after.stage} {symbol}: another checksum over its {new.rows} rows than {before.stage}"


def quarantine_faults(store: ObjectStore, fetch: StageRecord) -> Iterator[str]:
    """Where the rows in quarantine are not as many as the fetch's record says."""
    prefix = keys.quarantined_rows_prefix(fetch.run_id)
    stored = Counter(message.symbol or "" for message in messages_below(store, prefix))
    for symbol in sorted(fetch.symbols.keys() | stored.keys()):
        part = fetch.symbols.get(symbol)
        recorded = part.quarantined + part.actions_quarantined if part else 0
        if stored[symbol] != recorded:
            yield f"{fetch.stage} {symbol}: {recorded} rows quarantined, but {stored[symbol]} in {prefix}{symbol}/"
