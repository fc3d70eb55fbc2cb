"""A run's lake as the stages before would leave it: raw CSV, Parquet and records, written here from plain values."""

import csv
import hashlib
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import snowflake.connector

from load_warehouse.settings import LoadSettings
from ticklake import lineage
from ticklake.lineage import ObjectRef, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.records import Source
from ticklake.settings import LiveSettings, StoreSettings, WarehouseSettings
from ticklake.tables import BAR_COLUMNS, DAILY_COLUMNS

DAY = date(2024, 6, 28)
FETCHED = datetime(2024, 6, 28, 21, 5, 7, 123000, tzinfo=UTC)
Row = dict[str, Any]


def digest_of(row: Row) -> str:
    """The row hash, written out once more from its definition rather than called."""
    numbers = [row[name] for name in ("open", "high", "low", "close", "adj_close", "dividends", "stock_splits")]
    parts = [row["symbol"], row["session_date"].isoformat(), str(row["volume"]), row["source"], *map(repr, numbers)]
    return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()


def checksum_of(rows: list[Row]) -> str:
    """SHA-256 over the row hashes in session order."""
    return hashlib.sha256("".join(digest_of(row) for row in rows).encode()).hexdigest()


@dataclass
class LakeRun:
    """One run. Change `rows` before `write`, or objects after it."""

    store: ObjectStore
    run_id: str = "run-1"
    symbols: tuple[str, ...] = ("AAPL", "MSFT")
    sessions: int = 5
    source: Source = Source.REPLAY
    fetched_at: datetime = FETCHED
    batch_date: date = DAY
    history: int = 0
    """Sessions before the first that the indicators could see."""
    lift: float = 0.0
    """Added to every price, so that two batches can be told apart."""
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rows:
            self.rows = {symbol: [self._row(symbol, n) for n in range(self.sessions)] for symbol in self.symbols}

    def _row(self, symbol: str, n: int) -> Row:
        chance = random.Random(f"{symbol}{n}")
        low = chance.uniform(10, 500) + self.lift
        bar: Row = {
            "symbol": symbol, "session_date": date(2024, 1, 1) + timedelta(days=n), "open": low * 1.01,
            "high": low * 1.0300000000000002, "low": low, "close": low * 1.02, "adj_close": low * 0.99,
            "volume": chance.randrange(2**45), "dividends": 0.1 + 0.2 if n == 1 else 0.0, "stock_splits": 0.0,
            "currency": "USD", "source": self.source.value, "batch_id": self.run_id, "batch_date": self.batch_date,
            "sequence": n, "fetched_at": self.fetched_at,
        }  # fmt: skip
        bar["row_hash"] = digest_of(bar)
        for column in DAILY_COLUMNS[len(BAR_COLUMNS) :]:
            empty = column.nullable and n < 2
            bar[column.name] = None if empty else chance.uniform(-1, 1) * 10 ** chance.randrange(-12, 12)
        bar["history_sessions"] = self.history + n + 1
        return bar

    def result(self, symbol: str, **more: Any) -> SymbolResult:
        rows = self.rows[symbol]
        return SymbolResult(rows=len(rows), checksum=checksum_of(rows), **more)

    def record(self, stage: str, objects: tuple[ObjectRef, ...] = ()) -> StageRecord:
        total = sum(map(len, self.rows.values()))
        return StageRecord(
            stage=stage, run_id=self.run_id, batch_id=self.run_id, batch_date=DAY, source=self.source,
            rows_in=total, rows_out=total, quarantined=0, symbols={symbol: self.result(symbol) for symbol in self.rows},
            objects=objects, started_at=FETCHED, finished_at=FETCHED + timedelta(seconds=2), code_version="test",
        )  # fmt: skip

    def write(self) -> "LakeRun":
        """The objects and records of fetch, consume and daily-analytics."""
        raw = tuple(self.put_csv(symbol) for symbol in self.rows if self.rows[symbol])
        processed = tuple(self.put_parquet(symbol) for symbol in self.rows if self.rows[symbol])
        lineage.write(self.store, self.record("fetch-historical"))
        lineage.write(self.store, self.record("consume-historical", raw))
        lineage.write(self.store, self.record("validate-raw"))
        lineage.write(self.store, self.record("daily-analytics", processed))
        return self

    def put_csv(self, symbol: str) -> ObjectRef:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in BAR_COLUMNS])
        for row in self.rows[symbol]:
            fetched = row["fetched_at"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            values = row | {"fetched_at": fetched}
            writer.writerow([repr(v) if isinstance(v, float) else v for v in (values[c.name] for c in BAR_COLUMNS)])
        return self._put(f"raw/{self.run_id}/{symbol}.csv", text.getvalue().encode(), symbol)

    def put_parquet(self, symbol: str) -> ObjectRef:
        """As Spark writes it: lower case, `ticker`, times in UTC with their zone, each symbol's file in a folder."""
        types = {
            "string": pa.string(), "date": pa.date32(), "timestamp": pa.timestamp("us", "UTC"), "double": pa.float64(),
            "bigint": pa.int64(), "int": pa.int32(),
        }  # fmt: skip
        table = pa.table(
            {
                "ticker" if c.name == "symbol" else c.name: pa.array(
                    [r[c.name] for r in self.rows[symbol]], types[c.type]
                )
                for c in DAILY_COLUMNS
            }
        )
        target = io.BytesIO()
        pq.write_table(table, target, compression="zstd")
        return self._put(f"processed/{self.run_id}/symbol={symbol}/part-0.parquet", target.getvalue(), symbol)

    def _put(self, key: str, body: bytes, symbol: str) -> ObjectRef:
        self.store.put(key, body)
        return ObjectRef(
            key=key, rows=len(self.rows[symbol]), size=len(body), sha256=hashlib.sha256(body).hexdigest(), symbol=symbol
        )


@pytest.fixture
def lake_run(store: ObjectStore) -> Callable[..., LakeRun]:
    """Makes runs in the test's bucket."""
    return lambda **more: LakeRun(store, **more).write()


@pytest.fixture
def settings(store_settings: StoreSettings, warehouse_settings: WarehouseSettings) -> LoadSettings:
    """What the programs get; the live flow has a namespace that no other test uses."""
    return LoadSettings(
        store=store_settings, warehouse=warehouse_settings.model_copy(update={"timeout_seconds": 10}),
        live=LiveSettings(namespace="demo"), code_version="test",
    )  # fmt: skip


@pytest.fixture
def sql(warehouse_settings: WarehouseSettings) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """Runs a statement over a connection of its own; `{}` in it stands for the database."""
    connection = snowflake.connector.connect(
        account="other", user="other", password="other", host=warehouse_settings.host, port=warehouse_settings.port,
        protocol="http", network_timeout=10,
    )  # fmt: skip
    database = warehouse_settings.database
    with connection:
        yield lambda statement: connection.cursor().execute(statement.replace("{}", database)).fetchall()
