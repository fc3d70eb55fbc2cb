"""The pipeline's last step: every place must hold the same rows, by key and by value.

Of the batch: fetched = valid + quarantined + held; valid = Kafka (distinct identities) = raw; raw, less the symbols
that are held, = new + unchanged + revised, and the facts know every session of it. Of the whole history of its symbols:
facts in force = analytics = warehouse, and every version of a fact in the lake is in the warehouse. Tables are read as
they are now, so a later run's rows are there too; where such a run is still under way, as this one left them.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from load_warehouse.comparison import NO_ROWS, Comparison
from load_warehouse.daily_load import fit_symbols, timed
from load_warehouse.lake_rows import Lake
from load_warehouse.record_checks import Records, quarantine_faults, record_faults
from load_warehouse.session import Session
from load_warehouse.settings import LoadSettings
from ticklake import lineage, logs
from ticklake.batch_stage import Run
from ticklake.catalog import LakeTables
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.keys import lineage_key
from ticklake.lineage import RunLineage, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import FETCH, LOAD, PROCESS, SUCCESS

log = logs.get(__name__)


def reconcile_run(settings: LoadSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """Compare all places of the run and store its summary (`run.json`).

    Raises:
        ConfigurationError: a stage of the run has no record.
        IntegrityError: the places disagree; the summary names every disagreement.
    """
    started_at = datetime.now(UTC)
    timings: dict[str, float] = {}
    store = ObjectStore(settings.store)
    with ThreadPoolExecutor(4) as pool:
        programs = [stage.program for stage in SUCCESS.upstream]
        records = dict(zip(programs, pool.map(lambda p: lineage.read(store, run.run_id, p), programs), strict=True))
    if records[LOAD.program].batch_date != run.batch_date:
        raise ConfigurationError(
            f"run {run.run_id} is of {records[LOAD.program].batch_date}, not of {run.batch_date}: "
            "check --date and --run-id"
        )
    with timed(timings, "records"):
        faults = list(record_faults(records))
        faults += quarantine_faults(store, records[FETCH.program])
    with timed(timings, "connect"):
        session = Session(settings.warehouse, tag=f"ticklake {SUCCESS.program} {run.run_id}")
    with session, timed(timings, "rows"):
        lake = Lake(LakeTables(settings.catalog, settings.store), records[LOAD.program].source)
        comparison = Comparison(store, lake, session, records)
        comparison.run()
        faults += comparison.faults
    record = _record(run, records, comparison, bool(faults), timings, started_at, settings.code_version)
    lineage.write_run(store, _summary(record, records, comparison, faults))
    if faults:
        for fault in faults:
            log.error("disagreement", what=fault)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise IntegrityError(
            f"run {run.run_id} does not reconcile: {faults[0]}{more}; all in {lineage_key(run.run_id, 'run')}"
        )
    return record, store


def _record(
    run: Run,
    records: Records,
    comparison: Comparison,
    faulty: bool,
    timings: dict[str, float],
    started_at: datetime,
    version: str,
) -> StageRecord:
    loaded = records[LOAD.program]
    fit = set(fit_symbols(records[PROCESS.program]))
    symbols = {
        symbol: SymbolResult(
            status=part.status,
            rows=part.warehouse,
            checksum=comparison.warehouse_checksums[symbol],
            reasons=part.reasons,
        )
        if symbol in fit
        else NO_ROWS.model_copy(update={"status": part.status, "reasons": part.reasons})
        for symbol, part in comparison.symbols.items()
    }
    rows = sum(part.rows for part in symbols.values())
    # Where all is well they are as many, but for what a later run under way has computed and not yet loaded.
    computed = sum(comparison.symbols[symbol].analytics for symbol in fit)
    return StageRecord(
        stage=SUCCESS.program,
        run_id=run.run_id,
        batch_id=loaded.batch_id,
        batch_date=loaded.batch_date,
        source=loaded.source,
        rows_in=computed if faulty else rows,
        rows_out=rows,
        quarantined=0,
        symbols=symbols,
        snapshots=comparison.lake.snapshots(),
        timings=timings,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        code_version=version,
    )


def _summary(record: StageRecord, records: Records, comparison: Comparison, faults: list[str]) -> RunLineage:
    return RunLineage(
        run_id=record.run_id,
        batch_id=record.batch_id,
        batch_date=record.batch_date,
        source=record.source,
        reconciled=not faults,
        disagreements=tuple(faults),
        warehouse_table=comparison.table,
        stages=(*records.values(), record),
        symbols=comparison.symbols,
        finished_at=record.finished_at,
        code_version=record.code_version,
    )
