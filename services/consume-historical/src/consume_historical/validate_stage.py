"""validate-raw: judges a batch's raw CSV and records the facts in it, before anything is computed from them.

What is wrong with one symbol holds that symbol; the run fails where too many are held or brought nothing. Of those that
pass, what was not known before goes to the tables of facts.
"""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa
from pydantic import Field

from consume_historical.fact_recorder import FactRecorder, read_bars
from ticklake import calendar, facts, lineage, logs
from ticklake.batch_checks import QualitySettings, finish_validation, most, over, some, validation_record
from ticklake.batch_stage import Run, Stopwatch
from ticklake.catalog import LakeTables
from ticklake.errors import ConfigurationError
from ticklake.facts import Changes
from ticklake.held_symbols import Decision, released
from ticklake.lineage import CheckResult, ObjectRef, StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, FETCH, VALIDATE_RAW
from ticklake.quality import missing_sessions, unsupported_move
from ticklake.records import SymbolStatus
from ticklake.settings import CatalogSettings, StageSettings, StoreSettings

log = logs.get(__name__)

_READERS = 8


class ValidateSettings(StageSettings):
    """All settings of this stage."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    catalog: CatalogSettings = Field(default_factory=CatalogSettings)
    quality: QualitySettings = Field(default_factory=QualitySettings)


class Bar(NamedTuple):
    """What the checks need of a row."""

    session: date
    close: float
    adj_close: float
    volume: int


def validate_run(settings: ValidateSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """See `ticklake.batch_stage.batch_main`.

    Raises:
        ConfigurationError: the run has not come so far, or is of another date.
        IntegrityError: an object is not the one that was recorded.
        QualityError: too many symbols are held or brought nothing, or too many messages were no valid ones.
    """
    watch = Stopwatch()
    store = ObjectStore(settings.store)
    consumed = run.record_before(store, VALIDATE_RAW)
    fetched = lineage.read(store, run.run_id, FETCH.program)
    releases = _releases(store, fetched)
    with ThreadPoolExecutor(_READERS) as pool:
        tables = dict(pool.map(lambda ref: _read(store, ref), consumed.objects))
    bars = {symbol: _bars(table) for symbol, table in tables.items()}
    recorder = None
    revised: dict[str, float] = {}
    great_dividends: dict[str, int] = {}
    if tables:
        lake, rows = LakeTables(settings.catalog, settings.store), pa.concat_tables(tables.values())
        at = max((each.decided_at for each in releases.values()), default=None)
        recorder = FactRecorder.of(lake, store, consumed, rows, settings.quality.noise, at)
        recorder.prepare()
        revised, great_dividends = recorder.revised_shares(), recorder.great_dividends()
        # Nothing can be computed from such a history, so that a release would stop every later run.
        releases = {symbol: each for symbol, each in releases.items() if symbol not in great_dividends}
    checks, broken = judge(settings, fetched, consumed, bars, revised, releases, great_dividends)
    held = {symbol: reasons for symbol, reasons in broken.items() if symbol not in releases}
    record = validation_record(VALIDATE_RAW, consumed, checks, watch, settings.code_version, held)
    finish_validation(store, record)
    notes = [
        f"{symbol} goes on, as it was {releases[symbol].description()}: {'; '.join(reasons)}"
        for symbol, reasons in broken.items()
        if symbol in releases
    ]
    record = record.model_copy(update={"notes": (*record.notes, *notes)})
    if recorder is not None:
        record = _with_changes(record, recorder.record(held))
    return record, store


def judge(
    settings: ValidateSettings,
    fetched: StageRecord,
    consumed: StageRecord,
    bars: dict[str, list[Bar]],
    revised: dict[str, float],
    released: Collection[str] = (),
    great_dividends: Mapping[str, int] = MappingProxyType({}),
) -> tuple[list[CheckResult], dict[str, tuple[str, ...]]]:
    """The checks of the whole batch, and the symbols that break one with the reasons.

    Args:
        revised: by symbol, the share of its known sessions that the batch gives other values for.
        released: symbols that go on all the same.
        great_dividends: by symbol, how many dividends are not below the close before them.
    """
    limits = settings.quality
    judged = [
        *symbol_checks(limits, settings.calendar, fetched, consumed, bars),
        SymbolCheck("known sessions revised", "of a symbol's", limits.max_revised, revised),
        SymbolCheck("dividends not below the close before them", "dividends", 0, dict(great_dividends)),
    ]
    broken: dict[str, tuple[str, ...]] = {}
    for check in judged:
        for symbol in sorted(check.broken):
            broken[symbol] = (*broken.get(symbol, ()), check.message(symbol))
    held = {symbol: reasons for symbol, reasons in broken.items() if symbol not in released}
    return [*_batch_checks(limits, consumed, held), *(check.without(broken) for check in judged)], broken


def _releases(store: ObjectStore, fetched: StageRecord) -> dict[str, Decision]:
    """By symbol, a person's decision that what the run sent goes on; it is for that one stored answer.

    Raises:
        ConfigurationError: the run says so, but nobody released this answer.
    """
    found = {}
    for symbol in fetched.symbols if fetched.released_from is not None else ():
        decision, answer = released(store, fetched.released_from or "", symbol)
        if answer not in fetched.objects:
            raise ConfigurationError(f"run {fetched.run_id} sent another answer for {symbol} than was released")
        found[symbol] = decision
    return found


def _with_changes(record: StageRecord, changes: Changes) -> StageRecord:
    """`record` with what each symbol's answer changed, and a line on each kind of change that a person should see."""
    notes = [
        f"{symbol}: {part.revised} known sessions revised, as {_describe(changes, symbol)}"
        for symbol, part in sorted(changes.symbols.items())
        if part.revised
    ]
    for name, text in (("actions_revised", "revised"), ("actions_withdrawn", "withdrawn by the source")):
        counts = {symbol: getattr(part, name) for symbol, part in sorted(changes.symbols.items())}
        notes += [f"{symbol}: {count} splits or dividends {text}" for symbol, count in counts.items() if count]
    for note in notes:
        log.warning(note)
    symbols = {
        symbol: part.model_copy(update={"changes": changes.symbols.get(symbol)})
        for symbol, part in record.symbols.items()
    }
    finished = datetime.now(UTC)
    return record.model_copy(update={"symbols": symbols, "notes": (*record.notes, *notes), "finished_at": finished})


