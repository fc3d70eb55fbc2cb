"""Facts as validate-raw leaves them, made from real bars, and one warm Spark session for all tests."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

import pandas as pd
import pytest

from daily_analytics.settings import AnalyticsSettings
from daily_analytics.stage import run_stage
from fetch_historical.recordings import adjust
from fetch_historical.recordings import recorded as recording
from ticklake import facts, lineage
from ticklake.batch_checks import validation_record
from ticklake.batch_stage import Run, Stopwatch, stage_record
from ticklake.catalog import LakeTables, matching
from ticklake.facts import Facts
from ticklake.lineage import StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME, VALIDATE_RAW
from ticklake.records import Source, SymbolStatus, batch_checksum
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.spark import SparkSettings, build_session, close_jvm, start_jvm
from ticklake.spark_jvm import ONE_SHOT
from ticklake.tables import DAILY_ANALYTICS, FACT_TABLES, arrow_schema, namespace_of
from ticklake_local.platform import Platform

Frame = pd.DataFrame


@pytest.fixture(scope="module")
def spark_settings(local_platform: Platform) -> Iterator[SparkSettings]:
    tools = local_platform.tools
    settings = SparkSettings(master="local[2]", java_home=tools.java.home, jars_dir=tools.jars["spark"])
    start_jvm("daily-analytics-tests", settings, ONE_SHOT)
    build_session("tests", settings, local_platform.store)
    yield settings
    close_jvm()


@pytest.fixture
def tables(catalog_settings: CatalogSettings, store_settings: StoreSettings) -> LakeTables:
    return LakeTables(catalog_settings, store_settings)


def _answer(symbol: str, first: date, last: date) -> tuple[Frame, Frame]:
    """Real bars and actions in Yahoo's convention, as a source that knows nothing after `last` would have sent them."""
    known = adjust(recording()[symbol].until(last))
    bars = pd.DataFrame(
        {
            "symbol": symbol,
            "session_date": pd.to_datetime(pd.Series(known.sessions)),
            "open": known.open,
            "high": known.high,
            "low": known.low,
            "close": known.close,
            "volume": known.volume.astype("int64"),
            "dividends": known.dividends,
            "splits": known.splits,
        }
    )
    bars = bars[bars["session_date"] >= pd.Timestamp(first)]
    parts = [
        bars[bars[column] > 0]
        .rename(columns={"session_date": "ex_date", column: "value"})
        .assign(kind=kind)[["symbol", "ex_date", "kind", "value"]]
        for column, kind in (("dividends", facts.DIVIDEND), ("splits", facts.SPLIT))
    ]
    return bars, pd.concat(parts, ignore_index=True)


@pytest.fixture
def recorded(store: ObjectStore, tables: LakeTables) -> Callable[..., StageRecord]:
    """Records the facts of a batch of real bars from `first` to `day`, and the record of their judgement.

    Symbols named in `without` have no rows, those in `held` are held; `change` is done to the bars that come; the one
    symbol comes `under` other names where these are given.
    """

    def put(
        run_id: str,
        day: date,
        first: date,
        *symbols: str,
        source: Source = Source.REPLAY,
        without: dict[str, SymbolStatus] | None = None,
        held: tuple[str, ...] = (),
        change: Callable[[Frame], Frame] = lambda bars: bars,
        under: tuple[str, ...] = (),
    ) -> StageRecord:
        namespace, answers = namespace_of(source), {symbol: _answer(symbol, first, day) for symbol in symbols}
        if under:
            (answer,) = answers.values()
            answers = dict.fromkeys(under, answer)
        stamp = {
            "currency": "USD",
            "source": str(source),
            "batch_id": run_id,
            "batch_date": pd.Timestamp(day),
            "known_at": pd.Timestamp(datetime(day.year, day.month, day.day, 22, 30, tzinfo=UTC)),
        }
        found = dict.fromkeys(without or {}, 0)
        for table in FACT_TABLES:
            tables.ensure(namespace, table)
        fit = {}
        for symbol, (bars, actions) in answers.items():
            sent = change(bars).assign(symbol=symbol, **stamp)
            found[symbol] = len(sent)
            if symbol not in held:
                fit[symbol] = sent, actions.assign(symbol=symbol, **stamp)
        if fit:
            bars, actions = (pd.concat(part, ignore_index=True) for part in zip(*fit.values(), strict=True))
            wanted = matching(symbol=list(fit), source=[str(source)])
            known = (tables.read(namespace, table, wanted).to_pandas(date_as_object=False) for table in FACT_TABLES)
            changes = facts.compare(facts.as_traded(bars, actions), Facts(*known))
            for table, rows in zip(FACT_TABLES, (changes.rows.bars, changes.rows.actions), strict=True):
                arrow = arrow_schema(table.columns).empty_table().from_pandas(rows, preserve_index=False)
                tables.append(namespace, table, run_id, lambda _, arrow=arrow: arrow)
        statuses = dict.fromkeys(found, SymbolStatus.OK) | (without or {})
        results = {
            symbol: SymbolResult(status=statuses[symbol], rows=rows, checksum=batch_checksum(()))
            for symbol, rows in found.items()
        }
        consumed = stage_record(CONSUME, Run(run_id, day), Stopwatch(), "test", results, source=source)
        reasons = dict.fromkeys(held, ("odd",))
        judged = validation_record(VALIDATE_RAW, consumed, (), Stopwatch(), "test", reasons)
        lineage.write(store, judged)
        return judged

    return put


@pytest.fixture
def process(
    store_settings: StoreSettings, catalog_settings: CatalogSettings, spark_settings: SparkSettings
) -> Callable[..., StageRecord]:
    """Runs the stage in this process, on the warm session."""

    def run(run_id: str, day: date, **more: object) -> StageRecord:
        servers = {"store": store_settings, "catalog": catalog_settings, "spark": spark_settings}
        return run_stage(AnalyticsSettings(**servers | more), Run(run_id, day))[0]

    return run


@pytest.fixture
def stored(tables: LakeTables) -> Callable[..., Frame]:
    """The table of analytics, by symbol and session."""

    def read(symbol: str | None = None, namespace: str = "market_test", **more: list[str]) -> Frame:
        wanted = more | ({"symbol": [symbol]} if symbol else {})
        rows = tables.read(namespace, DAILY_ANALYTICS, matching(**wanted)).to_pandas()
        return rows.sort_values(["symbol", "source", "session_date"], ignore_index=True)

    return read
