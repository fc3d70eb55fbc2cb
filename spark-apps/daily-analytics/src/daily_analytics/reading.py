"""The stage's input: exactly the objects that records and manifests name, with an explicit schema."""

import csv
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from ticklake import lineage
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.lineage import ObjectRef, StageRecord
from ticklake.manifests import SessionSpan
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, VALIDATE_RAW
from ticklake.tables import BAR_COLUMNS, TICKER, Column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

_READERS = 16
_TIME_FORMAT = "yyyy-MM-dd'T'HH:mm:ss.SSSX"


@dataclass(frozen=True)
class RawBatch:
    """What the raw objects say of their batch."""

    fetched_at: datetime
    """Latest of the batch's symbols, in UTC."""
    spans: dict[str, SessionSpan]


def fit_batch(store: ObjectStore, run_id: str) -> StageRecord:
    """What the run consumed, less the symbols that are held: the objects and rows that are computed from.

    Raises:
        ConfigurationError: the run was not consumed and validated, or was consumed anew since.
    """
    consumed = lineage.read(store, run_id, CONSUME.program)
    judged = lineage.read(store, run_id, VALIDATE_RAW.program)
    if (judged.batch_date, judged.rows_in) != (consumed.batch_date, consumed.rows_out):
        raise ConfigurationError(f"run {run_id} was consumed anew: run {VALIDATE_RAW.program} again")
    fit = {symbol for symbol, part in judged.symbols.items() if part.rows}
    objects = tuple(ref for ref in consumed.objects if ref.symbol in fit)
    return judged.model_copy(update={"objects": objects})


def look_at(store: ObjectStore, objects: Iterable[ObjectRef]) -> RawBatch | None:
    """When the batch was fetched and which sessions each symbol has; None for a batch without rows.

    Raises:
        IntegrityError: an object is gone or changed since it was recorded.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(lambda ref: _look_at(store, ref), objects))
    if not found:
        return None
    spans = {symbol: span for symbol, span, _ in found}
    if len(spans) != len(found):
        raise IntegrityError("the raw objects of this run hold a symbol twice: run consume-historical again")
    return RawBatch(max(fetched_at for _, _, fetched_at in found), spans)


def _look_at(store: ObjectStore, ref: ObjectRef) -> tuple[str, SessionSpan, datetime]:
    body = lineage.fetch(store, ref, "run consume-historical again")
    lines = body.decode(errors="replace").splitlines()
    try:
        header, first, last = csv.reader((lines[0], lines[1], lines[-1]))
        start, end = dict(zip(header, first, strict=True)), dict(zip(header, last, strict=True))
        span = SessionSpan(
            first=date.fromisoformat(start["session_date"]), last=date.fromisoformat(end["session_date"]),
            rows=len(lines) - 1,
        )  # fmt: skip
        return start["symbol"], span, datetime.fromisoformat(start["fetched_at"])
    except (IndexError, KeyError, ValueError) as error:
        raise IntegrityError(f"{ref.key} is no CSV of daily bars: run consume-historical again") from error


def urls(bucket: str, objects: Iterable[ObjectRef]) -> list[str]:
    """Where Spark finds the objects."""
    return [f"s3a://{bucket}/{ref.key}" for ref in objects]


def raw_bars(session: "SparkSession", files: list[str]) -> "DataFrame":
    """The rows of raw CSV files; a row that does not fit the schema fails the job that reads it."""
    return session.read.csv(
        files, schema=_schema(BAR_COLUMNS), header=True, mode="FAILFAST", enforceSchema=False,
        timestampFormat=_TIME_FORMAT, dateFormat="yyyy-MM-dd",
    )  # fmt: skip


def stored_rows(session: "SparkSession", files: list[str]) -> "DataFrame":
    """The rows of Parquet files that this stage wrote, with the columns `merge.STORED_COLUMNS`."""
    from daily_analytics.merge import STORED_COLUMNS

    keyed = [Column(TICKER, "string", "") if column.name == "symbol" else column for column in STORED_COLUMNS]
    return session.read.schema(_schema(keyed)).parquet(*files).withColumnRenamed(TICKER, "symbol")


def _schema(columns: Iterable[Column]) -> "StructType":
    from pyspark.sql import types

    kinds = {
        "string": types.StringType(), "date": types.DateType(), "timestamp": types.TimestampType(),
        "double": types.DoubleType(), "bigint": types.LongType(), "int": types.IntegerType(),
    }  # fmt: skip
    return types.StructType([types.StructField(column.name, kinds[column.type]) for column in columns])