def _describe(changes: Changes, symbol: str) -> str:
    """The value of `symbol` that changed most, with its session and what it was before."""
    rows = changes.revisions[changes.revisions["symbol"] == symbol]
    moves = {
        name: (rows[name] - rows[f"{name}_before"]).abs() / rows[f"{name}_before"].clip(lower=1e-9)
        for name in facts.VALUES
    }
    name = max(moves, key=lambda name: float(moves[name].max()))
    row = rows.iloc[int(moves[name].to_numpy().argmax())]
    return f"the {name} of {row['session_date']:%Y-%m-%d} from {row[f'{name}_before']:.10g} to {row[name]:.10g}"


def _read(store: ObjectStore, ref: ObjectRef) -> tuple[str, pa.Table]:
    return ref.symbol or "", read_bars(lineage.fetch(store, ref, f"run {CONSUME.program} again"))


def _bars(table: pa.Table) -> list[Bar]:
    columns = (table.column(name).to_pylist() for name in ("session_date", "close", "adj_close", "volume"))
    return [Bar(*row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class SymbolCheck:
    """A value of each symbol and the most that it may be; a symbol above that is held."""

    name: str
    unit: str
    limit: float
    values: dict[str, float]

    @property
    def broken(self) -> set[str]:
        """The symbols above the limit."""
        return {symbol for symbol, value in self.values.items() if value > self.limit}

    def message(self, symbol: str) -> str:
        """Why `symbol` is held."""
        return over(self.name, self.values[symbol], self.limit, self.unit)

    def without(self, held: Collection[str]) -> CheckResult:
        """The greatest value of the symbols that go on."""
        observed, symbol = most({name: value for name, value in self.values.items() if name not in held})
        return CheckResult(name=self.name, observed=observed, limit=self.limit, unit=self.unit, detail=symbol)


def symbol_checks(
    limits: QualitySettings, code: str, fetched: StageRecord, consumed: StageRecord, bars: dict[str, list[Bar]]
) -> Iterator[SymbolCheck]:
    """What is judged of each symbol by itself."""
    last = calendar.last_session(code, consumed.batch_date)
    # Of a session that was still open when the source was asked there is nothing to be had.
    while calendar.session_close(code, last) > fetched.started_at:
        last = calendar.last_session(code, last - timedelta(days=1))
    for name, values, limit, unit in (
        ("rows in quarantine", _quarantined(fetched, bars), limits.max_quarantined, "of a symbol's"),
        ("sessions behind", _behind(code, fetched, bars, last), limits.max_stale_sessions, "sessions"),
        ("sessions missing", _missing(code, bars), limits.max_missing_sessions, "of a symbol's"),
        ("sessions that are there twice", _twice(bars), 0, "sessions"),
        ("greatest daily move", _moves(bars), limits.max_daily_move, "of the price"),
        ("sessions without volume", _without_volume(bars), limits.max_without_volume, "of a symbol's"),
    ):
        yield SymbolCheck(name, unit, limit, values)


def _batch_checks(
    limits: QualitySettings, consumed: StageRecord, held: Mapping[str, tuple[str, ...]]
) -> Iterator[CheckResult]:
    asked = consumed.symbols
    idle = {symbol for symbol, part in asked.items() if part.status is not SymbolStatus.OK or not part.rows}
    failed = idle | held.keys()
    yield CheckResult(
        name="symbols held or without rows",
        observed=len(failed) / len(asked) if asked else 1.0,
        limit=limits.max_failed_symbols,
        unit="of all",
        detail=some(
            {
                f"{symbol}: {'; '.join(held.get(symbol, asked[symbol].reasons)) or asked[symbol].status}"
                for symbol in failed
            }
        ),
    )
    yield CheckResult(
        name="invalid messages",
        observed=consumed.quarantined / consumed.rows_in if consumed.rows_in else 0.0,
        limit=limits.max_quarantined,
        unit="of all",
        detail=f"{consumed.quarantined}" if consumed.quarantined else "",
    )


def _quarantined(fetched: StageRecord, bars: dict[str, list[Bar]]) -> dict[str, float]:
    parts = {symbol: fetched.symbols[symbol] for symbol in bars}
    return {symbol: part.quarantined / (part.quarantined + part.rows) for symbol, part in parts.items()}


def _behind(code: str, fetched: StageRecord, bars: dict[str, list[Bar]], last: date) -> dict[str, float]:
    """By symbol, the sessions after its last bar, up to `last` or to the end of its trading."""
    ends = {symbol: min(last, fetched.symbols[symbol].ended or last) for symbol in bars}
    return {
        symbol: max(0, len(calendar.sessions(code, rows[-1].session, ends[symbol])) - 1)
        for symbol, rows in bars.items()
    }


def _missing(code: str, bars: dict[str, list[Bar]]) -> dict[str, float]:
    shares = {}
    for symbol, rows in bars.items():
        expected = calendar.sessions(code, rows[0].session, rows[-1].session)
        shares[symbol] = len(missing_sessions([row.session for row in rows], expected)) / len(expected)
    return shares


def _twice(bars: dict[str, list[Bar]]) -> dict[str, float]:
    return {symbol: len(rows) - len({row.session for row in rows}) for symbol, rows in bars.items()}


def _moves(bars: dict[str, list[Bar]]) -> dict[str, float]:
    return {
        symbol: unsupported_move(
            [row.close for row in rows], [row.adj_close for row in rows], [row.volume for row in rows]
        )
        for symbol, rows in bars.items()
    }


def _without_volume(bars: dict[str, list[Bar]]) -> dict[str, float]:
    shares = {symbol: sum(row.volume == 0 for row in rows) / len(rows) for symbol, rows in bars.items()}
    return {symbol: share if share < 1 else 0.0 for symbol, share in shares.items()}
