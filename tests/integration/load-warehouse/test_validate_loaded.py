"""validate-loaded on rows that the real load put into the real warehouse server."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from load_warehouse.settings import LoadSettings
from load_warehouse.validate_stage import ValidateSettings, validate_run
from ticklake import lineage
from ticklake.batch_checks import QualityError
from ticklake.batch_stage import Run
from ticklake.errors import ConfigurationError
from ticklake.lineage import StageRecord
from ticklake.pipeline import FETCH
from ticklake.records import Source

Sql = Callable[[str], list[tuple[Any, ...]]]
TABLE = "{}.MARKET_TEST.DAILY_ANALYTICS"


@pytest.fixture
def loaded(history: Any, load: Callable[..., StageRecord]) -> Any:
    """A run that was loaded, the last session of which is on the batch's date."""
    run = history.run()
    load()
    return run


def validate(settings: LoadSettings, run: Any) -> StageRecord:
    return validate_run(ValidateSettings(**dict(settings)), Run(run.run_id, run.batch_date))[0]


def test_sound_rows_pass(loaded: Any, settings: LoadSettings) -> None:
    record = validate(settings, loaded)
    assert (record.rows_in, record.rows_out) == (10, 10)
    assert {check.name: check.observed for check in record.checks} == {
        "rows missing": 0,
        "impossible bars": 0,
        "impossible indicators": 0,
        "indicators without a value": 0,
        "sessions that are there twice": 0,
        "tables without an audit row": 0,
        "sessions behind": 0,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "DELETE FROM {t} WHERE SYMBOL = 'MSFT' AND SESSION_DATE = '2024-06-25'",
            r"rows missing: 1 rows.*\(MSFT\)",
        ),
        ("DELETE FROM {t} WHERE SYMBOL = 'MSFT'", r"rows missing: 5 rows.*\(MSFT\)"),
        ("UPDATE {t} SET HIGH = LOW / 2 WHERE SYMBOL = 'AAPL'", r"impossible bars: 5 rows.*\(AAPL\)"),
        ("UPDATE {t} SET ADJ_CLOSE = CAST('NaN' AS DOUBLE) WHERE HISTORY_SESSIONS = 1", "impossible bars: 2 rows"),
        ("UPDATE {t} SET ADJ_OPEN = ADJ_HIGH * 1.01 WHERE HISTORY_SESSIONS = 1", "impossible bars: 2 rows"),
        ("UPDATE {t} SET ADJ_CLOSE = ADJ_LOW * 0.99 WHERE HISTORY_SESSIONS = 1", "impossible bars: 2 rows"),
        ("UPDATE {t} SET DIVIDENDS = -0.1 WHERE HISTORY_SESSIONS = 1", "impossible bars: 2 rows"),
        (
            "UPDATE {t} SET ADJ_CLOSE = CLOSE * 1.01, ADJ_HIGH = HIGH * 1.1 WHERE HISTORY_SESSIONS = 2",
            "impossible bars: 2 rows",
        ),
        ("UPDATE {t} SET RSI_14 = 100.5 WHERE HISTORY_SESSIONS = 5", "impossible indicators: 2 rows"),
        ("UPDATE {t} SET BB_LOWER = BB_UPPER + 1 WHERE HISTORY_SESSIONS = 4", "impossible indicators: 2 rows"),
        ("UPDATE {t} SET SMA_5 = NULL", "indicators without a value: 2 rows"),
        # Snowflake does not enforce a primary key; the local server does, for tables that have one.
        (
            "CREATE OR REPLACE TABLE {t} AS SELECT * FROM {t} UNION ALL SELECT * FROM {t} WHERE HISTORY_SESSIONS = 3 "
            "AND SYMBOL = 'AAPL'",
            "there twice: 1 rows",
        ),
        ("DELETE FROM {}.MARKET_TEST.LOAD_AUDIT", "tables without an audit row: 3 tables"),
        ("DELETE FROM {}.MARKET_TEST.LOAD_AUDIT WHERE KIND = 'daily_bars'", "tables without an audit row: 1 tables"),
        ("DELETE FROM {t} WHERE HISTORY_SESSIONS > 2", "sessions behind: 3 sessions"),
    ],
)
def test_each_fault_is_found(loaded: Any, settings: LoadSettings, sql: Sql, change: str, message: str) -> None:
    sql(change.replace("{t}", TABLE))
    with pytest.raises(QualityError, match=message):
        validate(settings, loaded)


def test_rows_of_other_sources_and_symbols_are_not_judged(
    loaded: Any, history: Any, load: Callable[..., StageRecord], settings: LoadSettings, sql: Sql
) -> None:
    history.run("other", source=Source.SIMULATED)
    history.run("more", symbols=("KO",))
    load("other")
    load("more")
    sql(f"UPDATE {TABLE} SET RSI_14 = 200 WHERE SOURCE = 'simulated' OR SYMBOL = 'KO'")
    validate(settings, loaded)


def test_a_symbol_that_is_no_longer_traded_may_be_behind(
    loaded: Any, history: Any, settings: LoadSettings, sql: Sql
) -> None:
    sql(f"DELETE FROM {TABLE} WHERE HISTORY_SESSIONS > 2 AND SYMBOL = 'MSFT'")
    fetched = lineage.read(history.store, loaded.run_id, FETCH.program)
    part = fetched.symbols["MSFT"].model_copy(update={"ended": loaded.batch_date})
    lineage.write(history.store, fetched.model_copy(update={"symbols": fetched.symbols | {"MSFT": part}}))
    with pytest.raises(QualityError) as caught:
        validate(settings, loaded)
    assert "rows missing: 3 rows" in str(caught.value)
    assert "sessions behind" not in str(caught.value)


def test_a_run_without_rows(history: Any, load: Callable[..., StageRecord], settings: LoadSettings) -> None:
    run = history.run(sessions=0)
    load()
    assert validate(settings, run).rows_out == 0


def test_a_run_after_which_another_brought_more(
    loaded: Any, history: Any, load: Callable[..., StageRecord], settings: LoadSettings
) -> None:
    history.run("later", sessions=6, fetched_at=datetime(2024, 6, 29, tzinfo=UTC))
    load("later")
    validate(settings, loaded)


def test_before_the_load(history: Any, settings: LoadSettings) -> None:
    with pytest.raises(ConfigurationError, match="has no result of load-warehouse"):
        validate(settings, history.run())
