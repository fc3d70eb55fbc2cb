"""A run's lake as the stages before would leave it: raw CSV, tables and records, written here from plain values."""

import csv
import hashlib
import io
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
import snowflake.connector

from load_warehouse.settings import LoadSettings
from load_warehouse.stage import load_run
from ticklake import lineage
from ticklake.batch_checks import validation_record
from ticklake.batch_stage import Run, Stopwatch
from ticklake.catalog import LakeTables, matching
from ticklake.lineage import ObjectRef, StageRecord, SymbolChanges, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import VALIDATE_RAW
from ticklake.records import Source, SymbolStatus
from ticklake.settings import CatalogSettings, StoreSettings, WarehouseSettings
from ticklake.tables import (
    BAR_COLUMNS,
    CORPORATE_ACTIONS,
    DAILY_ANALYTICS,
    DAILY_BARS,
    IcebergTable,
    arrow_schema,
    namespace_of,
)

DAY = date(2024, 6, 28)
FIRST = date(2024, 6, 24)
"""Session 0; the fifth is on the batch's date."""
FETCHED = datetime(2024, 6, 28, 21, 5, 7, 123000, tzinfo=UTC)
TABLES = (DAILY_BARS, CORPORATE_ACTIONS, DAILY_ANALYTICS)
Row = dict[str, Any]
Of = tuple[str, str]
"""Source and symbol."""


def _digest(texts: list[str], numbers: list[float]) -> str:
    return hashlib.blake2b("|".join([*texts, *map(repr, numbers)]).encode(), digest_size=16).hexdigest()


def digest_of(row: Row) -> str:
    """The hash of a raw row, written out once more from its definition rather than called."""
    numbers = [row[name] for name in ("open", "high", "low", "close", "adj_close", "dividends", "stock_splits")]
    return _digest([row["symbol"], row["session_date"].isoformat(), str(row["volume"]), row["source"]], numbers)


def traded_digest_of(row: Row) -> str:
    """The hash of a bar as traded, likewise."""
    texts = [row["symbol"], row["session_date"].isoformat(), str(row["volume"]), row["currency"], row["source"]]
    return _digest(texts, [row[name] for name in ("open", "high", "low", "close")])


def checksum_of(rows: list[Row]) -> str:
    """SHA-256 over the row hashes in session order."""
    return hashlib.sha256("".join(row["row_hash"] for row in rows).encode()).hexdigest()


@dataclass
class LakeRun:
    """What one run left in the lake."""

    run_id: str
    source: Source
    batch_date: date
    raw: dict[str, list[Row]]
    analytics: dict[str, list[Row]]
    """The whole history of each symbol that is not held."""
    changes: dict[str, SymbolChanges]


