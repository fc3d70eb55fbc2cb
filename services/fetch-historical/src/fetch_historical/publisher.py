"""Bars and trailers to Kafka, rejected rows to quarantine."""

from fetch_historical.answer_store import Answer
from fetch_historical.bar_cleaning import Cleaned, RejectedAction
from ticklake import quarantine
from ticklake.batch_stage import Run
from ticklake.kafka import ConfirmedProducer
from ticklake.lineage import SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import FETCH
from ticklake.quarantine import quarantined
from ticklake.records import BatchTrailer, SymbolStatus, batch_checksum
from ticklake.topics import BATCH_TOPIC


class BatchSender:
    """Sends one batch, symbol by symbol.

    Args:
        producer: the caller confirms its deliveries.
        symbols: all that the batch asks for; every trailer names them.
    """

    def __init__(self, producer: ConfirmedProducer, store: ObjectStore, run: Run, symbols: tuple[str, ...]) -> None:
        self._producer = producer
        self._store = store
        self._run = run
        self._symbols = symbols

    def send(self, answer: Answer, cleaned: Cleaned) -> SymbolResult:
        """Send one symbol's bars, then its trailer, all with the symbol as key and so into one partition, in order.

        Of a held symbol only the trailer.
        """
        key = answer.symbol.encode()
        for bar in cleaned.bars:
            self._producer.send(BATCH_TOPIC, key=key, value=bar.model_dump_json().encode())
        checksum = batch_checksum(bar.row_hash() for bar in cleaned.bars)
        trailer = BatchTrailer(
            symbol=answer.symbol,
            source=answer.source,
            batch_id=self._run.batch_id,
            batch_date=self._run.batch_date,
            sequence=len(cleaned.bars),
            fetched_at=answer.fetched_at,
            status=answer.status,
            row_count=len(cleaned.bars),
            checksum=checksum,
            batch_symbols=self._symbols,
            actions=cleaned.actions,
        )
        self._producer.send(BATCH_TOPIC, key=key, value=trailer.model_dump_json().encode())
        self._quarantine(answer, cleaned)
        return SymbolResult(
            status=answer.status,
            rows=len(cleaned.bars),
            checksum=checksum,
            quarantined=len(cleaned.rejected),
            actions_quarantined=len(cleaned.rejected_actions),
            missing_sessions=cleaned.missing,
            held=answer.rows.num_rows if answer.status is SymbolStatus.HELD else 0,
            reasons=answer.reasons,
            ended=answer.ended,
        )

    def _quarantine(self, answer: Answer, cleaned: Cleaned) -> None:
        rejected = [
            quarantined(
                FETCH.program,
                row.reason,
                row.original,
                run_id=self._run.run_id,
                symbol=answer.symbol,
                position=row.position,
                part=row.kind if isinstance(row, RejectedAction) else None,
                record_time=answer.fetched_at,
            )
            for row in (*cleaned.rejected, *cleaned.rejected_actions)
        ]
        quarantine.keep(self._store, self._producer, rejected)
