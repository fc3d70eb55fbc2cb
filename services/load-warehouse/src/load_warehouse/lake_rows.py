"""The lake's tables of daily history, as a load or a reconciliation reads them."""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from ticklake.catalog import LakeTables, matching
from ticklake.records import Source
from ticklake.tables import DAILY_ANALYTICS, FACT_TABLES, IcebergTable, arrow_schema, namespace_of

if TYPE_CHECKING:
    import pyarrow as pa

_TABLES = (*FACT_TABLES, DAILY_ANALYTICS)


class LakeRows:
    """Rows of one source, each table at the snapshot that was current when it was first asked for."""

    def __init__(self, tables: LakeTables, source: Source) -> None:
        self._tables = tables
        self._source = source
        self._namespace = namespace_of(source)
        self._versions: dict[str, int | None] = {}

    def at(self, snapshots: Mapping[str, int]) -> "LakeRows":
        """The same tables at these snapshots; one that is not named had no rows yet."""
        earlier = LakeRows(self._tables, self._source)
        earlier._versions = {table.name: snapshots.get(table.name) for table in _TABLES}
        return earlier

    def snapshot(self, table: IcebergTable) -> int | None:
        """The id of the snapshot that is read; None where the table has none."""
        if table.name not in self._versions:
            self._versions[table.name] = self._tables.version(self._namespace, table)
        return self._versions[table.name]

    def snapshots(self) -> dict[str, int]:
        """Of the tables that were read, those that have a snapshot."""
        return {name: version for name, version in self._versions.items() if version is not None}

    def is_current(self, table: IcebergTable) -> bool:
        """Whether nothing was committed to the table since."""
        return self._tables.version(self._namespace, table) == self.snapshot(table)

    def read(self, table: IcebergTable, symbols: Collection[str], columns: tuple[str, ...] | None = None) -> "pa.Table":
        """The rows of these symbols, in no order; `columns` in their order, all of the table's where None."""
        columns = columns or tuple(column.name for column in table.columns)
        version = self.snapshot(table)
        if version is None or not symbols:
            return arrow_schema(table.columns).empty_table().select(columns)
        rows = matching(symbol=symbols, source=[str(self._source)])
        return self._tables.read(self._namespace, table, rows, columns, version).select(columns)


def groups(counts: Mapping[str, int], rows: int) -> Iterator[list[str]]:
    """The symbols in order, in groups of about `rows` rows.

    Args:
        counts: rows by symbol.
    """
    group: list[str] = []
    held = 0
    for symbol in sorted(counts):
        group.append(symbol)
        held += counts[symbol]
        if held >= rows:
            yield group
            group, held = [], 0
    if group:
        yield group
