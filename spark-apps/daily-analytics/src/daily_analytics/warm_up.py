"""Gets a long-lived process ready, so that the stages it runs later find a session with everything loaded."""

import dataclasses
import tempfile
import uuid
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from daily_analytics.lake import Lake
from daily_analytics.settings import AnalyticsSettings
from daily_analytics.stage import APP, write
from ticklake.batch_stage import Run, Stopwatch, stage_record
from ticklake.catalog import LakeTables
from ticklake.objects import ObjectStore
from ticklake.pipeline import PROCESS
from ticklake.records import Source
from ticklake.settings import CatalogSettings
from ticklake.spark import build_session, translated_errors, with_catalog
from ticklake.tables import CORPORATE_ACTIONS, DAILY_ANALYTICS, DAILY_BARS, arrow_schema

_SESSIONS = 40
_SYMBOL = "AAA"
_DAY = date(2000, 3, 1)


def warm(settings: AnalyticsSettings) -> None:
    """Start a session and take a few made-up bars through all that a stage does, with tables of their own.

    Raises:
        StageError: Spark does not start, or the store fails.
    """
    store, prefix = ObjectStore(settings.store), f"warm-up/{uuid.uuid4().hex}"
    with translated_errors("start"):
        session = build_session(APP, settings.spark, settings.store)
    with tempfile.TemporaryDirectory() as folder:
        catalog = CatalogSettings(uri=f"sqlite:///{folder}/catalog.db", location=prefix)
        lake = Lake(LakeTables(catalog, settings.store), Source.SIMULATED, [_SYMBOL])
        batch = stage_record(PROCESS, Run(prefix, _DAY), Stopwatch(), "", {}, source=Source.SIMULATED)
        try:
            for table in (DAILY_BARS, CORPORATE_ACTIONS, dataclasses.replace(DAILY_ANALYTICS, folder=f"{prefix}/data")):
                lake.tables.ensure(lake.namespace, table)
            lake.tables.append(lake.namespace, DAILY_BARS, prefix, lambda _: _bars())
            lake.pin(DAILY_BARS)
            with translated_errors("compute"):
                write(with_catalog(session, catalog, settings.store), lake, [_SYMBOL], 1, 0.0, batch)
            lake.stored()
        finally:
            for found in store.list_objects(f"{prefix}/"):
                store.delete(found.key)


def _bars() -> pa.Table:
    known_at, first = datetime(2000, 3, 1, tzinfo=UTC), date(2000, 1, 3)
    rows = [
        {
            "symbol": _SYMBOL,
            "session_date": first + timedelta(days=number),
            "known_at": known_at,
            "open": 100.0,
            "high": 101.0 + number,
            "low": 99.0,
            "close": 100.0 + number,
            "volume": 1000,
            "currency": "USD",
            "source": str(Source.SIMULATED),
            "batch_id": "warm-up",
            "batch_date": _DAY,
            "row_hash": "",
            "change": "first",
        }
        for number in range(_SESSIONS)
    ]
    return pa.Table.from_pylist(rows, arrow_schema(DAILY_BARS.columns))
