"""The stage's output: new files beside the old, checked by reading them back, then a manifest that switches to them."""

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from ticklake import manifests
from ticklake.errors import IntegrityError, StageError
from ticklake.lineage import ObjectRef
from ticklake.manifests import DailyManifest, SessionSpan
from ticklake.names import processed_daily_prefix
from ticklake.objects import ObjectStore
from ticklake.records import batch_checksum, row_hash
from ticklake.tables import TICKER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_READERS = 8
_CHECKED = (
    TICKER, "session_date", "open", "high", "low", "close", "adj_close", "volume", "dividends", "stock_splits",
    "source", "row_hash",
)  # fmt: skip
"""The arguments of `records.row_hash` in order, and the hash that the row carries."""


@dataclass(frozen=True)
class Written:
    """What reading the new files back found."""

    objects: tuple[ObjectRef, ...]
    spans: dict[str, SessionSpan]
    checksums: dict[str, str]
    """Per symbol, over the row hashes recomputed from the values read."""


def write_new(rows: "DataFrame", folder: str) -> str:
    """Write the rows as Parquet below `folder`, one file per symbol, beside what is there.

    Returns:
        what the new files' names begin with; no other attempt has the same.
    """
    from pyspark.sql import functions as F

    name = f"part-{uuid.uuid4().hex}"
    (
        rows.withColumn(TICKER, F.col("symbol"))
        .write.mode("append")
        .partitionBy("symbol")
        .option("compression", "zstd")
        .option("mapreduce.output.basename", name)
        .parquet(folder)
    )
    return name


def read_back(store: ObjectStore, batch_date: date, name: str) -> Written:
    """Read the files whose names begin with `name`, recompute every row's hash, and sum up per symbol.

    Raises:
        IntegrityError: a value read differs from the one that the batch brought, or a session is there twice.
    """
    keys = [key for key in _keys(store, batch_date) if key.rpartition("/")[2].startswith(name)]
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(lambda key: _read_object(store, key), keys))
    hashes: dict[str, dict[date, str]] = defaultdict(dict)
    for ref, sessions in found:
        mine = hashes[ref.symbol or ""]
        if mine.keys() & sessions.keys():
            raise IntegrityError(f"{ref.key}: a session of {ref.symbol} is in two files")
        mine.update(sessions)
    return Written(
        objects=tuple(ref for ref, _ in found),
        spans={
            symbol: SessionSpan(first=min(sessions), last=max(sessions), rows=len(sessions))
            for symbol, sessions in sorted(hashes.items())
        },
        checksums={
            symbol: batch_checksum(digest for _, digest in sorted(sessions.items()))
            for symbol, sessions in sorted(hashes.items())
        },
    )


def _read_object(store: ObjectStore, key: str) -> tuple[ObjectRef, dict[date, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    body = store.get(key)
    try:
        table = pq.ParquetFile(pa.BufferReader(body)).read(columns=list(_CHECKED))
        columns: list[list[Any]] = [table[column].to_pylist() for column in _CHECKED]
    except (pa.ArrowException, KeyError, OSError) as error:
        raise IntegrityError(f"{key} does not read back as it was written: {error}") from error
    symbols = set(columns[0])
    if len(symbols) != 1:
        raise IntegrityError(f"{key} holds {len(symbols)} symbols, not one")
    sessions: dict[date, str] = {}
    for *values, carried in zip(*columns, strict=True):
        day = values[1]
        try:
            computed = row_hash(*values)
        except (TypeError, ValueError) as error:
            raise IntegrityError(f"{key}: a value of {day} is missing or no number") from error
        if computed != carried or day in sessions:
            raise IntegrityError(f"{key}: the row of {day} is not the one that the batch brought, or is there twice")
        sessions[day] = computed
    ref = ObjectRef(
        key=key, rows=len(sessions), size=len(body), sha256=hashlib.sha256(body).hexdigest(), symbol=symbols.pop()
    )
    return ref, sessions


def switch(store: ObjectStore, manifest: DailyManifest) -> None:
    """Make `manifest` the one that readers follow, then remove the date's files that it does not name.

    Raises:
        StageError: a file that it names is gone, because another run of the same date ended meanwhile.
    """
    manifests.write_daily(store, manifest)
    named = {ref.key for ref in manifest.objects}
    present = set(_keys(store, manifest.batch_date))
    if named - present:
        raise StageError(f"another run of {manifest.batch_date} removed this one's files: run one at a time, and again")
    remove(store, present - named)


def discard(store: ObjectStore, batch_date: date, name: str) -> None:
    """Remove the files that begin with `name`: they are not to be used."""
    remove(store, (key for key in _keys(store, batch_date) if key.rpartition("/")[2].startswith(name)))


def remove(store: ObjectStore, keys: Iterable[str]) -> None:
    """Remove objects, several at a time."""
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(store.delete, keys))


def _keys(store: ObjectStore, batch_date: date) -> list[str]:
    return [found.key for found in store.list_objects(f"{processed_daily_prefix(batch_date)}/")]
