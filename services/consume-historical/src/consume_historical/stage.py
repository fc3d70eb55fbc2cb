"""The stage: read the batch's ranges, check, write, check again, commit."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from consume_historical.batch_assembly import Assembly, InvalidMessageError, SymbolBatch, parse
from consume_historical.range_reader import opened
from consume_historical.raw_csv import write_actions, write_symbol
from consume_historical.settings import ConsumeSettings
from ticklake import logs, quarantine
from ticklake.batch_stage import Run, Stopwatch, stage_record
from ticklake.errors import IntegrityError
from ticklake.kafka import ConfirmedProducer
from ticklake.lineage import ObjectRef, StageRecord, SymbolResult
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
    watch = Stopwatch()
    store = ObjectStore(settings.store)
    fetched = run.record_before(store, CONSUME)
    ranges = tuple(part for part in fetched.offsets if part.topic == BATCH_TOPIC)
    assembly = Assembly(fetched.batch_id)
    with opened(settings.kafka, ranges) as reader:
        rejected = [
            message
            for record in reader.records(settings.consume_deadline_seconds)
            if (message := _take(assembly, record, run)) is not None
        ]
        watch.lap("read")
        _keep_rejected(settings.kafka, store, rejected)
        whole = assembly.finish()
        _compare(whole, fetched)
        objects = _write(store, whole)
        actions = write_actions(store, run.run_id, run.batch_date, whole)
        watch.lap("write")
        note = reader.commit()
        watch.lap("commit")
    notes = [] if note is None else [note]
    if rejected:
        notes.append(f"{len(rejected)} invalid messages quarantined, the first because of {rejected[0].reason}")
    for line in notes:
        log.warning(line)
    log.info("read", repeated=assembly.repeated, of_other_batches=assembly.foreign, invalid=len(rejected))
    symbols = {
        symbol: SymbolResult(
            status=part.trailer.status,
            rows=len(part.rows),
            checksum=part.checksum,
            reasons=fetched.symbols[symbol].reasons,
        )
        for symbol, part in whole.items()
    }
    record = stage_record(
        CONSUME,
        fetched,
        watch,
        settings.code_version,
        symbols,
        quarantined=len(rejected),
        offsets=ranges,
        objects=objects,
        actions=actions,
        notes=tuple(notes),
    )
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
