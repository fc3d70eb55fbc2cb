"""The table of closed windows: what is in it, and the commit of new ones."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import reduce
from operator import and_

from pyspark.java_gateway import ensure_callback_server_started
from pyspark.sql import Column, DataFrame, DataFrameWriterV2, SparkSession
from pyspark.sql import functions as F

from stream_analytics.settings import APP
from ticklake.catalog import RUN_ID, LakeTables, matching
from ticklake.records import WINDOW_LENGTHS
from ticklake.settings import LiveSettings
from ticklake.tables import CATALOG, NAMESPACES, WINDOWS, sources_of

_KEY = ("flow", "symbol", "source", "window_length", "window_start")

BATCH = "ticklake.batch"
"""Property of a snapshot: the query's id and the number of its micro-batch."""

WrittenUntil = dict[tuple[str, str], datetime]
"""By namespace and length: the end of the newest closed window in the table."""


def written(until: WrittenUntil) -> Column:
    """Whether a window (the columns of `ticklake.tables.WINDOW_COLUMNS`) ends no later than those in the table."""
    found = F.lit(False)
    for (namespace, length), end in until.items():
        of_these = F.col("source").isin(sources_of(namespace)) & (F.col("window_length") == length)
        found |= of_these & (F.col("window_end") <= F.lit(end))
    return found


class WindowLake:
    """One flow's rows of `ticklake.tables.WINDOWS`, in the namespaces of all sources."""

    def __init__(self, tables: LakeTables, live: LiveSettings) -> None:
        self._tables, self._flow = tables, live.namespace

    def ensure(self) -> None:
        """Create the tables where they are missing; raises as `LakeTables` does."""
        for namespace in NAMESPACES:
            self._tables.ensure(namespace, WINDOWS)

    def written_until(self) -> WrittenUntil:
        """How far the flow's windows are written, from what is known of the files; raises as `LakeTables` does."""
        found: WrittenUntil = {}
        for namespace in NAMESPACES:
            for file in self._tables.files(namespace, WINDOWS, matching(flow=[self._flow])):
                length = file["window_length"][0]  # a partition's: all rows of a file have it
                newest = datetime.fromtimestamp(file["window_start"][1] / 1e6, UTC) + WINDOW_LENGTHS[length]
                found[namespace, length] = max(newest, found.get((namespace, length), newest))
        return found

    def append(self, windows: DataFrame, namespace: str, batch: str) -> None:
        """Add closed windows in one commit.

        Args:
            windows: the columns of `ticklake.tables.WINDOW_COLUMNS`.
            batch: goes into the snapshot's properties.
        """
        self._writer(windows, namespace).option(f"snapshot-property.{BATCH}", batch).append()

    def rows(self, spark: SparkSession, namespace: str) -> DataFrame:
        """The flow's closed windows."""
        return spark.table(_name(namespace)).where(F.col("flow") == self._flow)

    def merge(self, windows: DataFrame, namespace: str, run_id: str) -> None:
        """Put closed windows in the place of those with the same key, and add the others, in one commit.

        Args:
            windows: the columns of `ticklake.tables.WINDOW_COLUMNS`.
            run_id: goes into the snapshot's properties.
        """
        rows = self._rows(windows).alias("new")
        table = _name(namespace)
        same = (F.col(f"{table}.{name}") == F.col(f"new.{name}") for name in _KEY)
        merge = rows.mergeInto(table, reduce(and_, same)).whenMatched().updateAll().whenNotMatched().insertAll()
        _commit_with({RUN_ID: run_id}, windows.sparkSession, merge.merge)

    def _writer(self, windows: DataFrame, namespace: str) -> DataFrameWriterV2:
        ordered = self._rows(windows).coalesce(1).sortWithinPartitions("window_length", *WINDOWS.sort)
        return ordered.writeTo(_name(namespace)).options(
            **{
                f"snapshot-property.{RUN_ID}": f"{APP}/{self._flow}" if self._flow else APP,
                "distribution-mode": "none",
                "use-table-distribution-and-ordering": "false",
            }
        )

    def _rows(self, windows: DataFrame) -> DataFrame:
        return windows.withColumn("flow", F.lit(self._flow)).select(*(column.name for column in WINDOWS.columns))


class _Callable:
    """A function for Java to call, in the thread that gives it to Java."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def call(self) -> None:
        self._work()

    class Java:
        implements = ("java.util.concurrent.Callable",)


def _commit_with(properties: dict[str, str], spark: SparkSession, work: Callable[[], None]) -> None:
    """Let the snapshots that `work` commits have `properties`: a MERGE has no writer to give them to."""
    ensure_callback_server_started(spark.sparkContext._gateway)  # type: ignore[no-untyped-call]
    java = spark._jvm
    assert java is not None  # noqa: S101 - None belongs to Spark Connect
    anything = java.java.lang.Class.forName("java.lang.RuntimeException")
    java.org.apache.iceberg.spark.CommitMetadata.withCommitProperties(properties, _Callable(work), anything)


def _name(namespace: str) -> str:
    return f"{CATALOG}.{namespace}.{WINDOWS.name}"
