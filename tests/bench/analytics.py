"""The whole history of many symbols, from their facts to indicators: daily-analytics beside Polars in one process."""

import os
import statistics
import subprocess
import sys
import time
import uuid
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console

from ticklake import lineage
from ticklake.batch_stage import Run, Stopwatch, stage_record
from ticklake.catalog import LakeTables, matching
from ticklake.lineage import SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import PROCESS, VALIDATE_RAW
from ticklake.records import Source
from ticklake.settings import CatalogSettings
from ticklake.tables import DAILY_ANALYTICS, DAILY_BARS, FACT_TABLES, arrow_schema
from ticklake_local.platform import Platform

SESSIONS = 2514
"""Ten years."""
_DAY = date(2025, 12, 30)
_RUN = "bench"


def compare_analytics(platform: Platform, work: Path, rounds: int, symbols: int, console: Console) -> None:
    """Time them on the same rows, in turn, and print the medians and their ratios."""
    settings = platform.store.model_copy(update={"bucket": f"bench-{uuid.uuid4().hex[:8]}"})
    catalog = CatalogSettings(uri=f"sqlite:///{work}/bench.db")
    store, tables = ObjectStore(settings), LakeTables(catalog, settings)
    store.create_bucket()
    names = [f"S{number:05d}" for number in range(symbols)]
    for table in (*FACT_TABLES, DAILY_ANALYTICS):
        tables.ensure("market_test", table)
    rows = _bars(names)
    tables.append("market_test", DAILY_BARS, _RUN, lambda _: rows)
    _judge(store, names)
    environment = (
        os.environ
        | platform.stage_env()
        | {
            "TICKLAKE_STORE_BUCKET": settings.bucket,
            "TICKLAKE_CATALOG_URI": catalog.uri,
            "POLARS_ICEBERG_PLANNER": "pyiceberg",
        }
    )
    of_run = ["--date", str(_DAY), "--run-id", _RUN]
    contenders = {
        "daily-analytics": [str(Path(sys.executable).parent / PROCESS.program), *of_run],
        "Spark that only copies": [sys.executable, "-m", "tests.bench.spark_copy", *of_run],
        "Polars": [sys.executable, "-m", "tests.bench.polars_analytics"],
    }
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, command in contenders.items():
            began = time.monotonic()
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            found.setdefault(name, []).append(time.monotonic() - began)
            # The next one is to write all of it.
            nothing = arrow_schema(DAILY_ANALYTICS.columns).empty_table()
            tables.replace("market_test", DAILY_ANALYTICS, _RUN, nothing, matching(source=[str(Source.SIMULATED)]))
    console.print(f"{rows.num_rows:,} bars of {symbols} symbols, facts to indicators, each a process of its own")
    for name, seconds in found.items():
        console.print(f"  {name}: {statistics.median(seconds):.2f} s  (from {min(seconds):.2f} to {max(seconds):.2f})")
    theirs = found.pop("Polars")
    for name, seconds in found.items():
        ratios = [one / other for one, other in zip(seconds, theirs, strict=True)]
        console.print(f"{name} / Polars: {statistics.median(ratios):.2f}")


def _bars(symbols: list[str]) -> pa.Table:
    days = pd.bdate_range(end=_DAY, periods=SESSIONS).date
    random = np.random.default_rng(1)
    plain = {
        "known_at": datetime(2025, 12, 30, 22, tzinfo=UTC),
        "currency": "USD",
        "source": str(Source.SIMULATED),
        "batch_id": _RUN,
        "batch_date": _DAY,
        "row_hash": "0" * 32,
        "change": "first",
    }
    frames = []
    for symbol in symbols:
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, SESSIONS)))
        prices = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close}
        volume = random.integers(1000, 1_000_000, SESSIONS)
        frames.append(pd.DataFrame({"symbol": symbol, "session_date": days, **prices, "volume": volume, **plain}))
    return pa.Table.from_pandas(pd.concat(frames), arrow_schema(DAILY_BARS.columns), preserve_index=False)


def _judge(store: ObjectStore, symbols: list[str]) -> None:
    results = {symbol: SymbolResult(rows=SESSIONS, checksum="") for symbol in symbols}
    run = Run(_RUN, _DAY)
    lineage.write(store, stage_record(VALIDATE_RAW, run, Stopwatch(), "bench", results, source=Source.SIMULATED))
