"""The stage: answers, clean bars, confirmed messages, result record."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from fetch_historical.answers import (
    Answer,
    AnswerBook,
    DataSource,
    SourceUnavailableError,
    request_header,
    row_dicts,
)
from fetch_historical.clean import BatchFields, Cleaned, clean, wanted_days
from fetch_historical.period import Period, batch_period, closed_sessions
from fetch_historical.send import BatchSender
from fetch_historical.settings import FetchSettings
from ticklake import calendar, logs
from ticklake.errors import ConfigurationError
from ticklake.kafka import ConfirmedProducer
from ticklake.lineage import StageRecord, SymbolResult
from ticklake.names import BATCH_TOPIC
from ticklake.objects import ObjectStore
from ticklake.pipeline import FETCH
from ticklake.records import Source, SymbolStatus
from ticklake.stage import Run

log = logs.get(__name__)

_HOPELESS = 2
"""After so many symbols in a row for which the source did not answer at all, the others are not tried."""


@dataclass
class _Clock:
    """Seconds per step."""

    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.timings[name] = round(self.timings.get(name, 0.0) + time.perf_counter() - start, 3)


def run_stage(settings: FetchSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """Fetch, store, clean, send; see `ticklake.stage.batch_main`.

    Raises:
        SourceUnavailableError: some symbols have no answer; those that have one keep it for the retry.
        ConfigurationError: no symbol has any row, or the settings do not fit together.
    """
    started_at = datetime.now(UTC)
    clock = _Clock()
    store = ObjectStore(settings.store)
    symbols = settings.wanted_symbols
    period = batch_period(run.batch_date, settings.years, started_at.date())
    further = {"seed": settings.simulated.seed} if settings.source is Source.SIMULATED else {}
    book = AnswerBook(store, run.run_id, settings.source, request_header(settings.source, period, symbols, **further))
    with clock.step("answers"):
        answers = collect(book, settings, period, symbols)
    _refuse_nothing(answers, [answer for answer in answers if answer.rows.num_rows])
    with clock.step("calendar"):
        sessions = calendar.sessions(settings.calendar, period.first, period.last)
    results: dict[str, SymbolResult] = {}
    notes: list[str] = []
    with clock.step("send"), ConfirmedProducer(settings.kafka, FETCH.program) as producer:
        sender = BatchSender(producer, store, run, symbols)
        for answer in answers:
            cleaned = _clean(answer, run, period, sessions, settings.calendar)
            notes += _notes(answer, cleaned, sessions)
            results[answer.symbol] = sender.send(answer, cleaned)
        offsets = producer.confirm()
    _refuse_nothing(answers, [answer for answer in answers if results[answer.symbol].rows])
    for note in notes:
        log.warning(note)
    rows_out = sum(result.rows for result in results.values())
    quarantined = sum(result.quarantined for result in results.values())
    record = StageRecord(
        stage=FETCH.program, run_id=run.run_id, batch_id=run.batch_id, batch_date=run.batch_date,
        source=settings.source, rows_in=rows_out + quarantined, rows_out=rows_out, quarantined=quarantined,
        symbols=results, offsets=tuple(part for part in offsets if part.topic == BATCH_TOPIC), notes=tuple(notes),
        timings=clock.timings, started_at=started_at, finished_at=datetime.now(UTC),
        code_version=settings.code_version,
    )  # fmt: skip
    return record, store


def collect(book: AnswerBook, settings: FetchSettings, period: Period, symbols: tuple[str, ...]) -> list[Answer]:
    """The answer for every symbol: the stored one, else the source's, which is stored first.

    Raises:
        SourceUnavailableError: some symbols have none.
    """
    stored = book.stored_symbols(symbols)
    found = {symbol: book.read(symbol) for symbol in symbols if symbol in stored}
    missing = [symbol for symbol in symbols if symbol not in stored]
    if stored:
        log.info("answers of an earlier attempt", stored=len(stored), missing=len(missing))
    if missing:
        with _source(settings, period) as source:
            found |= _ask_all(book, source, period, missing)
    return [found[symbol] for symbol in symbols]


def _ask_all(book: AnswerBook, source: DataSource, period: Period, symbols: Sequence[str]) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    failed: dict[str, SourceUnavailableError] = {}
    unreachable = 0
    for symbol in symbols:
        try:
            found[symbol] = book.keep(symbol, lambda wanted=symbol: source.ask(wanted, period))  # type: ignore[misc]
        except SourceUnavailableError as error:
            failed[symbol] = error
            unreachable = 0 if error.reachable else unreachable + 1
            log.warning("no answer", symbol=symbol, reason=str(error))
            if unreachable >= _HOPELESS:
                break
        else:
            unreachable = 0
            log.info("answer", symbol=symbol, status=str(found[symbol].status), rows=found[symbol].rows.num_rows)
    if failed:
        without = [symbol for symbol in symbols if symbol not in found]
        reason = next(iter(failed.values()))
        raise SourceUnavailableError(
            f"no answer for {_listed(without)}: {reason}; a retry asks only for what is missing"
        ) from reason
    return found


@contextmanager
def _source(settings: FetchSettings, period: Period) -> Iterator[DataSource]:
    """The configured source; the modules of the others are not even loaded."""
    if settings.source is Source.SIMULATED:
        from fetch_historical.simulated import SimulatedSource

        yield SimulatedSource(settings.simulated.seed, settings.calendar)
        return
    from fetch_historical.yahoo import YahooSource

    if settings.source is Source.YAHOO:
        with YahooSource(settings.yahoo) as yahoo:
            yield yahoo
        return
    from fetch_historical.replay import replay_settings

    with replay_settings(period, settings.yahoo) as local, YahooSource(local) as replay:
        yield replay


def _clean(answer: Answer, run: Run, period: Period, sessions: tuple[date, ...], code: str) -> Cleaned:
    fields = BatchFields(answer.symbol, answer.source, run.batch_id, run.batch_date, answer.fetched_at)
    days = (period.first + timedelta(days=n) for n in range((period.last - period.first).days + 1))
    closed = closed_sessions(code, period, answer.fetched_at)
    return clean(row_dicts(answer.rows), fields, wanted_days(days, sessions, closed), sessions)


def _notes(answer: Answer, cleaned: Cleaned, sessions: tuple[date, ...]) -> list[str]:
    """What a person should know of one symbol, a line each."""
    symbol = answer.symbol
    notes = []
    if answer.status is not SymbolStatus.OK:
        notes.append(f"{symbol} is {answer.status}: {answer.reason.removeprefix(f'{symbol}: ')}")
    if cleaned.refused:
        first = cleaned.refused[0]
        notes.append(f"{symbol}: {len(cleaned.refused)} rows quarantined, the first because of {first.reason}")
    if cleaned.missing:
        notes.append(f"{symbol}: {len(cleaned.missing)} sessions are missing: {_listed(map(str, cleaned.missing))}")
    if cleaned.widened:
        notes.append(f"{symbol}: high or low of {cleaned.widened} bars moved by rounding dust to hold open and close")
    if cleaned.left_out:
        notes.append(f"{symbol}: {cleaned.left_out} rows left out, not asked for or of a session not closed yet")
    if cleaned.bars:
        behind = sum(1 for day in sessions if day > cleaned.bars[-1].session_date)
        if behind > 1 + cleaned.left_out:
            notes.append(f"{symbol}: ends on {cleaned.bars[-1].session_date}, {behind} sessions before the period does")
    return notes


def _refuse_nothing(answers: Sequence[Answer], usable: Sequence[Answer]) -> None:
    if usable:
        return
    said = "; ".join(f"{answer.symbol} is {answer.status}" for answer in answers[:10])
    first = next((answer.reason for answer in answers if answer.reason), "every row is invalid, see the quarantine")
    raise ConfigurationError(f"no symbol has any valid row ({said}); {first}: check TICKLAKE_SYMBOLS and --date")


def _listed(words: "Sequence[str] | Iterator[str] | map[str]", most: int = 10) -> str:
    every = list(words)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
