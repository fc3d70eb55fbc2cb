"""Loading what the lake's tables of live data have and the warehouse has not: closed windows, and bars.

Of a table that was loaded before only the data files are read that it did not have then. What they hold is new, or
takes the place of what was loaded; what only files had that are gone by now is withdrawn.
"""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from load_warehouse import audit, merge
from load_warehouse.audit import LoadResult
from load_warehouse.parquet import for_warehouse
from load_warehouse.schema import AUDIT, LIVE_BARS, WINDOWS, Table, ensure, present
from load_warehouse.session import Session
from load_warehouse.settings import LiveLoadSettings
from load_warehouse.staging import Staging, drop_leftovers, staged
from ticklake import logs, tables
from ticklake.catalog import LakeTables, matching
from ticklake.errors import IntegrityError
from ticklake.pipeline import LOAD_LIVE
from ticklake.records import Source
from ticklake.tables import NAMESPACES, IcebergTable, namespace_of
from ticklake.warehouse_tables import schema_of

if TYPE_CHECKING:
    import pyarrow as pa

log = logs.get(__name__)

_SCHEMAS = {namespace_of(source): schema_of(source) for source in Source}


@dataclass(frozen=True)
class Part:
    """A table of the lake in one namespace, and its twin in the warehouse."""

    namespace: str
    lake: IcebergTable
    table: Table

    @property
    def schema(self) -> str:
        """Of the twin."""
        return _SCHEMAS[self.namespace]

    @property
    def keys(self) -> Table:
        """A table of the twin's key alone."""
        columns = tuple(column for column in self.table.columns if column.name.upper() in self.table.key)
        return Table(f"{self.table.name}_KEYS", columns, self.table.key, "")


PARTS = tuple(
    Part(namespace, lake, table)
    for namespace in NAMESPACES
    for lake, table in ((tables.WINDOWS, WINDOWS), (tables.TICK_BARS, LIVE_BARS))
)


def load_live(settings: LiveLoadSettings, run_id: str) -> list[LoadResult]:
    """Bring the windows and bars of the settings' live flow into the warehouse; empty where nothing changed.

    Each table changes in one transaction with its audit row, after the warehouse itself found every row that was sent.

    Raises:
        IntegrityError: the warehouse holds other values than were sent, or a file is gone from the lake.
        StageError: a later load of the flow replaces this one, or lake or warehouse failed; tables that were loaded
            before stay loaded.
    """
    lake = LakeTables(settings.catalog, settings.store)
    there = [(part, snapshot) for part in PARTS if (snapshot := lake.version(part.namespace, part.lake)) is not None]
    results: list[LoadResult] = []
    if not there:
        return results
    with Session(settings.warehouse, tag=f"ticklake {LOAD_LIVE.program} {run_id}") as session:
        known = present(session)
        for part, snapshot in there:
            flow = settings.live.namespace
            result = LoadResult(part.lake.name, run_id, None, settings.code_version, snapshot=snapshot, flow=flow)
            if _Load(lake, session, part, result, flow).run(known, snapshot):
                results.append(result)
                log.info(
                    "loaded",
                    table=f"{part.schema}.{part.table.name}",
                    new=result.new,
                    unchanged=result.unchanged,
                    revised=result.revised,
                    withdrawn=result.withdrawn,
                )
    return results


class _Load:
    """What a load does to one table."""

    def __init__(self, lake: LakeTables, session: Session, part: Part, result: LoadResult, flow: str) -> None:
        self.lake, self.session, self.part, self.result, self.flow = lake, session, part, result, flow
        self.target = f"{session.database}.{part.schema}.{part.table.name}"
        self.owner = f"{LOAD_LIVE.program}/{flow}"
        """Of the staging tables: a load that was killed leaves them to the flow's next one."""

    def run(self, known: dict[tuple[str, str], set[str]], snapshot: int) -> bool:
        """Whether there was anything to do."""
        part, loaded = self.part, None
        if {(part.schema, part.table.name), (part.schema, AUDIT.name)} <= set(known):
            ensure(self.session, known, part.schema, (AUDIT,))
            loaded = audit.last_snapshot(self.session, part.schema, part.lake.name, self.flow)
        if loaded == snapshot:
            return False
        since = loaded if loaded is not None and self.lake.keeps(part.namespace, part.lake, loaded) else None
        for table in (part.table, part.keys):
            drop_leftovers(self.session, known, table, self.owner)
        with ExitStack() as stack:
            staging, gone = self._stage(stack, known, snapshot, since)
            if loaded is None and staging is None:
                return False  # another flow's rows alone
            with self.session.transaction():
                self._change(staging, gone, whole=since is None)
                audit.write(self.session, part.schema, self.result)
        return True

    def _stage(
        self, stack: ExitStack, known: dict[tuple[str, str], set[str]], snapshot: int, since: int | None
    ) -> tuple[Staging | None, Staging | None]:
        """Send the rows of files that are new since, and the keys of those that only former files have."""
        part, rows = self.part, matching(flow=[self.flow])
        key = tuple(column.name for column in part.keys.columns)
        sent: list[pa.Table] = []
        staging: Staging | None = None
        for piece in self.lake.pieces(part.namespace, part.lake, rows, snapshot, since):
            if staging is None:
                ensure(self.session, known, part.schema, (part.table, AUDIT))
                staging = stack.enter_context(self._staged(part.table))
            staging.put(for_warehouse(piece, part.table.columns))
            if since is not None:
                sent.append(piece.select(key))
        former = () if since is None else self.lake.pieces(part.namespace, part.lake, rows, since, snapshot, key)
        if staging is not None:
            staging.copy()
            self.result.staged, self.result.files = staging.rows, staging.files
        gone = _less([piece.select(key) for piece in former], sent)
        if gone is None:
            return staging, None
        keys = stack.enter_context(self._staged(part.keys))
        keys.put(for_warehouse(gone, part.keys.columns))
        keys.copy()
        return staging, keys

    def _staged(self, table: Table) -> AbstractContextManager[Staging]:
        return staged(self.session, self.part.schema, table, self.owner, self.result.load_id)

    def _change(self, staging: Staging | None, gone: Staging | None, *, whole: bool) -> None:
        table, result = self.part.table, self.result
        if staging is not None:
            merged = self.session.run(merge.mirror(self.target, staging.qualified, table))
            result.new = merged.number("number of rows inserted")
            result.revised = merged.number("number of rows updated")
            result.unchanged = result.staged - result.new - result.revised
        removed = "number of rows deleted"
        if gone is not None:
            result.withdrawn = self.session.run(merge.remove(self.target, gone.qualified, table)).number(removed)
        if whole:
            statement = merge.remove_others(self.target, staging.qualified if staging else None, table)
            result.withdrawn = self.session.run(statement, (self.flow,)).number(removed)
        if staging is not None:
            for row in self.session.rows(merge.unlike(self.target, staging.qualified, table)):
                named = " ".join(map(str, row))
                raise IntegrityError(f"{self.target}: the row {named} is not there as the lake has it")


def _less(former: "list[pa.Table]", sent: "list[pa.Table]") -> "pa.Table | None":
    """The keys that are in `former` alone; None where there are none."""
    import pyarrow as pa

    if not former:
        return None
    gone = pa.concat_tables(former)
    if sent:
        gone = gone.join(pa.concat_tables(sent), gone.column_names, join_type="left anti")
    return gone if gone.num_rows else None
