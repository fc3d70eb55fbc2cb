"""The batch's facts: read from its raw CSV, held against the tables, appended where they are new."""

import io
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from consume_historical.raw_csv import ACTION_COLUMNS
from ticklake import facts, lineage
from ticklake.catalog import LakeTables, matching
from ticklake.errors import ConfigurationError
from ticklake.facts import Changes, Facts
from ticklake.lineage import StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import CONSUME
from ticklake.records import known_at
from ticklake.tables import (
    BAR_COLUMNS,
    CORPORATE_ACTIONS,
    DAILY_BARS,
    FACT_TABLES,
    IcebergTable,
    arrow_schema,
    namespace_of,
)

_ALWAYS = 5
"""Revised sessions that are no doubt, however short the history."""

_ACTIONS = arrow_schema(column for column in CORPORATE_ACTIONS.columns if column.name in ACTION_COLUMNS)


def read_bars(body: bytes) -> pa.Table:
    """The rows of a raw CSV, in the types of `tables.BAR_COLUMNS`."""
    return _read(body, arrow_schema(BAR_COLUMNS))


def _read(body: bytes, schema: pa.Schema) -> pa.Table:
    options = csv.ConvertOptions(column_types=schema, strings_can_be_null=True, null_values=[""])
    return csv.read_csv(io.BytesIO(body), convert_options=options)


def _asked_at(bars: pd.DataFrame) -> dict[str, datetime]:
    """When the source answered, by symbol."""
    first = bars.drop_duplicates("symbol")
    return {symbol: at.to_pydatetime() for symbol, at in zip(first["symbol"], first["fetched_at"], strict=True)}


@dataclass
class FactRecorder:
    """Records the facts of one consumed batch.

    Args:
        answered: what the batch says, as traded.
        noise: see `facts.compare`.
    """

    tables: LakeTables
    consumed: StageRecord
    answered: Facts
    noise: float
    _changes: Changes | None = None
    _great_dividends: dict[str, int] = field(default_factory=dict)
    _versions: dict[str, int | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        tables: LakeTables,
        store: ObjectStore,
        consumed: StageRecord,
        bars: pa.Table,
        noise: float,
        released_at: datetime | None = None,
    ) -> "FactRecorder":
        """The recorder of a batch whose raw CSV has the rows `bars`.

        Args:
            released_at: when a person released the answer: what is read as of a moment before then has nothing of it.

        Raises:
            ConfigurationError: the batch was consumed without its corporate actions, which its prices are adjusted for.
        """
        if consumed.actions is None:
            raise ConfigurationError(f"run {consumed.run_id} has no corporate actions: run {CONSUME.program} again")
        frame = bars.to_pandas(date_as_object=False).sort_values(facts.BAR_KEY, ignore_index=True)
        moments = {
            symbol: known_at(consumed.source, max(at, released_at or at), consumed.batch_date)
            for symbol, at in _asked_at(frame).items()
        }
        body = lineage.fetch(store, consumed.actions, f"run {CONSUME.program} again")
        actions = _read(body, _ACTIONS).to_pandas(date_as_object=False)
        actions = actions[actions["symbol"].isin(moments)].assign(
            source=str(consumed.source), batch_id=consumed.batch_id, batch_date=pd.Timestamp(consumed.batch_date)
        )
        for rows in (frame, actions):
            rows["known_at"] = pd.to_datetime(rows["symbol"].map(moments), utc=True)
        return cls(tables, consumed, facts.as_traded(frame, actions), noise)

    @property
    def namespace(self) -> str:
        """Of the tables that the batch belongs to."""
        return namespace_of(self.consumed.source)

    def prepare(self) -> None:
        """Create the tables where they are missing."""
        for table in FACT_TABLES:
            self.tables.ensure(self.namespace, table)

    def changes(self) -> Changes:
        """What the batch says that the tables do not have."""
        if self._changes is None:
            symbols = self.answered.bars["symbol"].unique().tolist()
            # A replayed bar is no version of a simulated one.
            rows = matching(symbol=symbols, source=[str(self.consumed.source)])
            self._versions = {table.name: self.tables.version(self.namespace, table) for table in FACT_TABLES}
            found = (self.tables.read(self.namespace, table, rows) for table in FACT_TABLES)
            known = Facts(*(table.to_pandas(date_as_object=False) for table in found))
            self._changes = facts.compare(self.answered, known, self.noise)
            self._great_dividends = facts.great_dividends(known, self._changes, self.noise)
        return self._changes

    def revised_shares(self) -> dict[str, float]:
        """By symbol, the share of its known sessions that the batch gives other values for."""
        parts = self.changes().symbols
        return {
            symbol: part.revised / (part.revised + part.unchanged) if part.revised > _ALWAYS else 0.0
            for symbol, part in parts.items()
        }

    def great_dividends(self) -> dict[str, int]:
        """See `facts.great_dividends`."""
        self.changes()
        return self._great_dividends

    def record(self, held: Collection[str]) -> Changes:
        """Append what is new to the tables, but for the symbols that are held; returns the changes."""

        def missing(table: IcebergTable, name: str, version: int | None) -> pa.Table:
            if version != self._versions[table.name]:
                self._changes = None  # another writer was there
            return pa.Table.from_pandas(getattr(self.changes().without(held).rows, name), preserve_index=False)

        # Actions first: a reader between the two commits adjusts older bars rightly for them.
        for table, name in ((CORPORATE_ACTIONS, "actions"), (DAILY_BARS, "bars")):
            self.tables.append(self.namespace, table, self.consumed.run_id, partial(missing, table, name))
        return self.changes().without(held)
