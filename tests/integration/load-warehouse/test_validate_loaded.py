"""validate-loaded on rows that the real load put into the real warehouse server."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from load_warehouse import run as load
from load_warehouse.settings import LoadSettings
from load_warehouse.validate import ValidateSettings, validate_run
from ticklake import lineage
from ticklake.errors import ConfigurationError
from ticklake.expectations import QualityError
from ticklake.lineage import StageRecord
from ticklake.stage import Run

Sql = Callable[[str], list[tuple[Any, ...]]]
TABLE = "{}.MARKET_TEST.DAILY_ANALYTICS"
SOUND = {
    "rsi_14": 55.0, "bb_lower": 90.0, "bb_middle": 95.0, "bb_upper": 100.0, "volatility_20": 0.2, "atr_14": 1.5,
    "drawdown": -0.1, "low_52w": 80.0, "high_52w": 120.0,
}  # fmt: skip


@pytest.fixture
def loaded(lake_run: Any, settings: LoadSettings) -> Callable[..., Any]:
    """Loads a run whose last session is the batch's date and whose indicators can be."""

    def make(**more: Any) -> Any:
        run = lake_run(**more)
        for rows in run.rows.values():
            for n, row in enumerate(rows):
                row["session_date"] = run.batch_date - timedelta(days=len(rows) - 1 - n)
                row["row_hash"] = digest(row)
                row |= {name: value for name, value in SOUND.items() if row[name] is not None}
                row["log_return"] = 0.01 if n else None
        run.write()
        record, store = load.load_run(settings, Run(run.run_id, run.batch_date))
        lineage.write(store, record)
        return run

    return make


def digest(row: dict[str, Any]) -> str:
    numbers = [row[name] for name in ("open", "high", "low", "close", "adj_close", "dividends", "stock_splits")]
    parts = [row["symbol"], row["session_date"].isoformat(), str(row["volume"]), row["source"], *map(repr, numbers)]
    return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()


def validate(settings: LoadSettings, run: Any) -> StageRecord:
    return validate_run(ValidateSettings(**dict(settings)), Run(run.run_id, run.batch_date))[0]


def test_sound_rows_pass(loaded: Any, settings: LoadSettings) -> None:
    record = validate(settings, loaded())
    assert (record.rows_in, record.rows_out) == (10, 10)
    assert {check.name: check.observed for check in record.checks} == {
        "rows missing or too many": 0, "impossible bars": 0, "impossible indicators": 0,
        "indicators without a value": 0, "sessions that are there twice": 0, "loads without an audit row": 0,
        "sessions behind": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM {t} WHERE SYMBOL = 'MSFT' AND SEQUENCE = 1", r"rows missing or too many: 1 rows.*\(MSFT\)"),
        ("UPDATE {t} SET HIGH = LOW / 2 WHERE SYMBOL = 'AAPL'", r"impossible bars: 5 rows.*\(AAPL\)"),
        ("UPDATE {t} SET ADJ_CLOSE = CAST('NaN' AS DOUBLE) WHERE SEQUENCE = 0", "impossible bars: 2 rows"),
        ("UPDATE {t} SET RSI_14 = 100.5 WHERE SEQUENCE = 4", "impossible indicators: 2 rows"),
        ("UPDATE {t} SET BB_LOWER = BB_UPPER + 1 WHERE SEQUENCE = 3", "impossible indicators: 2 rows"),
        ("UPDATE {t} SET SMA_5 = NULL", "indicators without a value: 2 rows"),
        # Snowflake does not enforce a primary key; the local server does, for tables that have one.
        (
            "CREATE OR REPLACE TABLE {t} AS SELECT * FROM {t} UNION ALL SELECT * FROM {t} WHERE SEQUENCE = 2 "
            "AND SYMBOL = 'AAPL'",
            "there twice: 1 rows",
        ),
        ("DELETE FROM {}.MARKET_TEST.LOAD_AUDIT", "loads without an audit row: 1 loads"),
        ("DELETE FROM {t} WHERE SEQUENCE > 1", "sessions behind: 3 sessions"),
    ],
)
def test_each_fault_is_found(loaded: Any, settings: LoadSettings, sql: Sql, change: str, said: str) -> None:
    run = loaded()
    sql(change.replace("{t}", TABLE))
    with pytest.raises(QualityError, match=said):
        validate(settings, run)


def test_random_indicators_fail(lake_run: Any, settings: LoadSettings) -> None:
    run = lake_run()
    record, store = load.load_run(settings, Run(run.run_id, run.batch_date))
    lineage.write(store, record)
    with pytest.raises(QualityError, match="impossible indicators"):
        validate(settings, run)


def test_before_the_load(lake_run: Any, settings: LoadSettings) -> None:
    with pytest.raises(ConfigurationError, match="has no result of load-warehouse"):
        validate(settings, lake_run())
