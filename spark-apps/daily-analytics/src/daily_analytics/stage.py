"""The stage: check what there is, compute, write, read back, switch."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daily_analytics import history, reading, writing
from daily_analytics.history import History
from daily_analytics.reading import RawBatch
from daily_analytics.settings import AnalyticsSettings
from daily_analytics.writing import Written
from ticklake import logs, manifests
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.lineage import StageRecord, SymbolResult
from ticklake.manifests import DailyManifest
from ticklake.names import processed_daily_prefix
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, PROCESS
from ticklake.records import Source
from ticklake.spark import build_session, close_jvm, close_session, start_jvm, translated_errors
from ticklake.spark_jvm import ONE_SHOT
from ticklake.stage import Run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logs.get(__name__)

APP = PROCESS.program
_COMPUTE = "compute"


@dataclass
class _Clock:
    """Seconds per step."""

    timings: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def step(self, name: str) -> None:
        now = time.perf_counter()
        self.timings[name] = round(now - self._since, 3)
        self._since = now

    def has(self, name: str) -> bool:
        return name in self.timings


@dataclass(frozen=True)
class _Input:
    consumed: StageRecord
    """Less the symbols that are held, see `reading.fit_batch`."""
    batch: RawBatch | None
    history: History


def run_stage(settings: AnalyticsSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """See `ticklake.stage.batch_main`.

    Raises:
        ConfigurationError: the run has no consumed batch, or its batch must not replace the date's rows.
        IntegrityError: raw objects or the written files are not what their records say.
        StageError: Spark or the store failed.
    """
    started_at, clock = datetime.now(UTC), _Clock()
    store = ObjectStore(settings.store)
    with _session(settings, clock) as session:
        found = _input(store, run)
        clock.step("look")
        name = None
        if found.batch is not None:
            name = _compute(settings, session.result(), found, clock)
    clock.step("stop Spark")
    written = Written((), {}, {})
    try:
        if name is not None:
            written = writing.read_back(store, run.batch_date, name)
        _compare(found.consumed, written)
        clock.step("read back")
        existing = manifests.read_daily(store, run.batch_date)
        _refuse(existing, found.consumed.source, found.batch)
    except (ConfigurationError, IntegrityError):
        if name is not None:
            writing.discard(store, run.batch_date, name)
        raise
    writing.switch(store, _manifest(run, found, written, existing))
    clock.step("switch")
    return _record(settings, run, found, written, started_at, clock), store


@contextlib.contextmanager
def _session(settings: AnalyticsSettings, clock: _Clock) -> "Iterator[Future[SparkSession]]":
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
            close_jvm(keep_archive=clock.has(_COMPUTE))
        pool.shutdown()
        if not kept and settings.spark.master is not None:
            close_jvm()  # a start that was cut short may have left PySpark something
        elif not kept and session.exception() is None:
            close_session(session.result())


def _input(store: ObjectStore, run: Run) -> _Input:
    """The run's raw objects and the history before them; refuses a batch that must not replace what is there."""
    consumed = reading.fit_batch(store, run.run_id)
    if consumed.batch_date != run.batch_date:
        raise ConfigurationError(
            f"run {run.run_id} has rows for {consumed.batch_date}, not for --date {run.batch_date}"
        )
    batch = reading.look_at(store, consumed.objects)
    _refuse(manifests.read_daily(store, run.batch_date), consumed.source, batch)
    if batch is None:
        return _Input(consumed, None, History())
    older = history.choose(
        manifests.all_daily(store), batch_date=run.batch_date, source=consumed.source, fetched_at=batch.fetched_at,
        spans=batch.spans,
    )  # fmt: skip
    return _Input(consumed, batch, older)


def _refuse(existing: DailyManifest | None, source: Source, batch: RawBatch | None) -> None:
    """The rows of a newer batch replace those of an older one, never the other way round.

    Nor does a batch from another source ever replace rows that came from Yahoo.

    Raises:
        ConfigurationError: this batch must not replace what is there.
    """
    if existing is None:
        return
    if existing.source is Source.YAHOO and source is not Source.YAHOO:
        raise ConfigurationError(
            f"{existing.batch_date} holds rows from yahoo, which a {source} batch never replaces: "
            "choose another date or data folder"
        )
    if batch is not None and batch.fetched_at < existing.fetched_at:
        raise ConfigurationError(
            f"{existing.batch_date} holds a batch fetched at {existing.fetched_at:%Y-%m-%d %H:%M:%S} UTC, newer than "
            f"this one ({batch.fetched_at:%Y-%m-%d %H:%M:%S} UTC): start a new run for that date"
        )


