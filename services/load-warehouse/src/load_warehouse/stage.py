"""What load-warehouse does, from settings to result record."""

from load_warehouse import daily_load
from load_warehouse.audit import LoadResult
from load_warehouse.lake_rows import LakeRows
from load_warehouse.session import Session
from load_warehouse.settings import LoadSettings
from ticklake import logs
from ticklake.batch_stage import Run, Stopwatch, stage_record
from ticklake.catalog import LakeTables
from ticklake.lineage import StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import LOAD

log = logs.get(__name__)


def load_run(settings: LoadSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """Load the history of the run's symbols as the lake has it now.

    Raises:
        ConfigurationError: daily-analytics has no result in this run, or one for another date.
        StageError, IntegrityError: see `daily_load.load`.
    """
    watch = Stopwatch()
    store = ObjectStore(settings.store)
    processed = run.record_before(store, LOAD)
    lake = LakeRows(LakeTables(settings.catalog, settings.store), processed.source)
    with Session(settings.warehouse, tag=f"ticklake {LOAD.program} {run.run_id}") as session:
        watch.lap("connect")
        loaded = daily_load.load(lake, session, processed, settings.code_version, watch)
    for result in loaded.results:
        log.info(
            "loaded",
            table=result.kind,
            new=result.new,
            unchanged=result.unchanged,
            revised=result.revised,
            withdrawn=result.withdrawn,
        )
    record = stage_record(
        LOAD,
        processed,
        watch,
        settings.code_version,
        loaded.symbols,
        snapshots=lake.snapshots(),
        notes=_notes(loaded.results),
    )
    return record, store


def _notes(results: list[LoadResult]) -> tuple[str, ...]:
    counts = "; ".join(f"{result.kind}: {result.counts()}" for result in results)
    return (f"{counts}; load {results[0].load_id}",)
