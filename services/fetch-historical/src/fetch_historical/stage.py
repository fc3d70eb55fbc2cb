"""The stage: answers, clean bars, confirmed messages, result record."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from fetch_historical.answer_fetcher import Collected, collect, listed
from fetch_historical.answer_store import (
    Answer,
    AnswerStore,
    SourceUnavailableError,
    empty_rows,
    request_header,
    row_dicts,
)
from fetch_historical.bar_cleaning import BatchFields, Cleaned, clean, wanted_days
from fetch_historical.batch_period import Period, batch_period, closed_sessions
from fetch_historical.publisher import BatchSender
from fetch_historical.released_answers import replayed
from fetch_historical.settings import FetchSettings
from ticklake import calendar, logs
from ticklake.batch_stage import Run, Stopwatch, stage_record
from ticklake.errors import ConfigurationError
from ticklake.kafka import ConfirmedProducer
from ticklake.lineage import StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import FETCH
from ticklake.records import Source, SymbolStatus
from ticklake.topics import BATCH_TOPIC

log = logs.get(__name__)


def run_stage(settings: FetchSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """Fetch, store, clean, send; see `ticklake.batch_stage.batch_main`.

    Raises:
        SourceUnavailableError: the source is away; the symbols that have an answer keep it for the retry.
        ConfigurationError: no symbol has any row, the settings do not fit together, or what is to be sent was not
            released or is not there any more.
    """
    watch = Stopwatch()
    store = ObjectStore(settings.store)
    symbols = settings.wanted_symbols
    if settings.released_from is not None:
        symbols = settings.symbols
        answer, period = replayed(store, settings.released_from, symbols, run)
        source, answers, collected = answer.source, [answer], Collected({answer.symbol: answer}, {})
    else:
        source, period = settings.source, batch_period(run.batch_date, settings.years, watch.started_at.date())
        further = {"seed": settings.simulated.seed} if source is Source.SIMULATED else {}
        book = AnswerStore(store, run.run_id, source, request_header(source, period, symbols, **further))
        collected = collect(book, settings, period, symbols)
        answers = [_answer(symbol, collected, book, watch.started_at) for symbol in symbols]
    watch.lap("answers")
    sessions = calendar.sessions(settings.calendar, period.first, period.last)
    watch.lap("calendar")
    _reject_nothing(answers, [answer for answer in answers if answer.rows.num_rows], collected)
    results: dict[str, SymbolResult] = {}
    notes: list[str] = []
    with ConfirmedProducer(settings.kafka, FETCH.program) as producer:
        sender = BatchSender(producer, store, run, symbols)
        for answer in answers:
            cleaned = _clean(answer, run, period, sessions, settings)
            notes += _notes(answer, cleaned, sessions)
            results[answer.symbol] = sender.send(answer, cleaned)
        offsets = producer.confirm()
    watch.lap("send")
    _reject_nothing(answers, [a for a in answers if results[a.symbol].rows or results[a.symbol].held], collected)
    for note in notes:
        log.warning(note)
    record = stage_record(
        FETCH,
        run,
        watch,
        settings.code_version,
        results,
        source=source,
        first_day=period.first,
        released_from=settings.released_from,
        quarantined=sum(result.quarantined for result in results.values()),
        offsets=tuple(part for part in offsets if part.topic == BATCH_TOPIC),
        objects=tuple(answer.stored for answer in answers if answer.stored is not None),
        notes=tuple(notes),
    )
    return record, store


def _answer(symbol: str, collected: Collected, book: AnswerStore, at: datetime) -> Answer:
    """The symbol's answer; where there is none, one that holds it without a row, which is stored nowhere."""
    if symbol in collected.answers:
        return collected.answers[symbol]
    return Answer(
        symbol=symbol,
        source=book.source,
        status=SymbolStatus.HELD,
        fetched_at=at,
        reason="",
        request=book.request,
        rows=empty_rows(),
        reasons=(f"no answer, the next try asks again: {collected.unanswered[symbol]}",),
    )


def _clean(answer: Answer, run: Run, period: Period, sessions: tuple[date, ...], settings: FetchSettings) -> Cleaned:
    if answer.status is SymbolStatus.HELD:
        return Cleaned((), (), 0, 0, ())
    fields = BatchFields(answer.symbol, answer.source, run.batch_id, run.batch_date, answer.fetched_at, answer.currency)
    days = (period.first + timedelta(days=n) for n in range((period.last - period.first).days + 1))
    settled = answer.fetched_at - timedelta(minutes=settings.settle_minutes)
    closed = closed_sessions(settings.calendar, period, settled)
    return clean(row_dicts(answer.rows), fields, wanted_days(days, sessions, closed), sessions, answer.actions)


def _notes(answer: Answer, cleaned: Cleaned, sessions: tuple[date, ...]) -> list[str]:
    """What a person should know of one symbol, a line each."""
    symbol = answer.symbol
    if answer.status is SymbolStatus.HELD:
        return [f"{symbol} is held: {'; '.join(answer.reasons)}"]
    notes = [f"{symbol}: {note}" for note in answer.notes]
    if answer.status is not SymbolStatus.OK:
        notes.append(f"{symbol} is {answer.status}: {answer.reason.removeprefix(f'{symbol}: ')}")
    if cleaned.rejected:
        first = cleaned.rejected[0]
        notes.append(f"{symbol}: {len(cleaned.rejected)} rows quarantined, the first because of {first.reason}")
    if cleaned.rejected_actions:
        reasons = ", ".join(f"{action.reason} ({action.original.decode()})" for action in cleaned.rejected_actions[:3])
        notes.append(f"{symbol}: {len(cleaned.rejected_actions)} actions quarantined, their bars kept: {reasons}")
    if cleaned.no_volume:
        notes.append(f"{symbol}: has no volume in any row, which is taken as 0")
    if cleaned.missing:
        notes.append(f"{symbol}: {len(cleaned.missing)} sessions are missing: {listed(map(str, cleaned.missing))}")
    if cleaned.widened:
        notes.append(f"{symbol}: high or low of {cleaned.widened} bars moved by rounding dust to hold open and close")
    if cleaned.left_out:
        notes.append(f"{symbol}: {cleaned.left_out} rows left out, not asked for or of a session not closed yet")
    if cleaned.bars:
        behind = sum(1 for day in sessions if day > cleaned.bars[-1].session_date)
        if behind > 1 + cleaned.left_out:
            notes.append(f"{symbol}: ends on {cleaned.bars[-1].session_date}, {behind} sessions before the period does")
    return notes


def _reject_nothing(answers: Sequence[Answer], usable: Sequence[Answer], collected: Collected) -> None:
    if usable:
        return
    statuses = "; ".join(f"{answer.symbol} is {answer.status}" for answer in answers[:10])
    if collected.unanswered:
        reason = next(iter(collected.unanswered.values()))
        raise SourceUnavailableError(f"no symbol has any row ({statuses}); {reason}; a retry asks again for those held")
    first = next((answer.reason for answer in answers if answer.reason), "every row is invalid, see the quarantine")
    raise ConfigurationError(f"no symbol has any valid row ({statuses}); {first}: check TICKLAKE_SYMBOLS and --date")
