"""maintain-tables: keeps the lake's tables small and quick beside their writers, and changes no row that counts.

First go the files that no snapshot names. Then, table by table, rows of accelerated flows that have had their time,
small files that give way to larger ones, and snapshots past their age. The files of what went now are removed by the
next run, so that who reads an older snapshot meanwhile ends in peace.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from pydantic import Field, ValidationInfo, field_validator
from pyiceberg.table import Table

from lake_maintenance.compaction import Compaction, compact
from lake_maintenance.snapshot_expiry import Retention, expire, expire_flows
from lake_maintenance.table_files import orphans
from ticklake import logs, maintenance
from ticklake.catalog import LakeTables
from ticklake.errors import ConflictError, StageError
from ticklake.maintenance import Maintenance, TableMaintenance, TableSize
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, StageSettings, StoreSettings
from ticklake.tables import ALL_TABLES, NAMESPACES, IcebergTable

log = logs.get(__name__)

_DAY = timedelta(days=1)


class MaintenanceSettings(StageSettings):
    """All settings of maintain-tables (`TICKLAKE_…`)."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    catalog: CatalogSettings = Field(default_factory=CatalogSettings)
    keep_snapshots_days: int = Field(default=90, ge=0)
    """Days for which every snapshot is kept, 0 for always."""
    keep_snapshots_least: int = Field(default=100, ge=10)
    """The newest commits of a table that stay readable whatever their age."""
    keep_snapshots_most: int = Field(default=2000, ge=10)
    """More commits of a table than these do not, whatever the days: each commit rewrites the list of them."""
    keep_month_ends: bool = True
    """Whether the last snapshot of each month is kept for ever."""
    keep_orphans_days: int = Field(default=3, ge=1)
    """Age of a file that no snapshot names before it is removed: a writer may be about to commit it."""
    keep_accelerated_days: int = Field(default=7, ge=0)
    """As for apply-retention: accelerated flows, by their newest file; 0 for always."""
    compact_target_mb: int = Field(default=64, ge=1, le=1024)
    """Size of the files that small ones are put together to; several times that in memory."""
    compact_least_files: int = Field(default=5, ge=2)
    """Fewer small files of a partition stay as they are."""

    @field_validator("keep_snapshots_most")
    @classmethod
    def _no_fewer_than_the_least(cls, most: int, info: ValidationInfo) -> int:
        least = info.data.get("keep_snapshots_least", most)
        if most < least:
            raise ValueError(f"must be at least {least}, what TICKLAKE_KEEP_SNAPSHOTS_LEAST says")
        return most


@dataclass(frozen=True)
class _Work:
    """One run of maintenance."""

    settings: MaintenanceSettings
    tables: LakeTables
    store: ObjectStore
    run_id: str
    today: date

    def before(self, days: int) -> datetime:
        """The moment `days` before the start of the day, and a day ago at the latest."""
        return min(datetime.combine(self.today, time(), UTC) - days * _DAY, datetime.now(UTC) - _DAY)

    def each(self) -> Iterator[tuple[str, IcebergTable]]:
        return ((namespace, table) for namespace in NAMESPACES for table in ALL_TABLES)

    def one(self, namespace: str, table: IcebergTable) -> TableMaintenance | None:
        """See to one table; None where it does not exist."""
        name, settings = f"{namespace}.{table.name}", self.settings
        before = self._size(namespace, table)
        if before is None:
            return None
        flows: list[str] = []
        if settings.keep_accelerated_days:
            moment = self.before(settings.keep_accelerated_days)
            flows = expire_flows(self.tables, self.store, namespace, table, self.run_id, moment)
        how = Compaction(
            target_bytes=settings.compact_target_mb * 1024 * 1024, least_files=settings.compact_least_files
        )
        compacted = compact(self.tables, self.store, namespace, table, self.run_id, how)
        keep = Retention(
            days=settings.keep_snapshots_days,
            least=settings.keep_snapshots_least,
            most=settings.keep_snapshots_most,
            month_ends=settings.keep_month_ends,
        )
        expired = expire(self.tables, namespace, table, keep, self.today)
        after = self._size(namespace, table) or before
        log.info("maintained", table=name, flows=flows, compacted=compacted, expired=expired, files=after.files)
        return TableMaintenance(table=name, before=before, after=after, compacted=compacted, expired=expired)

    def _size(self, namespace: str, table: IcebergTable) -> TableSize | None:
        return self.tables.commit("look at", namespace, table, _size)


def _size(there: Table) -> TableSize:
    snapshot = there.current_snapshot()
    summary = snapshot.summary if snapshot is not None and snapshot.summary is not None else None
    files, size = (int((summary and summary[name]) or 0) for name in ("total-data-files", "total-files-size"))
    return TableSize(files=files, size=size, snapshots=len(there.metadata.snapshots))


def maintain(settings: MaintenanceSettings, run_id: str, today: date) -> Maintenance:
    """Maintain all tables and store what was done.

    Every step is a commit of its own that changes no row that counts, so a run that fails half-way has done the half,
    and the next goes on.

    Raises:
        StageError: a table could not be maintained, after all others were, or catalog or store are away.
    """
    started_at = datetime.now(UTC)
    work = _Work(settings, LakeTables(settings.catalog, settings.store), ObjectStore(settings.store), run_id, today)
    failed: list[StageError] = []
    done, gone = [], []
    try:
        gone = orphans(work.tables, work.store, work.before(settings.keep_orphans_days))
        work.store.delete_all(found.key for found in gone)
        log.info("removed", what="orphans", objects=len(gone), older_than_days=settings.keep_orphans_days)
    except StageError as error:
        _go_on(error, failed)
    for namespace, table in work.each():
        try:
            if (found := work.one(namespace, table)) is not None:
                done.append(found)
        except StageError as error:
            _go_on(error, failed)
    if failed:
        raise failed[0]
    record = Maintenance(
        run_id=run_id,
        date=today,
        tables=tuple(done),
        orphans=len(gone),
        orphan_size=sum(found.size for found in gone),
        started_at=started_at,
        finished_at=datetime.now(UTC),
        code_version=settings.code_version,
    )
    maintenance.write(work.store, record)
    return record


def _go_on(error: StageError, failed: list[StageError]) -> None:
    """Note what concerns one table alone; raise what will stop the others too."""
    if not error.final and not isinstance(error, ConflictError):
        raise error
    log.warning("left for a person", reason=str(error))
    failed.append(error)
