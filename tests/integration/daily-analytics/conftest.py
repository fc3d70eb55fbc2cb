"""Input as consume-historical leaves it, made from real bars, and one warm Spark session for all tests."""

import hashlib
import io
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

import pandas as pd
import pyarrow.parquet as pq
import pytest

from consume_historical.assembly import row_of
from consume_historical.writing import csv_bytes
from daily_analytics.settings import AnalyticsSettings
from daily_analytics.stage import run_stage
from fetch_historical.recordings import adjust, recorded
from onebox.platform import Platform
from ticklake import lineage, manifests
from ticklake.lineage import ObjectRef, StageRecord, SymbolResult
from ticklake.names import raw_daily_key
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, VALIDATE_RAW
from ticklake.records import DailyBar, Source, SymbolStatus, batch_checksum
from ticklake.settings import StoreSettings
from ticklake.spark import SparkSettings, build_session, close_jvm
from ticklake.stage import Run


@pytest.fixture(scope="module")
def spark_settings(onebox_platform: Platform) -> Iterator[SparkSettings]:
    tools = onebox_platform.tools
    settings = SparkSettings(master="local[2]", java_home=tools.java.home, jars_dir=tools.jars["spark"])
    build_session("tests", settings, onebox_platform.store)
    yield settings
    close_jvm()


def _real_bars(
    symbol: str, first: date, last: date, *, run_id: str, source: Source = Source.REPLAY,
    fetched_at: datetime | None = None,
) -> list[DailyBar]:  # fmt: skip
    """Real bars in Yahoo's convention, as a source that knows nothing after `last` would have sent them."""
    known = adjust(recorded()[symbol].until(last))
    places = [place for place, session in enumerate(known.sessions) if first <= session]
    return [
        DailyBar(
            symbol=symbol, source=source, batch_id=run_id, batch_date=last, sequence=number,
            fetched_at=fetched_at or datetime(last.year, last.month, last.day, 22, 30, 15, 250_000, tzinfo=UTC),
            session_date=known.sessions[place], open=known.open[place], high=known.high[place], low=known.low[place],
            close=known.close[place], adj_close=known.adj_close[place], volume=int(known.volume[place]),
            dividends=known.dividends[place], stock_splits=known.splits[place], currency="USD",
        )
        for number, place in enumerate(places)
    ]  # fmt: skip


@pytest.fixture
def real_bars() -> Callable[..., list[DailyBar]]:
    return _real_bars


@pytest.fixture
def consumed(store: ObjectStore) -> Callable[..., StageRecord]:
    """Stores raw CSVs and the records of a run that consumed and judged `bars`.

    Symbols named in `without` have no rows, those in `held` are held by the judgement.
    """

    def put(
        run_id: str, day: date, bars: dict[str, list[DailyBar]], *, without: dict[str, SymbolStatus] | None = None,
        source: Source = Source.REPLAY, held: tuple[str, ...] = (),
    ) -> StageRecord:  # fmt: skip
        objects, symbols = [], {}
        for symbol, mine in bars.items():
            body = csv_bytes([row_of(bar) for bar in mine])
            key = raw_daily_key(symbol, day, mine[0].fetched_at)
            store.put(key, body)
            digest = hashlib.sha256(body).hexdigest()
            objects.append(ObjectRef(key=key, rows=len(mine), size=len(body), sha256=digest, symbol=symbol))
            checksum = batch_checksum(bar.row_hash() for bar in mine)
            symbols[symbol] = SymbolResult(rows=len(mine), checksum=checksum)
        for symbol, status in (without or {}).items():
            symbols[symbol] = SymbolResult(status=status, rows=0, checksum=batch_checksum(()))
        rows, now = sum(ref.rows for ref in objects), datetime.now(UTC)
        record = StageRecord(
            stage=CONSUME.program, run_id=run_id, batch_id=run_id, batch_date=day, source=source, rows_in=rows,
            rows_out=rows, quarantined=0, symbols=symbols, objects=tuple(objects), started_at=now, finished_at=now,
            code_version="test",
        )  # fmt: skip
        lineage.write(store, record)
        reasons = dict.fromkeys(held, ("odd",))
        lineage.write(store, StageRecord.of_checks(VALIDATE_RAW.program, record, (), now, "test", reasons))
        return record

    return put


@pytest.fixture
def process(store_settings: StoreSettings, spark_settings: SparkSettings) -> Callable[..., StageRecord]:
    """Runs the stage in this process, on the warm session."""

    def run(run_id: str, day: date, **more: object) -> StageRecord:
        settings = AnalyticsSettings(**{"store": store_settings, "spark": spark_settings, **more})
        return run_stage(settings, Run(run_id, day))[0]

    return run


@pytest.fixture
def stored(store: ObjectStore) -> Callable[..., pd.DataFrame]:
    """What a reader sees of a date: the rows of the files that its manifest names."""

    def read(day: date, symbol: str | None = None) -> pd.DataFrame:
        manifest = manifests.read_daily(store, day)
        assert manifest is not None
        parts = []
        for ref in manifest.objects:
            body = store.get(ref.key)
            assert (len(body), hashlib.sha256(body).hexdigest()) == (ref.size, ref.sha256)
            parts.append(pq.read_table(io.BytesIO(body)).to_pandas())
        rows = pd.concat(parts).sort_values(["ticker", "session_date"], ignore_index=True)
        return rows if symbol is None else rows[rows["ticker"] == symbol].reset_index(drop=True)

    return read
