"""Closed windows computed again from the archive, which knows ticks that the stream missed or could no longer read."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import Field
from pyspark import StorageLevel
from pyspark.sql import functions as F

from stream_analytics.partial_aggregates import partial_aggregates
from stream_analytics.settings import StreamSettings
from stream_analytics.sliding_windows import windows_of
from stream_analytics.windows_table import WindowLake, written
from ticklake import ledger, logs
from ticklake.catalog import LakeTables
from ticklake.errors import ConfigurationError
from ticklake.objects import ObjectStore
from ticklake.records import WINDOW_LENGTHS
from ticklake.settings import CatalogSettings, LiveSettings, StageSettings, StoreSettings
from ticklake.spark import SparkSettings, translated_errors
from ticklake.tables import WINDOW_COLUMNS, sources_of

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_HOUR = timedelta(hours=1)
_ROWS_PER_PART = 250_000
_IDENTITY = ["producer_run", "symbol", "sequence"]
_KEY = ["symbol", "source", "window_length", "window_start"]
_AVERAGED = {"vwap", "moving_average", "volatility"}
"""Equal ticks may give others of these in the last digit, so they are not compared."""
_COMPARED = [column.name for column in WINDOW_COLUMNS if column.name not in {*_KEY, *_AVERAGED}]

log = logs.get(__name__)


class RebuildSettings(StageSettings):
    """All settings of rebuild-windows."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    catalog: CatalogSettings = Field(default_factory=CatalogSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
    spark: SparkSettings = Field(default_factory=SparkSettings)
    stream: StreamSettings = Field(default_factory=StreamSettings)
    rebuild_late_hours: int = Field(default=24, ge=0)
    """Hours of arrival, after the last window's end, in which late ticks are looked for."""


def rebuild(
    spark: "SparkSession", settings: RebuildSettings, run_id: str, first: datetime, after: datetime
) -> dict[str, object]:
    """Compute the closed windows that start in `first` to `after` (excluded) and put them in the place of others.

    Only windows up to the newest closed one in the table: later ones are the stream's to write. Of a symbol's window
    that the archive has no tick of, what is in the table stays.

    Args:
        run_id: goes into the snapshots' properties.

    Returns:
        what was found, in numbers: windows new, revised and unchanged, and those that only the table has.

    Raises:
        ConfigurationError: the span is empty, or no window of it is closed.
        IntegrityError: the archive has a gap, or an object of it is damaged.
        StageError: store or catalog does not answer, or another writer changed the same windows.
    """
    if after <= first:
        raise ConfigurationError(f"--to {after.isoformat()} does not lie after --from {first.isoformat()}")
    lake = WindowLake(LakeTables(settings.catalog, settings.store), settings.live)
    until = lake.written_until()
    last = max(until.values(), default=None)
    if last is None or first + min(WINDOW_LENGTHS.values()) > last:
        raise ConfigurationError(
            f"no window that starts at {first.isoformat()} or later is closed yet"
            + (f": the newest ends at {last.isoformat()}" if last else "")
        )
    ticks = _ticks(spark, settings, first, min(after + max(WINDOW_LENGTHS.values()), last))
    if ticks is None:
        raise ConfigurationError(f"the archive has no tick from {first.isoformat()} to {after.isoformat()}")
    closed = written(until)
    specs = settings.stream.windows
    windows = windows_of(partial_aggregates(ticks, specs), specs, timedelta(0)).where(_span(first, after))
    counts = {"new": 0, "revised": 0, "unchanged": 0, "only_in_table": 0}
    with translated_errors("rebuild windows"):
        for namespace in sorted({namespace for namespace, _ in until}):
            own = windows.where(F.col("source").isin(sources_of(namespace)) & closed)
            _add(counts, _replace(lake, own, namespace, run_id, _span(first, after) & closed))
    return {"from": first.isoformat(), "to": after.isoformat(), **counts}


def _replace(lake: WindowLake, windows: "DataFrame", namespace: str, run_id: str, span: "Column") -> dict[str, int]:
    there = lake.rows(windows.sparkSession, namespace).where(span)
    before = there.select(*_KEY, F.struct(*_COMPARED).alias("before"))
    both = (
        windows.join(before, _KEY, "full_outer")
        .withColumn(
            "fate",
            F.when(F.col("before").isNull(), "new")
            .when(F.col("window_end").isNull(), "only_in_table")
            .when(F.struct(*_COMPARED) == F.col("before"), "unchanged")
            .otherwise("revised"),
        )
        .persist(StorageLevel.MEMORY_AND_DISK)
    )
    try:
        counts = {row.fate: row["count"] for row in both.groupBy("fate").count().collect()}
        if counts.get("new") or counts.get("revised"):
            changed = both.where(F.col("fate").isin("new", "revised")).drop("fate", "before")
            lake.merge(changed, namespace, run_id)
    finally:
        both.unpersist()
    log.info("windows rebuilt", namespace=namespace, **counts)
    return counts


def _ticks(spark: "SparkSession", settings: RebuildSettings, first: datetime, end: datetime) -> "DataFrame | None":
    """The archive's distinct ticks with an event time in `first` to `end` (excluded)."""
    found = dict(_objects(ObjectStore(settings.store), settings.live, first, end, settings.rebuild_late_hours))
    if not found:
        return None
    # Spark's own number of 200 makes as many tasks of a small span.
    parts = max(spark.sparkContext.defaultParallelism, sum(found.values()) // _ROWS_PER_PART)
    spark.conf.set("spark.sql.shuffle.partitions", str(parts))
    archived = spark.read.parquet(*(f"s3a://{settings.store.bucket}/{key}" for key in found))
    inside = archived.where((F.col("event_time") >= F.lit(first)) & (F.col("event_time") < F.lit(end)))
    return inside.dropDuplicates(_IDENTITY)


def _objects(
    store: ObjectStore, live: LiveSettings, first: datetime, end: datetime, late_hours: int
) -> Iterator[tuple[str, int]]:
    """Key and number of rows of each object with a tick in the span."""
    for folder in ledger.hours(store, live.names):
        # Ticks are filed by arrival: in their hour, in the one before where the producer's clock is ahead, or later.
        # Where event time is not the clock's, in any.
        if not live.namespace and not first - 2 * _HOUR < ledger.hour_of(folder) < end + late_hours * _HOUR:
            continue
        for found in store.list_objects(folder):
            if found.key.endswith(".parquet") and (entry := ledger.read_range(store, found.key)) is not None:
                least, greatest = entry.least_event_time, entry.greatest_event_time
                if least is not None and greatest is not None and least < end and greatest >= first:
                    yield found.key, entry.rows


def _span(first: datetime, after: datetime) -> "Column":
    return (F.col("window_start") >= F.lit(first)) & (F.col("window_start") < F.lit(after))


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, number in more.items():
        counts[name] += number
