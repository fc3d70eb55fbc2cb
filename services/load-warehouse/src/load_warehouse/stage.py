"""What load-warehouse does, from settings to result record."""

from datetime import UTC, datetime

from load_warehouse import daily_load
from load_warehouse.audit import LoadResult
from load_warehouse.lake_rows import Lake
from load_warehouse.session import Session
from load_warehouse.settings import LoadSettings
from ticklake import lineage, logs
from ticklake.batch_stage import Run
from ticklake.catalog import LakeTables
from ticklake.errors import ConfigurationError
from ticklake.lineage import StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import LOAD, PROCESS

log = logs.get(__name__)


def load_run(settings: LoadSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """Load the history of the run's symbols as the lake has it now.

    Raises:
        ConfigurationError: daily-analytics has no result in this run, or one for another date.
        StageError, IntegrityError: see `daily_load.load`.
    """
    started_at = datetime.now(UTC)
    store = ObjectStore(settings.store)
    processed = lineage.read(store, run.run_id, PROCESS.program)
    if processed.batch_date != run.batch_date:
        raise ConfigurationError(
            f"run {run.run_id} is of {processed.batch_date}, not of {run.batch_date}: check --date and --run-id"
        )
    lake = Lake(LakeTables(settings.catalog, settings.store), processed.source)
    timings: dict[str, float] = {}
    with daily_load.timed(timings, "connect"):
        session = Session(settings.warehouse, tag=f"ticklake {LOAD.program} {run.run_id}")
    with session:
        loaded = daily_load.load(lake, session, processed, settings.code_version)
    for result in loaded.results:
        log.info(
            "loaded",
            table=result.kind,
            new=result.new,
            unchanged=result.unchanged,
            revised=result.revised,
            withdrawn=result.withdrawn,
        )
    rows = sum(part.rows for part in loaded.symbols.values())
    record = StageRecord(
        stage=LOAD.program,
        run_id=run.run_id,
        batch_id=processed.batch_id,
        batch_date=processed.batch_date,
        source=processed.source,
        rows_in=rows,
        rows_out=rows,
        quarantined=0,
        symbols=loaded.symbols,
        snapshots=lake.snapshots(),
        notes=_notes(loaded.results),
        timings=timings | loaded.timings,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        code_version=settings.code_version,
    )
    return record, store


def _notes(results: list[LoadResult]) -> tuple[str, ...]:
    counts = "; ".join(f"{result.kind}: {result.counts()}" for result in results)
    return (f"{counts}; load {results[0].load_id}",)
