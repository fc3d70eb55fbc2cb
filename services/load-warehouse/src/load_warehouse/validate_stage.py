"""validate-loaded: judges what the warehouse holds of a batch, by questions that the warehouse itself answers."""
# ruff: noqa: S608 - identifiers are this package's own and the checked database name; values are parameters

from collections.abc import Iterator, Mapping
from datetime import date

from pydantic import Field

from load_warehouse.merge import of_symbols
from load_warehouse.schema import AUDIT, DAILY, literal
from load_warehouse.session import Session
from load_warehouse.settings import WarehouseStageSettings
from ticklake import calendar, lineage
from ticklake.batch_checks import QualitySettings, finish_validation, most, validation_record
from ticklake.batch_stage import Run, Stopwatch
from ticklake.lineage import CheckResult, StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import FETCH, VALIDATE_LOADED
from ticklake.tables import DAILY_ANALYTICS, FACT_TABLES
from ticklake.warehouse_tables import schema_of

_TABLES = (*FACT_TABLES, DAILY_ANALYTICS)

_NEAR = "(1 + 1e-9)"
"""A factor for prices that one multiplication and division can have rounded."""
_BARS = (
    "LOW > OPEN OR LOW > CLOSE OR LOW > HIGH OR HIGH < OPEN OR HIGH < CLOSE OR LOW <= 0 OR VOLUME < 0 "
    "OR DIVIDENDS < 0 OR STOCK_SPLITS < 0 "
    f"OR ADJ_LOW > LEAST(ADJ_OPEN, ADJ_CLOSE) * {_NEAR} OR GREATEST(ADJ_OPEN, ADJ_CLOSE) > ADJ_HIGH * {_NEAR} "
    f"OR ADJ_LOW <= 0 OR ADJ_CLOSE > CLOSE * {_NEAR} "
    "OR NOT GREATEST(OPEN, HIGH, LOW, CLOSE, ADJ_OPEN, ADJ_HIGH, ADJ_LOW, ADJ_CLOSE) < 1e12"
)
"""Condition of a row whose bar cannot be: dividends only lower a price, and NaN sorts above every number."""
_INDICATORS = (
    "RSI_14 < 0 OR RSI_14 > 100 OR BB_LOWER > BB_MIDDLE OR BB_MIDDLE > BB_UPPER OR VOLATILITY_20 < 0 OR ATR_14 < 0 "
    "OR DRAWDOWN > 0 OR LOW_52W > HIGH_52W"
)
_SESSIONS_NEEDED = {
    "LOG_RETURN": 2,
    "SMA_5": 5,
    "SMA_20": 20,
    "SMA_50": 50,
    "SMA_200": 200,
    "EMA_12": 12,
    "EMA_26": 26,
    "MACD": 34,
    "MACD_SIGNAL": 34,
    "RSI_14": 15,
    "BB_MIDDLE": 20,
    "ATR_14": 15,
    "VOLATILITY_20": 21,
    "HIGH_52W": 252,
}
"""Sessions that an indicator's window needs; with as many before it, a row must have a value."""


class ValidateSettings(WarehouseStageSettings):
    """All settings of this program."""

    quality: QualitySettings = Field(default_factory=QualitySettings)


def validate_run(settings: ValidateSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    """See `ticklake.batch_stage.batch_main`.

    Raises:
        ConfigurationError: the run has not loaded, or is of another date.
        QualityError: the warehouse's rows break a limit.
    """
    watch = Stopwatch()
    store = ObjectStore(settings.store)
    loaded = run.record_before(store, VALIDATE_LOADED)
    fetched = lineage.read(store, run.run_id, FETCH.program)
    with Session(settings.warehouse, tag=f"ticklake {VALIDATE_LOADED.program} {run.run_id}") as session:
        checks = list(_checks(session, loaded, settings.quality, settings.calendar, fetched))
    record = validation_record(VALIDATE_LOADED, loaded, checks, watch, settings.code_version)
    finish_validation(store, record)
    return record, store


def _checks(
    session: Session, loaded: StageRecord, limits: QualitySettings, code: str, fetched: StageRecord
) -> Iterator[CheckResult]:
    schema = f"{session.database}.{schema_of(loaded.source)}"
    rows = {symbol: part.rows for symbol, part in loaded.symbols.items() if part.rows}
    empty = " OR ".join(f"({name} IS NULL AND HISTORY_SESSIONS >= {least})" for name, least in _SESSIONS_NEEDED.items())
    found = []
    if rows:
        where, values = of_symbols(rows, str(loaded.source))
        found = session.run(
            f"SELECT SYMBOL, COUNT(*), SUM(IFF({_BARS}, 1, 0)), SUM(IFF({_INDICATORS}, 1, 0)), "
            f"SUM(IFF({empty}, 1, 0)), COUNT(*) - COUNT(DISTINCT SESSION_DATE), MAX(SESSION_DATE) "
            f"FROM {schema}.{DAILY.name} WHERE {where} GROUP BY SYMBOL",
            values,
        ).rows
    there = {symbol: int(count) for symbol, count, *_ in found}
    # A later run may have brought more.
    yield _none("rows missing", {symbol: max(0, count - there.get(symbol, 0)) for symbol, count in rows.items()})
    for place, name, unit in (
        (2, "impossible bars", "rows"),
        (3, "impossible indicators", "rows"),
        (4, "indicators without a value", "rows"),
        (5, "sessions that are there twice", "rows"),
    ):
        yield _none(name, {row[0]: float(row[place]) for row in found}, unit)
    kinds = ", ".join(literal(table.name) for table in _TABLES)
    ((audited,),) = session.run(
        f"SELECT COUNT(DISTINCT KIND) FROM {schema}.{AUDIT.name} WHERE BATCH_ID = %s AND KIND IN ({kinds})",
        (loaded.batch_id,),
    ).rows
    yield CheckResult(name="tables without an audit row", observed=len(_TABLES) - int(audited), limit=0, unit="tables")
    if fetched.released_from is None:  # how late an answer may end is no matter where a person let it go on
        traded = [row for row in found if fetched.symbols[row[0]].ended is None]
        yield _stale({row[0]: row[-1] for row in traded}, loaded.batch_date, limits, code)


def _none(name: str, values: Mapping[str, float], unit: str = "rows") -> CheckResult:
    """A check that no symbol has any such."""
    _, symbol = most(dict(values))
    return CheckResult(name=name, observed=sum(values.values()), limit=0, unit=unit, detail=symbol)


def _stale(newest: dict[str, date], batch_date: date, limits: QualitySettings, code: str) -> CheckResult:
    """How many sessions each symbol's newest row is behind."""
    last = calendar.last_session(code, batch_date)
    observed, symbol = most(
        {symbol: max(0, len(calendar.sessions(code, day, last)) - 1) for symbol, day in newest.items()}
    )
    return CheckResult(
        name="sessions behind", observed=observed, limit=limits.max_stale_sessions, unit="sessions", detail=symbol
    )
