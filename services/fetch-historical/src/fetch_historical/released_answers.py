"""A held answer that a person released: sent from where it is stored, nobody is asked."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from fetch_historical.answer_store import Answer, from_parquet
from fetch_historical.batch_period import Period
from ticklake import held_symbols
from ticklake.batch_stage import Run
from ticklake.errors import ConfigurationError
from ticklake.keys import release_run_id
from ticklake.objects import ObjectStore
from ticklake.records import SymbolStatus


def replayed(store: ObjectStore, held_by: str, symbols: Sequence[str], run: Run) -> tuple[Answer, Period]:
    """The stored answer that `run` sends, no longer held, and the period that it was asked for.

    Args:
        held_by: the run that held it.

    Raises:
        ConfigurationError: it was not released, is not there as it was stored, or `run` is not the run of its release.
    """
    if len(symbols) != 1:
        raise ConfigurationError(f"TICKLAKE_RELEASED_FROM needs one symbol in TICKLAKE_SYMBOLS, not {len(symbols)}")
    symbol = symbols[0]
    if run.run_id != (wanted := release_run_id(held_by, symbol)):
        raise ConfigurationError(f"the release of {symbol} of run {held_by} is the run {wanted}, not {run.run_id}")
    decision, ref, body = held_symbols.released_answer(store, held_by, symbol)
    try:
        answer = from_parquet(body)
    except ValueError as error:
        raise ConfigurationError(f"{ref.key}: {error}") from error
    period = Period(*(date.fromisoformat(answer.request[name]) for name in ("first", "last")))
    if period.last != run.batch_date:
        raise ConfigurationError(f"run {held_by} asked up to {period.last}, not up to --date {run.batch_date}")
    note = f"held by run {held_by} ({'; '.join(decision.reasons)}), {decision.description()}"
    return (replace(answer, status=SymbolStatus.OK, reasons=(), notes=(*answer.notes, note), stored=ref), period)