@dataclass
class History:
    """The lake's tables and what runs have added to them, kept here beside them."""

    store: ObjectStore
    tables: LakeTables
    bars: dict[Of, list[Row]] = field(default_factory=dict)
    actions: dict[Of, list[Row]] = field(default_factory=dict)
    computed: dict[Of, list[Row]] = field(default_factory=dict)

    def run(
        self,
        run_id: str = "run-1",
        *,
        symbols: tuple[str, ...] = ("AAPL", "MSFT"),
        sessions: int = 5,
        first: int = 0,
        source: Source = Source.REPLAY,
        fetched_at: datetime = FETCHED,
        batch_date: date = DAY,
        lift: Mapping[tuple[str, int], float] | None = None,
        split: tuple[str, int, float] | None = None,
        held: tuple[str, ...] = (),
    ) -> LakeRun:
        """One run, from its answer to its analytics.

        Args:
            sessions: how many of each symbol the answer has, from number `first` on.
            lift: what is added to the prices of a symbol's session.
            split: a symbol's split before the session of this number, with its ratio.
            held: symbols that validate-raw holds.
        """
        origin: Row = {
            "currency": "USD",
            "source": source.value,
            "batch_id": run_id,
            "batch_date": batch_date,
            "known_at": fetched_at,
        }
        traded = {
            symbol: [
                _bar(symbol, n, (lift or {}).get((symbol, n), 0.0)) | origin for n in range(first, first + sessions)
            ]
            for symbol in symbols
        }
        raw = {symbol: [_raw_row(row, n) for n, row in enumerate(rows)] for symbol, rows in traded.items()}
        fit = [symbol for symbol in symbols if symbol not in held]
        changes = {symbol: self._add_bars((source.value, symbol), traded[symbol], run_id) for symbol in fit}
        if split is not None:
            symbol, number, ratio = split
            action = {"symbol": symbol, "ex_date": FIRST + timedelta(days=number), "kind": "split", "value": ratio}
            self.add_action((source.value, symbol), action | origin | {"withdrawn": False})
        run = LakeRun(run_id, source, batch_date, raw, {}, changes)
        changed = [s for s in fit if changes[s].new or changes[s].revised or (split is not None and split[0] == s)]
        self.analyse(run_id, source, changed, batch_date)
        run.analytics = {symbol: self.computed.get((source.value, symbol), []) for symbol in fit}
        self._write_records(run, held)
        return run

    def _add_bars(self, of: Of, rows: list[Row], run_id: str) -> SymbolChanges:
        known = self.in_force(of)
        new = [row for row in rows if row["session_date"] not in known]
        revised = [
            row
            for row in rows
            if row["session_date"] in known and row["row_hash"] != known[row["session_date"]]["row_hash"]
        ]
        added = [row | {"change": "first"} for row in new] + [row | {"change": "revision"} for row in revised]
        self.bars.setdefault(of, []).extend(added)
        self._append(DAILY_BARS, of, added, run_id)
        return SymbolChanges(new=len(new), revised=len(revised), unchanged=len(rows) - len(added))

    def in_force(self, of: Of) -> dict[date, Row]:
        """By session, the version that counts."""
        ordered = sorted(self.bars.get(of, []), key=lambda row: (row["known_at"], row["batch_id"]))
        return {row["session_date"]: row for row in ordered}

    def add_action(self, of: Of, row: Row) -> None:
        """One version of a split or dividend."""
        self.actions.setdefault(of, []).append(row)
        self._append(CORPORATE_ACTIONS, of, [row], row["batch_id"])

    def _append(self, table: IcebergTable, of: Of, rows: list[Row], run_id: str) -> None:
        namespace = namespace_of(Source(of[0]))
        self.tables.ensure(namespace, table)
        self.tables.append(namespace, table, run_id, lambda _: table_of(table, rows))

    def analyse(self, run_id: str, source: Source, symbols: list[str], batch_date: date = DAY) -> None:
        """Compute the whole history of symbols again, on the basis of all splits, and replace it in the lake."""
        namespace = namespace_of(source)
        self.tables.ensure(namespace, DAILY_ANALYTICS)
        for symbol in symbols:
            of = (source.value, symbol)
            versions = self.bars[of] + self.actions.get(of, [])
            stamps = {
                "known_at": max(row["known_at"] for row in versions),
                "fact_versions": len(versions),
                "batch_id": run_id,
                "batch_date": batch_date,
            }
            bars = self.in_force(of)
            self.computed[of] = [
                _analysed(bars[day], n, self._factor(of, day)) | stamps for n, day in enumerate(sorted(bars))
            ]
        rows = [row for symbol in symbols for row in self.computed[source.value, symbol]]
        where = matching(symbol=symbols, source=[source.value])
        if rows:
            self.tables.replace(namespace, DAILY_ANALYTICS, run_id, table_of(DAILY_ANALYTICS, rows), where)

    def _factor(self, of: Of, day: date) -> float:
        factor = 1.0
        for action in self.actions.get(of, []):
            factor *= action["value"] if action["ex_date"] > day and not action["withdrawn"] else 1.0
        return factor

    def lose(self, table: IcebergTable, source: Source = Source.REPLAY) -> None:
        """All rows of a table are gone."""
        rows = matching(source=[source.value])
        self.tables.replace(namespace_of(source), table, "lost", table_of(table, []), rows)

    def change(self, table: IcebergTable, of: Of, day: date, **values: Any) -> None:
        """Other values in the lake's row of a session, as nobody should make them."""
        namespace = namespace_of(Source(of[0]))
        where = matching(symbol=[of[1]], source=[of[0]])
        rows = self.tables.read(namespace, table, where).to_pylist()
        for row in rows:
            row |= values if row["session_date"] == day else {}
        self.tables.replace(namespace, table, "by hand", table_of(table, rows), where)

    def _write_records(self, run: LakeRun, held: tuple[str, ...]) -> None:
        objects = tuple(self.put_csv(run, symbol) for symbol in run.raw if run.raw[symbol])
        answered = {
            symbol: SymbolResult(rows=len(rows), checksum=checksum_of(rows)) for symbol, rows in run.raw.items()
        }
        consumed = self._record(run, "consume-historical", answered, objects=objects)
        lineage.write(self.store, self._record(run, "fetch-historical", answered))
        lineage.write(self.store, consumed)
        reasons = dict.fromkeys(held, ("odd",))
        judged = validation_record(VALIDATE_RAW, consumed, (), Stopwatch(), "test", reasons)
        parts = {s: part.model_copy(update={"changes": run.changes.get(s)}) for s, part in judged.symbols.items()}
        lineage.write(self.store, judged.model_copy(update={"symbols": parts}))
        waiting = SymbolResult(status=SymbolStatus.HELD, rows=0, checksum=checksum_of([]), reasons=("odd",))
        whole = {symbol: _result(rows) for symbol, rows in run.analytics.items()} | dict.fromkeys(held, waiting)
        namespace = namespace_of(run.source)
        versions = {table.name: self.tables.version(namespace, table) for table in TABLES}
        snapshots = {name: version for name, version in versions.items() if version is not None}
        lineage.write(self.store, self._record(run, "daily-analytics", whole, snapshots=snapshots))

    def _record(self, run: LakeRun, stage: str, symbols: dict[str, SymbolResult], **more: Any) -> StageRecord:
        rows = sum(part.rows for part in symbols.values())
        return StageRecord(
            stage=stage,
            run_id=run.run_id,
            batch_id=run.run_id,
            batch_date=run.batch_date,
            source=run.source,
            rows_in=rows,
            rows_out=rows,
            quarantined=0,
            symbols=symbols,
            started_at=FETCHED,
            finished_at=FETCHED + timedelta(seconds=2),
            code_version="test",
            **more,
        )

    def put_csv(self, run: LakeRun, symbol: str) -> ObjectRef:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in BAR_COLUMNS])
        for row in run.raw[symbol]:
            fetched = row["fetched_at"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            values = row | {"fetched_at": fetched}
            writer.writerow([repr(v) if isinstance(v, float) else v for v in (values[c.name] for c in BAR_COLUMNS)])
        key, body = f"raw/{run.run_id}/{symbol}.csv", text.getvalue().encode()
        self.store.put(key, body)
        digest = hashlib.sha256(body).hexdigest()
        return ObjectRef(key=key, rows=len(run.raw[symbol]), size=len(body), sha256=digest, symbol=symbol)


def _result(rows: list[Row]) -> SymbolResult:
    return SymbolResult(rows=len(rows), checksum=checksum_of(rows))


def table_of(table: IcebergTable, rows: list[Row]) -> pa.Table:
    """Rows in the types of the lake's table."""
    return pa.Table.from_pylist(rows, arrow_schema(table.columns))


def _bar(symbol: str, n: int, lift: float) -> Row:
    """A bar as traded, the same for the same arguments."""
    chance = random.Random(f"{symbol}{n}")
    low = chance.uniform(10, 500) + lift
    return {
        "symbol": symbol,
        "session_date": FIRST + timedelta(days=n),
        "open": low * 1.01,
        "high": low * 1.0300000000000002,
        "low": low,
        "close": low * 1.02,
        "volume": chance.randrange(2**45),
        "currency": "USD",
        "source": "",
    }


def _raw_row(row: Row, sequence: int) -> Row:
    raw = row | {
        "adj_close": row["low"] * 0.99,
        "dividends": 0.1 + 0.2 if sequence == 1 else 0.0,
        "stock_splits": 0.0,
        "sequence": sequence,
        "fetched_at": row["known_at"],
    }
    row["row_hash"] = traded_digest_of(row)
    return raw | {"row_hash": digest_of(raw)}


def _analysed(bar: Row, n: int, factor: float) -> Row:
    """A row of analytics whose indicators can be, if they are no real ones."""
    row = {name: bar[name] for name in ("symbol", "session_date", "currency", "source", "row_hash")}
    row |= {name: bar[name] / factor for name in ("open", "high", "low", "close")}
    row |= {"volume": round(bar["volume"] * factor), "dividends": 0.0, "stock_splits": 0.0}
    row |= {f"adj_{name}": row[name] * 0.99 for name in ("open", "high", "low", "close")}
    chance = random.Random(f"{bar['symbol']}{bar['session_date']}{factor}{bar['close']}")
    for column in DAILY_ANALYTICS.columns:
        if column.type == "double" and column.name not in row:
            row[column.name] = (
                None if column.nullable and n < 1 else chance.uniform(-1, 1) * 10 ** chance.randrange(-12, 12)
            )
    middle, spread = chance.uniform(10, 500), chance.uniform(0, 10)
    sound = {
        "rsi_14": chance.uniform(0, 100),
        "bb_lower": middle - spread,
        "bb_middle": middle,
        "bb_upper": middle + spread,
        "volatility_20": chance.random(),
        "atr_14": chance.random(),
        "drawdown": -chance.random(),
        "low_52w": row["adj_low"],
        "high_52w": row["adj_high"],
    }
    return row | {name: value for name, value in sound.items() if row[name] is not None} | {"history_sessions": n + 1}


@pytest.fixture
def history(store: ObjectStore, catalog_settings: CatalogSettings, store_settings: StoreSettings) -> History:
    """An empty lake in the test's bucket."""
    return History(store, LakeTables(catalog_settings, store_settings))


@pytest.fixture
def settings(
    store_settings: StoreSettings, warehouse_settings: WarehouseSettings, catalog_settings: CatalogSettings
) -> LoadSettings:
    """What the programs get."""
    return LoadSettings(
        store=store_settings,
        warehouse=warehouse_settings.model_copy(update={"timeout_seconds": 10}),
        catalog=catalog_settings,
        code_version="test",
    )


@pytest.fixture
def load(settings: LoadSettings) -> Callable[..., StageRecord]:
    """Loads a run and keeps its record, as the program does."""

    def loaded(run_id: str = "run-1", day: date = DAY) -> StageRecord:
        record, store = load_run(settings, Run(run_id, day))
        lineage.write(store, record)
        return record

    return loaded


@pytest.fixture
def sql(warehouse_settings: WarehouseSettings) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """Runs a statement over a connection of its own; `{}` in it is replaced by the database."""
    connection = snowflake.connector.connect(
        account="other",
        user="other",
        password="other",
        host=warehouse_settings.host,
        port=warehouse_settings.port,
        protocol="http",
        network_timeout=10,
    )
    database = warehouse_settings.database
    with connection:
        yield lambda statement: connection.cursor().execute(statement.replace("{}", database)).fetchall()
