"""What the stages' own records say of each other, before any stored row is read."""

from collections import Counter
from collections.abc import Iterator

from ticklake import names
from ticklake.lineage import StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, FETCH, LOAD, PROCESS

Records = dict[str, StageRecord]
"""Records of the four stages before reconciliation, by program."""


def record_faults(records: Records) -> Iterator[str]:
    """Where counts and checksums in the records disagree, a line each."""
    fetch = records[FETCH.program]
    for stage, record in records.items():
        superseded = sum(part.superseded for part in record.symbols.values())
        yield from _sums(stage, record, superseded)
        for name in ("batch_id", "batch_date", "source"):
            if getattr(record, name) != getattr(fetch, name):
                yield f"{stage}: {name} is {getattr(record, name)}, that of {fetch.stage} {getattr(fetch, name)}"
    for before, after in ((FETCH, CONSUME), (CONSUME, PROCESS), (PROCESS, LOAD)):
        yield from _handed_on(records[before.program], records[after.program])


def _sums(stage: str, record: StageRecord, superseded: int) -> Iterator[str]:
    if record.rows_in != record.rows_out + record.quarantined + superseded:
        kept_out = f" + {superseded} superseded" if superseded else ""
        yield (
            f"{stage}: {record.rows_in} rows in, but {record.rows_out} out + {record.quarantined} quarantined{kept_out}"
        )
    rows = sum(part.rows for part in record.symbols.values())
    if rows != record.rows_out:
        yield f"{stage}: {record.rows_out} rows out, but {rows} by symbol"
    quarantined = sum(part.quarantined for part in record.symbols.values())
    # A message too broken to name its symbol counts in the whole only.
    if quarantined > record.quarantined:
        yield f"{stage}: {record.quarantined} rows quarantined, but {quarantined} by symbol"


def _handed_on(before: StageRecord, after: StageRecord) -> Iterator[str]:
    for symbol in sorted(before.symbols.keys() | after.symbols.keys()):
        old, new = before.symbols.get(symbol), after.symbols.get(symbol)
        if old is None or new is None:
            lacking, having = (after, before) if old else (before, after)
            yield f"{lacking.stage} {symbol}: not in its record, but in that of {having.stage}"
        elif old.rows != new.rows + new.superseded:
            yield f"{after.stage} {symbol}: {new.rows + new.superseded} rows, {before.stage} had {old.rows}"
        elif not new.superseded and old.checksum != new.checksum:
            yield f"{after.stage} {symbol}: another checksum over its {new.rows} rows than {before.stage}"


def quarantine_faults(store: ObjectStore, fetch: StageRecord) -> Iterator[str]:
    """Where the rows in quarantine are not as many as the fetch's record says."""
    prefix = f"quarantine/run_id={names.slug(fetch.run_id)}/"
    stored = Counter(found.key.removeprefix(prefix).partition("/")[0] for found in store.list_objects(prefix))
    for symbol in sorted(fetch.symbols.keys() | stored.keys()):
        said = fetch.symbols[symbol].quarantined if symbol in fetch.symbols else 0
        if stored[symbol] != said:
            yield f"{fetch.stage} {symbol}: {said} rows quarantined, but {stored[symbol]} in {prefix}{symbol}/"
