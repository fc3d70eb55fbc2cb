"""One CSV object per symbol, and one with the batch's corporate actions; each written once and read back."""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from consume_historical.batch_assembly import Row, SymbolBatch
from ticklake.errors import IntegrityError
from ticklake.keys import raw_actions_key, raw_daily_key, slug
from ticklake.lineage import ObjectRef
from ticklake.objects import ObjectStore
from ticklake.tables import BAR_COLUMNS

ACTION_COLUMNS = ("symbol", "ex_date", "kind", "value", "currency")
"""Columns of the CSV with a batch's splits and dividends, as the source gives them."""

_BARS = tuple(column.name for column in BAR_COLUMNS)

BATCH_ID = "batch-id"
"""User metadata with the (slug of the) batch that an object belongs to."""


def csv_bytes(rows: Iterable[Row], columns: Sequence[str] = _BARS) -> bytes:
    """The rows as CSV (RFC 4180, but lines end in a line feed): a header, numbers so that they read back bit by bit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # The module writes a float as its repr: the shortest form that reads back to the same double.
    writer.writerows(rows)
    return text.getvalue().encode()


def write_actions(store: ObjectStore, run_id: str, batch_date: date, whole: Mapping[str, SymbolBatch]) -> ObjectRef:
    """Write the splits and dividends of all symbols into one object; a retry writes the same.

    Raises:
        IntegrityError: the store does not hold what was written.
    """
    rows = [
        (symbol, action.ex_date.isoformat(), action.kind, action.value, action.currency)
        for symbol, part in whole.items()
        for action in part.trailer.actions
    ]
    body, key = csv_bytes(rows, ACTION_COLUMNS), raw_actions_key(run_id, batch_date)
    store.put(key, body)
    return _read_back(store, key, body, len(rows))


def write_symbol(store: ObjectStore, symbol: str, part: SymbolBatch) -> ObjectRef:
    """Write one symbol's rows, unless a former attempt has, and check what the store then holds.

    Two batches of one date can have been fetched in the same second of the day: the later one's key then carries a
    suffix made of its own id.

    Raises:
        IntegrityError: the store does not hold what was written.
    """
    body = csv_bytes(part.rows)
    trailer = part.trailer
    key = raw_daily_key(symbol, trailer.batch_date, trailer.fetched_at)
    metadata = {BATCH_ID: slug(trailer.batch_id), "rows": str(len(part.rows)), "checksum": part.checksum}
    if not _put(store, key, body, metadata):
        suffix = hashlib.sha256(trailer.batch_id.encode()).hexdigest()[:8]
        key = f"{key.removesuffix('.csv')}-{suffix}.csv"
        if not _put(store, key, body, metadata):
            raise IntegrityError(f"{key} belongs to another batch: who writes there?")
    return _read_back(store, key, body, len(part.rows), symbol)


def _read_back(store: ObjectStore, key: str, body: bytes, rows: int, symbol: str | None = None) -> ObjectRef:
    """The reference of an object that was written, once the store is seen to hold it."""
    digest = hashlib.sha256(body).hexdigest()
    try:
        stored = store.get(key)
    except KeyError:
        raise IntegrityError(f"{key} was written and is gone: who removes objects?") from None
    if len(stored) != len(body) or hashlib.sha256(stored).hexdigest() != digest:
        raise IntegrityError(f"{key} was written with {len(body)} bytes and reads back otherwise ({len(stored)} bytes)")
    return ObjectRef(key=key, rows=rows, size=len(body), sha256=digest, symbol=symbol)


def _put(store: ObjectStore, key: str, body: bytes, metadata: dict[str, str]) -> bool:
    """Write `body` at `key`; False where another batch's object lies there."""
    if store.put_if_absent(key, body, metadata=metadata):
        return True
    there = store.metadata(key) or {}
    if there.get(BATCH_ID) != metadata[BATCH_ID]:
        return False
    if there.get("sha256") != hashlib.sha256(body).hexdigest():
        # This batch's, from another version of the code: the rows are the same, their form is not.
        store.put(key, body, metadata=metadata)
    return True
