"""What must be true of the lake and the warehouse after the pipeline's run, counted by other means than its own."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import snowflake.connector
from pydantic import SecretStr
from snowflake.connector.cursor import SnowflakeCursor
from tests.e2e.cluster.tools import Cluster, TrialFailed

from ticklake import ledger, lineage, symbols, topics
from ticklake.objects import ObjectStore
from ticklake.settings import StoreSettings

SESSIONS = 252
"""Of the New York Stock Exchange from 2023-06-29 to 2024-06-28, by its published holidays: 128 in 2023, 124 in 2024."""
EXPECTED = dict.fromkeys(symbols.BATCH_SYMBOLS, SESSIONS)


def same(what: str, found: object, wanted: object) -> None:
    """Fail unless both are equal."""
    if found != wanted:
        raise TrialFailed(f"{what}: {found} instead of {wanted}")


def store_at(
    port: int, access_key: str, secret_key: str, endpoint: str = "http://127.0.0.1", ca_file: Path | None = None
) -> ObjectStore:
    """The lake through a forwarded port."""
    keys = SecretStr(access_key), SecretStr(secret_key)
    where = f"{endpoint}:{port}"
    return ObjectStore(StoreSettings(endpoint=where, access_key=keys[0], secret_key=keys[1], ca_file=ca_file))


_COUNT_ROWS = """
import json
from collections import Counter
from ticklake.catalog import LakeTables
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import DAILY_ANALYTICS
rows = LakeTables(CatalogSettings(), StoreSettings()).read("market_test", DAILY_ANALYTICS, columns=("symbol",))
print(json.dumps(Counter(rows["symbol"].to_pylist())))
"""
"""Run in a pod that may read the tables: from outside, names and certificates of the cluster do not hold."""


def lake(platform: Cluster, store: ObjectStore, run_id: str) -> None:
    """Raw CSV and the table of analytics hold every row; the run says that it reconciled."""
    consumed = lineage.read(store, run_id, "consume-historical")
    raw: Counter[str] = Counter()
    for ref in consumed.objects:
        rows = list(csv.DictReader(io.StringIO(store.get(ref.key).decode())))
        raw.update(row["symbol"] for row in rows)
    same("rows of raw CSV by symbol", dict(raw), EXPECTED)
    counted = platform.kubectl("exec", "deploy/ticklake-dashboard", "--", "python", "-c", _COUNT_ROWS)
    same("rows of daily_analytics by symbol", json.loads(counted.splitlines()[-1]), EXPECTED)
    done = lineage.read_run(store, run_id)
    same("reconciled", (done.reconciled, done.disagreements), (True, ()))


def warehouse(port: int, password: str, batch_id: str) -> None:
    """The warehouse holds every row of the batch, and its audit names the load."""
    with _connected(port, password) as cursor:
        cursor.execute(
            "select symbol, count(*) from MARKET_TEST.DAILY_ANALYTICS where source = 'simulated' group by symbol"
        )
        same("rows of the warehouse by symbol", dict(cursor.fetchall()), EXPECTED)
        cursor.execute("select count(distinct kind) from MARKET_TEST.LOAD_AUDIT where batch_id = %s", (batch_id,))
        same("tables in the audit", cursor.fetchone(), (3,))


@contextmanager
def _connected(port: int, password: str) -> Iterator[SnowflakeCursor]:
    with (
        snowflake.connector.connect(
            account="trial",
            user="ticklake",
            password=password,
            host="127.0.0.1",
            port=port,
            protocol="http",
            database="STOCK_MARKET",
        ) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def live_windows(port: int, password: str, closed: int) -> None:
    """The warehouse holds at least `closed` windows."""
    with _connected(port, password) as cursor:
        cursor.execute("select count(*) from MARKET_TEST.WINDOW_ANALYTICS")
        ((found,),) = cursor.fetchall()
        same("all closed windows in the warehouse", found >= closed, True)


def ticks(store: ObjectStore) -> pd.DataFrame:
    """All archived ticks; each of a producer's run is there, once.

    Where a topic was deleted, what nobody had read of it is gone: a run that was sent to two topics may have gaps.
    """
    parts = []
    for found in store.list_objects(f"{topics.live_names().raw_prefix}/"):
        key = ledger.RangeKey.parse(found.key)
        if key and found.key.endswith(".parquet"):
            columns = ["symbol", "source", "event_time", "sequence", "producer_run"]
            table = pq.read_table(io.BytesIO(store.get(found.key)), columns=columns)
            parts.append(table.to_pandas().assign(topic=key.topic_id))
    all_ticks = pd.concat(parts, ignore_index=True)
    identity = ["producer_run", "symbol"]
    runs = all_ticks.groupby(identity).agg(
        rows=("sequence", "size"),
        different=("sequence", "nunique"),
        least=("sequence", "min"),
        greatest=("sequence", "max"),
        topics=("topic", "nunique"),
    )
    same("ticks that are there twice", int((runs.rows - runs.different).sum()), 0)
    whole = runs[runs.topics == 1]
    same("ticks that are missing", int((whole.greatest - whole.least + 1 - whole.rows).sum()), 0)
    return all_ticks


_WINDOW_COLUMNS = ("symbol", "source", "window_length", "window_start", "window_end", "tick_count")
_CLOSED_WINDOWS = f"""
import sys
from ticklake.catalog import LakeTables, matching
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import WINDOWS
rows = LakeTables(CatalogSettings(), StoreSettings()).read(
    "market_test", WINDOWS, matching(flow=[""]), {_WINDOW_COLUMNS}
)
rows.to_pandas().to_json(sys.stdout, orient="records", date_unit="ms")
"""


def windows(platform: Cluster, store: ObjectStore) -> int:
    """How many closed windows there are; each is of exactly the archived ticks that lie in it."""
    read = platform.kubectl("exec", "deploy/ticklake-dashboard", "--", "python", "-c", _CLOSED_WINDOWS)
    closed = pd.DataFrame(json.loads(read.splitlines()[-1]), columns=list(_WINDOW_COLUMNS))
    for name in ("window_start", "window_end"):
        closed[name] = pd.to_datetime(closed[name], unit="ms", utc=True)
    key = list(_WINDOW_COLUMNS[:4])
    same("windows that are there twice", int(closed.duplicated(key).sum()), 0)
    if closed.empty:
        return 0
    times = {name: part.sort_values() for name, part in ticks(store).groupby(key[:2]).event_time}
    for row in closed.itertuples():
        first, end = times[row.symbol, row.source].searchsorted([row.window_start, row.window_end])
        same(f"ticks of {row.symbol} in {row.window_length} from {row.window_start}", row.tick_count, end - first)
    return len(closed)


def archived(store: ObjectStore) -> int:
    """How many ticks the archive holds; its chains have neither gap nor overlap."""
    return sum(archived_by_topic(store).values())


def archived_by_topic(store: ObjectStore) -> dict[str, int]:
    """The same for each topic id that the live topic had."""
    live, found_rows = topics.live_names(), {}
    topic_ids = {
        key.topic_id for found in store.list_objects(f"{live.raw_prefix}/") if (key := ledger.RangeKey.parse(found.key))
    }
    for topic in topic_ids:
        chains = ledger.verify_chain(store, live, topic).values()
        found_rows[topic] = sum(entry.rows for ranges in chains for entry in ranges)
    return found_rows
