"""The stage: read the batch's ranges, check, write, check again, commit."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from consume_historical.batch_assembly import Assembly, InvalidMessageError, SymbolBatch, parse
from consume_historical.range_reader import opened
from consume_historical.raw_csv import write_actions, write_symbol
from consume_historical.settings import ConsumeSettings
from ticklake import lineage, logs, quarantine
from ticklake.batch_stage import Run
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.kafka import ConfirmedProducer
from ticklake.lineage import ObjectRef, OffsetRange, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, FETCH
from ticklake.quarantine import QuarantinedMessage, quarantined
from ticklake.settings import KafkaSettings
from ticklake.topics import BATCH_TOPIC

log = logs.get(__name__)

_WRITERS = 8


def run_stage(settings: ConsumeSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """See `ticklake.batch_stage.batch_main`.

    Raises:
        ConfigurationError: the run has not fetched, or for another date.
        IntegrityError: the batch is not whole, or the store or the log lost a part of it.
    """
    started_at = datetime.now(UTC)
    begun = time.perf_counter()
    store = ObjectStore(settings.store)
    fetched = lineage.read(store, run.run_id, FETCH.program)
    if fetched.batch_date != run.batch_date:
        raise ConfigurationError(f"run {run.run_id} fetched for {fetched.batch_date}, not for --date {run.batch_date}")
    ranges = tuple(part for part in fetched.offsets if part.topic == BATCH_TOPIC)
    assembly = Assembly(fetched.batch_id)
    with opened(settings.kafka, ranges) as reader:
        rejected = [
            message
            for record in reader.records(settings.consume_deadline_seconds)
            if (message := _take(assembly, record, run)) is not None
        ]
        read = time.perf_counter()
        _keep_rejected(settings.kafka, store, rejected)
        whole = assembly.finish()
        _compare(whole, fetched)
        objects = _write(store, whole)
        actions = write_actions(store, run.run_id, run.batch_date, whole)
        written = time.perf_counter()
        note = reader.commit()
    notes = [] if note is None else [note]
    if rejected:
        notes.append(f"{len(rejected)} invalid messages quarantined, the first because of {rejected[0].reason}")
    for line in notes:
        log.warning(line)
    log.info("read", repeated=assembly.repeated, of_other_batches=assembly.foreign, invalid=len(rejected))
    timings = {"read": read - begun, "write": written - read, "commit": time.perf_counter() - written}
    record = _record(settings, fetched, started_at, whole, objects, actions, len(rejected), notes, timings, ranges)
    return record, store


def _take(assembly: Assembly, record: Any, run: Run) -> QuarantinedMessage | None:
    """Take in one Kafka message, or wrap what is no valid one for quarantine."""
    try:
        assembly.take(parse(record.value, record.key))
    except InvalidMessageError as error:
        return quarantined(
            CONSUME.program,
            str(error),
            record.value,
            key=record.key,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            run_id=run.run_id,
            record_time=datetime.fromtimestamp(record.timestamp / 1000, UTC),
        )
    return None


def _keep_rejected(kafka: KafkaSettings, store: ObjectStore, rejected: list[QuarantinedMessage]) -> None:
    """Invalid messages to the lake and the quarantine topic; the topic gets them again on a retry."""
    if not rejected:
        return
    with ConfirmedProducer(kafka, CONSUME.program) as producer:
        quarantine.keep(store, producer, rejected)


def _compare(whole: dict[str, SymbolBatch], fetched: StageRecord) -> None:
    """What came must be what the stage before says it sent.

    Raises:
        IntegrityError: it is not.
    """
    sent = {symbol: (result.status, result.rows, result.checksum) for symbol, result in fetched.symbols.items()}
    came = {symbol: (part.trailer.status, len(part.rows), part.checksum) for symbol, part in whole.items()}
    differing = sorted(symbol for symbol in sent.keys() | came.keys() if sent.get(symbol) != came.get(symbol))
    if differing:
        raise IntegrityError(
            f"batch {fetched.batch_id}: what came differs from what {FETCH.program} recorded, for "
            f"{', '.join(differing[:10])}: run that stage again"
        )


def _write(store: ObjectStore, whole: dict[str, SymbolBatch]) -> tuple[ObjectRef, ...]:
    parts = [(symbol, part) for symbol, part in whole.items() if part.rows]
    with ThreadPoolExecutor(_WRITERS) as pool:
        return tuple(pool.map(lambda item: write_symbol(store, *item), parts))


def _record(
    settings: ConsumeSettings,
    fetched: StageRecord,
    started_at: datetime,
    whole: dict[str, SymbolBatch],
    objects: tuple[ObjectRef, ...],
    actions: ObjectRef,
    invalid: int,
    notes: list[str],
    timings: dict[str, float],
    ranges: tuple[OffsetRange, ...],
) -> StageRecord:
    symbols = {
        symbol: SymbolResult(
            status=part.trailer.status,
            rows=len(part.rows),
            checksum=part.checksum,
            reasons=fetched.symbols[symbol].reasons,
        )
        for symbol, part in whole.items()
    }
    rows = sum(result.rows for result in symbols.values())
    return StageRecord(
        stage=CONSUME.program,
        run_id=fetched.run_id,
        batch_id=fetched.batch_id,
        batch_date=fetched.batch_date,
        source=fetched.source,
        rows_in=rows + invalid,
        rows_out=rows,
        quarantined=invalid,
        symbols=symbols,
        offsets=ranges,
        objects=objects,
        actions=actions,
        notes=tuple(notes),
        timings={step: round(seconds, 3) for step, seconds in timings.items()},
        started_at=started_at,
        finished_at=datetime.now(UTC),
        code_version=settings.code_version,
    )
