"""Gets the answers of a run: the stored ones, else the source's; separates odd symbols from a source that is away."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from fetch_historical.answer_store import Answer, AnswerStore, DataSource, Scope, SourceUnavailableError
from fetch_historical.batch_period import Period
from fetch_historical.known_history import KnownSymbols
from fetch_historical.settings import FetchSettings
from ticklake import logs
from ticklake.catalog import LakeTables
from ticklake.records import Source, SymbolStatus

log = logs.get(__name__)

_SILENT = 2
"""After this many symbols in a row without an answer, another one shows whether the source still answers at all."""


@dataclass(frozen=True)
class Collected:
    """What is to be had for the symbols of a run."""

    answers: dict[str, Answer]
    unanswered: dict[str, str]
    """Symbols that the source gives no answer for while it does for others, and why: nothing is stored for them, so
    that a retry and the next run ask again."""


def collect(book: AnswerStore, settings: FetchSettings, period: Period, symbols: tuple[str, ...]) -> Collected:
    """The answer for every symbol: the stored one, else the source's, which is stored first.

    Raises:
        SourceUnavailableError: the source as a whole gives none.
    """
    stored = book.stored_symbols(symbols)
    found = {symbol: book.read(symbol) for symbol in symbols if symbol in stored}
    missing = [symbol for symbol in symbols if symbol not in stored]
    if stored:
        log.info("answers of an earlier attempt", stored=len(stored), missing=len(missing))
    if not missing:
        return Collected(found, {})
    known = KnownSymbols(LakeTables(settings.catalog, settings.store), book.source, symbols)
    with _source(settings, period, known) as source:
        asked = _Round(book, source, period, found)
        asked.ask(missing)
    return Collected(found, {symbol: str(error) for symbol, error in asked.failed.items()})


@dataclass
class _Round:
    """One attempt to get the missing answers."""

    book: AnswerStore
    source: DataSource
    period: Period
    found: dict[str, Answer]
    failed: dict[str, SourceUnavailableError] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    """The latest symbols without an answer, since the source last showed that it is there."""

    def ask(self, symbols: Sequence[str]) -> None:
        """Ask for each symbol in turn.

        Raises:
            SourceUnavailableError: the source is away or limits the rate, or no symbol has an answer.
        """
        away = False
        for symbol in symbols:
            self._ask(symbol)
            if away := len(self.silent) >= _SILENT and not self._is_there():
                break
        limited = any(error.scope is Scope.SOURCE for error in self.failed.values())
        if self.failed and (away or limited or not self.found or (self.silent and not self._is_there())):
            without = [symbol for symbol in symbols if symbol not in self.found]
            reason = next(iter(self.failed.values()))
            raise SourceUnavailableError(
                f"no answer for {listed(without)}: {reason}; a retry asks only for what is missing"
            ) from reason

    def _ask(self, symbol: str) -> None:
        try:
            answer = self.book.keep(symbol, lambda: self.source.ask(symbol, self.period))
        except SourceUnavailableError as error:
            self.failed[symbol] = error
            if error.scope is Scope.SYMBOL:
                self.silent.clear()
            else:
                self.silent.append(symbol)
            log.warning("no answer", symbol=symbol, reason=str(error))
        else:
            self.found[symbol] = answer
            self.silent.clear()
            log.info("answer", symbol=symbol, status=str(answer.status), rows=answer.rows.num_rows)

    def _is_there(self) -> bool:
        """Whether the source answers for a symbol that it has answered for before; what it says is not used."""
        if not self.found or any(self.failed[symbol].scope is Scope.SOURCE for symbol in self.silent):
            return False
        witness = min(self.found, key=lambda symbol: self.found[symbol].status is not SymbolStatus.OK)
        try:
            self.source.ask(witness, self.period)
        except SourceUnavailableError as error:
            if error.scope is not Scope.SYMBOL:
                return False
        self.silent.clear()
        return True


@contextmanager
def _source(settings: FetchSettings, period: Period, known: KnownSymbols) -> Iterator[DataSource]:
    """The configured source; the modules of the others are not even loaded."""
    if settings.source is Source.SIMULATED:
        from fetch_historical.simulated import SimulatedSource

        yield SimulatedSource(settings.simulated.seed, settings.calendar)
        return
    from fetch_historical.yahoo import YahooSource

    settle = timedelta(minutes=settings.settle_minutes)
    source = partial(YahooSource, calendar_code=settings.calendar, settle=settle, known=known.of)
    if settings.source is Source.YAHOO:
        with source(settings.yahoo) as yahoo:
            yield yahoo
        return
    from fetch_historical.replay import replay_settings

    with replay_settings(period, settings.yahoo) as local, source(local) as replay:
        yield replay


def listed(words: Iterable[str], most: int = 10) -> str:
    """The first of `words`, and how many more there are."""
    every = list(words)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
