"""The stage: find the symbols with new facts, compute their whole history, replace it in one commit, read it back."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from daily_analytics.lake import Basis, Lake, Stored
from daily_analytics.settings import AnalyticsSettings
from ticklake import keys
from ticklake.batch_stage import Run, Stopwatch, stage_record
from ticklake.catalog import LakeTables
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.lineage import StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import PROCESS, VALIDATE_RAW
from ticklake.records import batch_checksum
from ticklake.spark import build_session, close_jvm, close_session, start_jvm, translated_errors, with_catalog
from ticklake.spark_jvm import ONE_SHOT
from ticklake.tables import DAILY_ANALYTICS, FACT_TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

APP = PROCESS.program
_COMPUTE = "compute"


def run_stage(settings: AnalyticsSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """See `ticklake.batch_stage.batch_main`.

    Raises:
        ConfigurationError: the run's batch was not recorded, or is of another date, or the lake is a former version's.
        IntegrityError: the tables do not hold what was recorded or written.
        StageError: Spark, the store or the catalog failed, or another run replaced the same rows meanwhile.
    """
    watch = Stopwatch()
    store = ObjectStore(settings.store)
    with _session(settings, watch) as session:
        judged = run.record_before(store, PROCESS)
        _reject_former_lake(store)
        fit = sorted(symbol for symbol, part in judged.symbols.items() if part.rows)
        lake = Lake(LakeTables(settings.catalog, settings.store), judged.source, fit)
        lake.tables.ensure(lake.namespace, DAILY_ANALYTICS)
        lake.pin(*FACT_TABLES, DAILY_ANALYTICS)
        facts = lake.facts()
        if lost := [symbol for symbol in fit if symbol not in facts]:
            raise IntegrityError(f"no facts of {', '.join(lost[:10])} are recorded: run {VALIDATE_RAW.program} again")
        before = lake.analytics()
        behind = [symbol for symbol in fit if before.get(symbol) != facts[symbol]]
        watch.lap("look")
        if behind:
            _compute(settings, session.result(), lake, judged, {symbol: facts[symbol] for symbol in behind}, watch)
    watch.lap("stop Spark")
    lake.pin(DAILY_ANALYTICS)
    stored = lake.stored()
    wrong = [symbol for symbol in fit if symbol not in stored or stored[symbol].rows != facts[symbol].sessions]
    if wrong:
        raise IntegrityError(
            f"{wrong[0]}: {facts[wrong[0]].sessions} sessions are known, the table {DAILY_ANALYTICS.name} has "
            f"{stored[wrong[0]].rows if wrong[0] in stored else 0}: run this stage again"
        )
    watch.lap("read back")
    nothing = Stored(0, batch_checksum(()))
    symbols = {
        symbol: SymbolResult(status=part.status, reasons=part.reasons, **stored.get(symbol, nothing)._asdict())
        for symbol, part in judged.symbols.items()
    }
    alone = len(fit) - len(behind)
    notes = (f"{alone} of {len(fit)} symbols have nothing new and were left alone",) if alone else ()
    record = stage_record(PROCESS, judged, watch, settings.code_version, symbols, snapshots=lake.snapshots, notes=notes)
    return record, store


def _reject_former_lake(store: ObjectStore) -> None:
    """Versions before the tables kept the analytics in files that manifests named; nobody reads those any more."""
    former = f"{keys.PROCESSED_DAILY}/_manifests/"
    if next(store.list_objects(former), None) is not None:
        raise ConfigurationError(
            f"bucket {store.bucket} was filled by a version without tables ({former}): use an empty bucket or folder"
        )


@contextlib.contextmanager
def _session(settings: AnalyticsSettings, watch: Stopwatch) -> "Iterator[Future[SparkSession]]":
    """The session, on its way while the block begins; one that this process did not have before ends with the block."""
    # First of all: the JVM starts while Python goes on.
    start_jvm(APP, settings.spark, ONE_SHOT)
    from pyspark import SparkContext

    kept = SparkContext._active_spark_context is not None

    def build() -> "SparkSession":
        with translated_errors("start"):
            return build_session(APP, settings.spark, settings.store)

    pool = ThreadPoolExecutor(1)
    session = pool.submit(build)
    try:
        yield session
    finally:
        if not kept and settings.spark.master is not None:
            # Whatever Spark still holds is of no use to anyone, so there is nothing to wait for.
            close_jvm(keep_archive=_COMPUTE in watch.seconds)
        pool.shutdown()
        if not kept and settings.spark.master is not None:
            close_jvm()  # a start that was cut short may have left PySpark something
        elif not kept and session.exception() is None:
            close_session(session.result())


def _compute(
    settings: AnalyticsSettings,
    session: "SparkSession",
    lake: Lake,
    judged: StageRecord,
    facts: dict[str, Basis],
    watch: Stopwatch,
) -> None:
    """Compute the whole history of the symbols in `facts` and commit it."""
    watch.lap("start Spark")
    with translated_errors("compute and write the indicators"):
        session = with_catalog(session, settings.catalog, settings.store)
        parts = -(-sum(basis.versions for basis in facts.values()) // settings.rows_per_part)
        if parts > 1:  # none of the cores is idle while others work on the last parts
            cores = session.sparkContext.defaultParallelism
            parts = -(-parts // cores) * cores
        write(session, lake, list(facts), parts, settings.quality.noise, judged)
    watch.lap(_COMPUTE)


def write(
    session: "SparkSession", lake: Lake, symbols: list[str], parts: int, noise: float, batch: StageRecord
) -> None:
    """Replace the symbols' rows by what their facts give.

    Args:
        session: one that knows the lake's tables.
        parts: how many parts to work in; 1 needs no shuffle.
        batch: for id and date of the batch, and the run.
    """
    from daily_analytics.analytics import daily_analytics

    _tune(session, parts)

    def together(rows: "DataFrame") -> "DataFrame":
        return rows.coalesce(1) if parts == 1 else rows

    bars, actions = map(together, lake.frames(session, symbols))
    rows = daily_analytics(bars, actions, noise=noise, batch_id=batch.batch_id, batch_date=batch.batch_date)
    lake.replace(rows, symbols, batch.run_id)


def _tune(session: "SparkSession", parts: int) -> None:
    """Compiled plans pay off for much data only: for a few thousand rows, compiling takes longer than computing."""
    small = parts == 1
    session.conf.set("spark.sql.codegen.wholeStage", str(not small).lower())
    session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN" if small else "FALLBACK")
    session.conf.set("spark.sql.adaptive.enabled", "false")
    session.conf.set("spark.sql.shuffle.partitions", str(parts))
