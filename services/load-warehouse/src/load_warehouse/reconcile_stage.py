"""The pipeline's last step: every place must hold the same rows, by key and by value.

Of the batch: fetched = valid + quarantined + held; valid = Kafka (distinct identities) = raw; raw, less the symbols
that are held, = new + unchanged + revised, and the facts know every session of it. Of the whole history of its symbols:
facts in force = analytics = warehouse, and every version of a fact in the lake is in the warehouse. Tables are read as
they are now, so a later run's rows are there too; where such a run is still under way, as this one left them.
"""

from concurrent.futures import ThreadPoolExecutor

from load_warehouse.comparison import NO_ROWS, Comparison
from load_warehouse.daily_load import fit_symbols
from load_warehouse.lake_rows import LakeRows
from load_warehouse.record_checks import Records, quarantine_faults, record_faults
from load_warehouse.session import Session
from load_warehouse.settings import LoadSettings
from ticklake import lineage, logs
from ticklake.batch_stage import Run, Stopwatch, stage_record
from ticklake.catalog import LakeTables
from ticklake.errors import IntegrityError
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
    watch = Stopwatch()
    store = ObjectStore(settings.store)
    with ThreadPoolExecutor(4) as pool:
        programs = [stage.program for stage in SUCCESS.upstream]
        records = dict(zip(programs, pool.map(lambda p: lineage.read(store, run.run_id, p), programs), strict=True))
    run.check_date(records[LOAD.program])
    faults = [*record_faults(records), *quarantine_faults(store, records[FETCH.program])]
    watch.lap("records")
    with Session(settings.warehouse, tag=f"ticklake {SUCCESS.program} {run.run_id}") as session:
        watch.lap("connect")
        lake = LakeRows(LakeTables(settings.catalog, settings.store), records[LOAD.program].source)
        comparison = Comparison(store, lake, session, records)
        comparison.run()
        faults += comparison.faults
    watch.lap("rows")
    record = _record(records, comparison, bool(faults), watch, settings.code_version)
    lineage.write_run(store, _summary(record, records, comparison, faults))
    if faults:
        for fault in faults:
            log.error("disagreement", what=fault)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise IntegrityError(
            f"run {run.run_id} does not reconcile: {faults[0]}{more}; all in {lineage_key(run.run_id, 'run')}"
        )
    return record, store


def _record(records: Records, comparison: Comparison, faulty: bool, watch: Stopwatch, version: str) -> StageRecord:
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
    # Where all is well they are as many, but for what a later run under way has computed and not yet loaded.
    computed = {"rows_in": sum(comparison.symbols[symbol].analytics for symbol in fit)} if faulty else {}
    snapshots = comparison.lake.snapshots()
    return stage_record(SUCCESS, records[LOAD.program], watch, version, symbols, snapshots=snapshots, **computed)


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
