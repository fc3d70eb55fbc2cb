"""The stage's tables: which symbols have facts that their analytics do not include yet, and the commit of new rows."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ticklake.catalog import RUN_ID, LakeTables, matching
from ticklake.errors import IntegrityError
from ticklake.records import Source, batch_checksum
from ticklake.tables import (
    CATALOG,
    CORPORATE_ACTIONS,
    DAILY_ANALYTICS,
    DAILY_BARS,
    FACT_TABLES,
    IcebergTable,
    namespace_of,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


class Basis(NamedTuple):
    """The facts that one symbol has, or that its analytics are based on: equal ones are the same, as none ever goes."""

    versions: int
    known_at: datetime
    """Of the latest version."""
    sessions: int


class Stored(NamedTuple):
    """One symbol's rows in the table of analytics."""

    rows: int
    checksum: str
    """`records.batch_checksum` over their row hashes in session order."""


@dataclass
class Lake:
    """The tables of facts and analytics, for some symbols of one source."""

    tables: LakeTables
    source: Source
    symbols: Collection[str]
    snapshots: dict[str, int] = field(default_factory=dict)
    """The id of each table's snapshot that is read; none for a table that has none."""

    @property
    def namespace(self) -> str:
        """Of all three tables."""
        return namespace_of(self.source)

    def pin(self, *tables: IcebergTable) -> None:
        """Read the tables as they are now from here on."""
        for table in tables:
            version = self.tables.version(self.namespace, table)
            if version is not None:
                self.snapshots[table.name] = version

    def facts(self) -> dict[str, Basis]:
        """By symbol what is known; a symbol without bars is left out."""
        bars = _sums(self._read(DAILY_BARS, "session_date", "known_at"))
        actions = _sums(self._read(CORPORATE_ACTIONS, "ex_date", "known_at"))
        found = {}
        for symbol, (versions, known_at, sessions) in bars.items():
            more = actions.get(symbol, Basis(0, known_at, 0))
            found[symbol] = Basis(versions + more.versions, max(known_at, more.known_at), sessions)
        return found

    def analytics(self) -> dict[str, Basis]:
        """By symbol what its analytics are based on; a symbol whose files disagree on that is left out."""
        wanted = matching(symbol=self.symbols, source=[str(self.source)])
        snapshot = self.snapshots.get(DAILY_ANALYTICS.name)
        found: dict[str, Basis] = {}
        odd = set()
        for file in self.tables.files(self.namespace, DAILY_ANALYTICS, wanted, snapshot):
            symbol, known_at, versions = (file[name] for name in ("symbol", "known_at", "fact_versions"))
            basis = Basis(versions[1], datetime.fromtimestamp(known_at[1] / 1e6, UTC), file["rows"])
            before = found.get(symbol[0], basis._replace(sessions=0))
            found[symbol[0]] = basis._replace(sessions=basis.sessions + before.sessions)
            if versions[0] != versions[1] or known_at[0] != known_at[1] or before[:2] != basis[:2]:
                odd.add(symbol[0])
        return {symbol: basis for symbol, basis in found.items() if symbol not in odd}

    def stored(self) -> dict[str, Stored]:
        """By symbol its rows in the table of analytics.

        Raises:
            IntegrityError: a session is there twice.
        """
        rows = self._read(DAILY_ANALYTICS, "session_date", "row_hash").sort_by(
            [("symbol", "ascending"), ("session_date", "ascending")]
        )
        symbols, days = rows["symbol"], rows["session_date"]
        twice = pc.and_(pc.equal(symbols[1:], symbols[:-1]), pc.equal(days[1:], days[:-1]))
        if (place := pc.index(twice, True).as_py()) >= 0:
            raise IntegrityError(f"{symbols[place]} {days[place]} is twice in {self.namespace}.{DAILY_ANALYTICS.name}")
        # One thread keeps each symbol's hashes in session order.
        grouped = rows.group_by("symbol", use_threads=False).aggregate([("row_hash", "list")])
        return {
            symbol: Stored(len(own), batch_checksum(own))
            for symbol, own in zip(grouped["symbol"].to_pylist(), grouped["row_hash_list"].to_pylist(), strict=True)
        }

    def frames(self, session: "SparkSession", symbols: Collection[str]) -> tuple["DataFrame", "DataFrame"]:
        """All versions of the symbols' bars and actions at the pinned snapshots."""

        def frame(table: IcebergTable) -> "DataFrame":
            reader = session.read.format("iceberg")
            if table.name in self.snapshots:
                reader = reader.option("snapshot-id", str(self.snapshots[table.name]))
            rows = reader.load(self._spark_name(table))
            return rows.filter(self._spark_filter(symbols))

        bars, actions = (frame(table) for table in FACT_TABLES)
        return bars, actions

    def replace(self, rows: "DataFrame", symbols: Collection[str], run_id: str) -> None:
        """Put `rows` in the place of all rows of `symbols`, in one commit.

        It fails where another run has replaced rows of one of them since `pin`.

        Args:
            rows: each symbol in one part, its rows together.
        """
        options = {
            f"snapshot-property.{RUN_ID}": run_id,
            "isolation-level": "serializable",
            # They are as a writer of one file per symbol needs them.
            "distribution-mode": "none",
            "use-table-distribution-and-ordering": "false",
            "fanout-enabled": "false",
        }
        if DAILY_ANALYTICS.name in self.snapshots:
            options["validate-from-snapshot-id"] = str(self.snapshots[DAILY_ANALYTICS.name])
        rows.writeTo(self._spark_name(DAILY_ANALYTICS)).options(**options).overwrite(self._spark_filter(symbols))

    def _spark_name(self, table: IcebergTable) -> str:
        return f"{CATALOG}.{self.namespace}.{table.name}"

    def _spark_filter(self, symbols: Collection[str]) -> "Column":
        from pyspark.sql import functions as F

        return F.col("symbol").isin(*symbols) & (F.col("source") == str(self.source))

    def _read(self, table: IcebergTable, *columns: str) -> pa.Table:
        """The symbols' rows with the columns symbol and `columns`; none where the table has no snapshot."""
        wanted = matching(symbol=self.symbols, source=[str(self.source)])
        found = self.tables.read(self.namespace, table, wanted, ("symbol", *columns), self.snapshots.get(table.name))
        return found.select(["symbol", *columns])


def _sums(rows: pa.Table) -> dict[str, Basis]:
    """By symbol: rows, the latest known_at, and distinct values of the second column, a day."""
    day = rows.column_names[1]
    grouped = rows.group_by("symbol").aggregate([("known_at", "count"), ("known_at", "max"), (day, "count_distinct")])
    return {
        row["symbol"]: Basis(row["known_at_count"], row["known_at_max"], row[f"{day}_count_distinct"])
        for row in grouped.to_pylist()
    }
