"""validate-raw: judges a batch's raw CSV before anything is computed from it.

What is wrong with one symbol holds that symbol; the run fails where too many are held or brought nothing.
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

from pydantic import Field

from ticklake import calendar, lineage
from ticklake.errors import ConfigurationError
from ticklake.expectations import QualitySettings, conclude, most, over, some
from ticklake.lineage import CheckResult, ObjectRef, StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, FETCH, VALIDATE_RAW
from ticklake.quality import missing_sessions, unsupported_move
from ticklake.records import SymbolStatus
from ticklake.settings import StageSettings, StoreSettings
from ticklake.stage import Run

_READERS = 8


class ValidateSettings(StageSettings):
    """All settings of this stage."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    quality: QualitySettings = Field(default_factory=QualitySettings)


class Bar(NamedTuple):
    """What the checks need of a row."""

    session: date
    close: float
    adj_close: float
    volume: int


def validate_run(settings: ValidateSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """See `ticklake.stage.batch_main`.

    Raises:
        ConfigurationError: the run has not come so far, or is of another date.
        IntegrityError: an object is not the one that was recorded.
        QualityError: too many symbols are held or brought nothing, or too many messages were no valid ones.
    """
    started_at = datetime.now(UTC)
    store = ObjectStore(settings.store)
    consumed = lineage.read(store, run.run_id, CONSUME.program)
    if consumed.batch_date != run.batch_date:
        raise ConfigurationError(f"run {run.run_id} is of {consumed.batch_date}, not of --date {run.batch_date}")
    fetched = lineage.read(store, run.run_id, FETCH.program)
    with ThreadPoolExecutor(_READERS) as pool:
        bars = dict(pool.map(lambda ref: _read(store, ref), consumed.objects))
    judged = list(symbol_checks(settings.quality, settings.calendar, fetched, consumed, bars))
    held: dict[str, tuple[str, ...]] = {}
    for check in judged:
        for symbol in sorted(check.broken):
            held[symbol] = (*held.get(symbol, ()), check.said(symbol))
    checks = [*_batch_checks(settings.quality, consumed, held), *(check.without(held) for check in judged)]
    version = settings.code_version
    return conclude(store, VALIDATE_RAW.program, consumed, checks, started_at, version, held), store


def _read(store: ObjectStore, ref: ObjectRef) -> tuple[str, list[Bar]]:
    body = lineage.fetch(store, ref, f"run {CONSUME.program} again")
    rows = csv.DictReader(io.StringIO(body.decode(), newline=""))
    bars = [
        Bar(
            date.fromisoformat(row["session_date"]), float(row["close"]), float(row["adj_close"]), int(row["volume"])
        )
        for row in rows
    ]  # fmt: skip
    return ref.symbol or "", bars


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

    def said(self, symbol: str) -> str:
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
    for name, values, limit, unit in (
        ("rows in quarantine", _quarantined(fetched, bars), limits.max_quarantined, "of a symbol's"),
        ("sessions behind", _behind(code, bars, last), limits.max_stale_sessions, "sessions"),
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
        name="symbols held or without rows", observed=len(failed) / len(asked) if asked else 1.0,
        limit=limits.max_failed_symbols, unit="of all",
        detail=some({f"{symbol}: {'; '.join(held.get(symbol, asked[symbol].reasons)) or asked[symbol].status}"
                     for symbol in failed}),
    )  # fmt: skip
    yield CheckResult(
        name="invalid messages", observed=consumed.quarantined / consumed.rows_in if consumed.rows_in else 0.0,
        limit=limits.max_quarantined, unit="of all", detail=f"{consumed.quarantined}" if consumed.quarantined else "",
    )  # fmt: skip


def _quarantined(fetched: StageRecord, bars: dict[str, list[Bar]]) -> dict[str, float]:
    parts = {symbol: fetched.symbols[symbol] for symbol in bars}
    return {symbol: part.quarantined / (part.quarantined + part.rows) for symbol, part in parts.items()}


def _behind(code: str, bars: dict[str, list[Bar]], last: date) -> dict[str, float]:
    """By symbol, the sessions after its last bar, up to `last`."""
    return {symbol: len(calendar.sessions(code, rows[-1].session, last)) - 1 for symbol, rows in bars.items()}


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
    }  # fmt: skip


def _without_volume(bars: dict[str, list[Bar]]) -> dict[str, float]:
    shares = {symbol: sum(row.volume == 0 for row in rows) / len(rows) for symbol, rows in bars.items()}
    return {symbol: share if share < 1 else 0.0 for symbol, share in shares.items()}