def _compute(settings: AnalyticsSettings, session: "SparkSession", found: _Input, clock: _Clock) -> str:
    """Compute and write; what the new files' names begin with."""
    from daily_analytics.indicators import daily_analytics

    bucket, consumed = settings.store.bucket, found.consumed
    parts = -(-(consumed.rows_out + found.history.rows) // settings.rows_per_part)
    clock.step("start Spark")
    with translated_errors("compute and write the indicators"):
        suit(session, parts)
        bars = reading.raw_bars(session, reading.urls(bucket, consumed.objects))
        stored = reading.urls(bucket, found.history.objects)
        older = reading.stored_rows(session, stored) if stored else None
        folder = f"s3a://{bucket}/{processed_daily_prefix(consumed.batch_date)}"
        name = writing.write_new(daily_analytics(bars, older, parts), folder)
    clock.step(_COMPUTE)
    return name


def suit(session: "SparkSession", parts: int) -> None:
    """Compiled plans pay off for much data only: for a few thousand rows, compiling takes longer than computing."""
    small = parts == 1
    session.conf.set("spark.sql.codegen.wholeStage", str(not small).lower())
    session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN" if small else "FALLBACK")
    session.conf.set("spark.sql.adaptive.enabled", str(not small).lower())


def _compare(consumed: StageRecord, written: Written) -> None:
    """What reads back must be what the stage before wrote.

    Raises:
        IntegrityError: it is not.
    """
    wanted = {symbol: (part.rows, part.checksum) for symbol, part in consumed.symbols.items() if part.rows}
    there = {symbol: (span.rows, written.checksums[symbol]) for symbol, span in written.spans.items()}
    differing = sorted(symbol for symbol in wanted.keys() | there.keys() if wanted.get(symbol) != there.get(symbol))
    if differing:
        raise IntegrityError(
            f"the rows written differ from those of {CONSUME.program}, for {', '.join(differing[:10])}: run it again"
        )


def _manifest(run: Run, found: _Input, written: Written, existing: DailyManifest | None) -> DailyManifest:
    """The date's new manifest; of a symbol that is held, what an earlier run of the date wrote stays."""
    consumed = found.consumed
    held = consumed.held_symbols()
    kept = existing if existing is not None and existing.source is consumed.source else None
    return DailyManifest(
        objects=(*written.objects, *(ref for ref in (kept.objects if kept else ()) if ref.symbol in held)),
        run_id=run.run_id, batch_id=consumed.batch_id, batch_date=run.batch_date, source=consumed.source,
        spans=written.spans | {symbol: span for symbol, span in (kept.spans if kept else {}).items() if symbol in held},
        fetched_at=found.batch.fetched_at if found.batch is not None else consumed.started_at,
    )  # fmt: skip


def _record(
    settings: AnalyticsSettings, run: Run, found: _Input, written: Written, started_at: datetime, clock: _Clock
) -> StageRecord:
    consumed = found.consumed
    symbols = {
        symbol: SymbolResult(
            status=before.status, rows=written.spans[symbol].rows if symbol in written.spans else 0,
            checksum=written.checksums.get(symbol, before.checksum), reasons=before.reasons,
        )
        for symbol, before in consumed.symbols.items()
    }  # fmt: skip
    for note in found.history.notes:
        log.warning(note)
    return StageRecord(
        stage=APP, run_id=run.run_id, batch_id=consumed.batch_id, batch_date=run.batch_date, source=consumed.source,
        rows_in=consumed.rows_out, rows_out=sum(part.rows for part in symbols.values()), quarantined=0,
        symbols=symbols, objects=written.objects, notes=found.history.notes, timings=clock.timings,
        started_at=started_at, finished_at=datetime.now(UTC), code_version=settings.code_version,
    )  # fmt: skip
