"""validate-raw: judges a batch's raw CSV before anything is computed from it."""

import csv
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import NamedTuple

from pydantic import Field

from ticklake import calendar, lineage
from ticklake.errors import ConfigurationError
from ticklake.expectations import QualitySettings, conclude, most, some
from ticklake.lineage import CheckResult, ObjectRef, StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, FETCH, VALIDATE_RAW
from ticklake.quality import missing_sessions
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
    adj_close: float
    volume: int


def validate_run(settings: ValidateSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """See `ticklake.stage.batch_main`.

    Raises:
        ConfigurationError: the run has not come so far, or is of another date.
        IntegrityError: an object is not the one that was recorded.
        QualityError: the batch breaks a limit.
    """
    started_at = datetime.now(UTC)
    store = ObjectStore(settings.store)
    consumed = lineage.read(store, run.run_id, CONSUME.program)
    if consumed.batch_date != run.batch_date:
        raise ConfigurationError(f"run {run.run_id} is of {consumed.batch_date}, not of --date {run.batch_date}")
    fetched = lineage.read(store, run.run_id, FETCH.program)
    with ThreadPoolExecutor(_READERS) as pool:
        bars = dict(pool.map(lambda ref: _read(store, ref), consumed.objects))
    checks = list(_checks(settings.quality, settings.calendar, fetched, consumed, bars))
    return conclude(store, VALIDATE_RAW.program, consumed, checks, started_at, settings.code_version), store


def _read(store: ObjectStore, ref: ObjectRef) -> tuple[str, list[Bar]]:
    body = lineage.fetch(store, ref, f"run {CONSUME.program} again")
    rows = csv.DictReader(io.StringIO(body.decode(), newline=""))
    bars = [
        Bar(date.fromisoformat(row["session_date"]), float(row["adj_close"]), int(row["volume"])) for row in rows
    ]  # fmt: skip
    return ref.symbol or "", bars


def _checks(
    limits: QualitySettings, code: str, fetched: StageRecord, consumed: StageRecord, bars: dict[str, list[Bar]]
) -> Iterator[CheckResult]:
    asked = consumed.symbols
    failed = [symbol for symbol, result in asked.items() if result.status is not SymbolStatus.OK or not result.rows]
    yield CheckResult(
        name="symbols without rows", observed=len(failed) / len(asked) if asked else 1.0,
        limit=limits.max_failed_symbols, unit="of all", detail=some(failed),
    )  # fmt: skip
    quarantined = fetched.quarantined + consumed.quarantined
    yield CheckResult(
        name="rows in quarantine", observed=quarantined / fetched.rows_in if fetched.rows_in else 0.0,
        limit=limits.max_quarantined, unit="of all", detail=f"{quarantined} rows" if quarantined else "",
    )  # fmt: skip
    last = calendar.last_session(code, consumed.batch_date)
    for name, values, limit, unit in (
        ("sessions behind", _behind(code, bars, last), limits.max_stale_sessions, "sessions"),
        ("sessions missing", _missing(code, bars), limits.max_missing_sessions, "of a symbol's"),
        ("greatest daily move", _moves(bars), limits.max_daily_move, "of the price"),
        ("sessions without volume", _without_volume(bars), limits.max_without_volume, "of a symbol's"),
    ):
        observed, symbol = most(values)
        yield CheckResult(name=name, observed=observed, limit=limit, unit=unit, detail=symbol)


def _behind(code: str, bars: dict[str, list[Bar]], last: date) -> dict[str, float]:
    """By symbol, the sessions after its last bar, up to `last`."""
    return {symbol: len(calendar.sessions(code, rows[-1].session, last)) - 1 for symbol, rows in bars.items()}


def _missing(code: str, bars: dict[str, list[Bar]]) -> dict[str, float]:
    shares = {}
    for symbol, rows in bars.items():
        expected = calendar.sessions(code, rows[0].session, rows[-1].session)
        shares[symbol] = len(missing_sessions([row.session for row in rows], expected)) / len(expected)
    return shares


def _moves(bars: dict[str, list[Bar]]) -> dict[str, float]:
    return {
        symbol: max(
            (abs(b.adj_close / a.adj_close - 1) for a, b in pairwise(rows)), default=0.0
        )
        for symbol, rows in bars.items()
    }  # fmt: skip


def _without_volume(bars: dict[str, list[Bar]]) -> dict[str, float]:
    return {symbol: sum(row.volume == 0 for row in rows) / len(rows) for symbol, rows in bars.items()}
