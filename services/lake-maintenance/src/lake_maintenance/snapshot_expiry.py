"""Expiry: which snapshots of a table go and which are kept for ever, and rows that have had their time."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from pydantic import BaseModel, ConfigDict, Field
from pyiceberg.table import Table
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot

from lake_maintenance.table_files import folders_of, key_of
from ticklake import logs
from ticklake.catalog import RUN_ID, LakeTables, matching
from ticklake.objects import ObjectStore
from ticklake.tables import FLOW, IcebergTable

log = logs.get(__name__)

_MONTH_END = re.compile(r"^month-\d{4}-\d{2}$")


class Retention(BaseModel):
    """Which snapshots are kept."""

    model_config = ConfigDict(frozen=True)

    days: int = Field(ge=0)
    """All of these days, 0 for always."""
    least: int = Field(ge=1)
    """The newest of the writers', whatever their age: in them a writer finds what it has committed."""
    most: int = Field(ge=1)
    """No more of the writers' than these, whatever the days: each commit rewrites the list of them."""
    month_ends: bool
    """Whether the last of each month is kept for ever, by a tag `month-YYYY-MM`."""


def expire(tables: LakeTables, namespace: str, table: IcebergTable, keep: Retention, today: date) -> int:
    """Tag month ends, let the snapshots go that `keep` does not hold on `today`, and return their number."""

    def work(there: Table) -> int:
        _tag(there, month_ends(there, today) if keep.month_ends else {}, remove=not keep.month_ends)
        gone = doomed(there, keep, today)
        if gone:
            there.maintenance.expire_snapshots().by_ids(sorted(gone)).commit()
        return len(gone)

    return tables.commit("expire snapshots of", namespace, table, work) or 0


def month_ends(there: Table, today: date) -> dict[str, int]:
    """The last snapshot of each month (UTC) that is over on `today` and had any, by the tag's name."""
    found: dict[str, int] = {}
    for snapshot in _ancestors(there):  # newest first
        made = _made(snapshot)
        if made < datetime(today.year, today.month, 1, tzinfo=UTC):
            found.setdefault(f"month-{made:%Y-%m}", snapshot.snapshot_id)
    return found


def doomed(there: Table, keep: Retention, today: date) -> set[int]:
    """The snapshots that go; never the current one, a branch's or a tag's."""
    if not keep.days:
        return set()
    since = datetime.combine(today - timedelta(days=keep.days), time(), UTC)
    kept = {ref.snapshot_id for ref in there.metadata.refs.values()}
    writers = 0
    for snapshot in _ancestors(there):
        # Maintenance's own do not count, but those between must stay: a writer goes from one to the one before.
        if writers < keep.least or (writers < keep.most and _made(snapshot) >= since):
            kept.add(snapshot.snapshot_id)
        writers += snapshot.summary is None or snapshot.summary.operation is not Operation.REPLACE
    line = {snapshot.snapshot_id for snapshot in _ancestors(there)}
    return {
        snapshot.snapshot_id
        for snapshot in there.metadata.snapshots
        if snapshot.snapshot_id not in kept and (snapshot.snapshot_id in line or _made(snapshot) < since)
    }


def expire_flows(
    tables: LakeTables, store: ObjectStore, namespace: str, table: IcebergTable, run_id: str, before: datetime
) -> list[str]:
    """Remove the rows of accelerated flows whose newest file was written before `before`, and return their names."""
    columns = [column for column, _ in table.partitions]
    if FLOW.name not in columns:
        return []

    def work(there: Table) -> list[str]:
        newest: dict[str, datetime] = {}
        written = {
            found.key: found.modified for folder in folders_of(there, store.bucket) for found in folder.files(store)
        }
        for task in there.scan().plan_files():
            flow = task.file.partition[columns.index(FLOW.name)]
            # A file that was not listed is newer than the listing.
            moment = written.get(key_of(task.file.file_path, store.bucket) or "") or datetime.max.replace(tzinfo=UTC)
            newest[flow] = max(newest.get(flow, moment), moment)
        old = sorted(flow for flow, moment in newest.items() if flow and moment < before)
        for flow in old:
            there.delete(matching(flow=[flow]), snapshot_properties={RUN_ID: run_id})
        return old

    return tables.commit("remove accelerated flows of", namespace, table, work) or []


def _tag(there: Table, ends: dict[str, int], *, remove: bool) -> None:
    tags = {name for name, ref in there.metadata.refs.items() if ref.snapshot_ref_type is SnapshotRefType.TAG}
    lacking = {name: snapshot for name, snapshot in ends.items() if name not in tags}
    surplus = [name for name in tags if remove and _MONTH_END.match(name)]
    if lacking or surplus:
        with there.manage_snapshots() as update:
            for name, snapshot in sorted(lacking.items()):
                update.create_tag(snapshot, name)
            for name in surplus:
                update.remove_tag(name)


def _ancestors(there: Table) -> Iterator[Snapshot]:
    """The current snapshot and those before it, newest first."""
    by_id = {snapshot.snapshot_id: snapshot for snapshot in there.metadata.snapshots}
    number = there.metadata.current_snapshot_id
    while number is not None and number in by_id:
        yield by_id[number]
        number = by_id[number].parent_snapshot_id


def _made(snapshot: Snapshot) -> datetime:
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
