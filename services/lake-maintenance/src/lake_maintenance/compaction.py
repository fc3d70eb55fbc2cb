"""Compaction: the many small files of a table's partition become few, with the same rows in them.

PyIceberg brings no rewrite of data files, and Spark's, a session for some seconds of work, gives up what it wrote when
another writer commits first. Here a group's files are written once and only the commit is tried again, for as long as
all files that it replaces still count as they are. The snapshot's operation is `replace`, by which every engine knows
that no row changed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.typedef import EMPTY_DICT
from pyiceberg.utils.bin_packing import ListPacker

from lake_maintenance.table_files import key_of
from ticklake import logs
from ticklake.catalog import RUN_ID, LakeTables
from ticklake.errors import IntegrityError
from ticklake.objects import ObjectStore
from ticklake.tables import IcebergTable

log = logs.get(__name__)

_SMALL = 0.75
"""Share of the target size below which a file counts as small."""


class Compaction(BaseModel):
    """What is put together."""

    model_config = ConfigDict(frozen=True)

    target_bytes: int = Field(gt=0)
    """Size of a file, and the most that is read into memory at once, as it is in Parquet."""
    least_files: int = Field(ge=2)
    """Fewer small files of a partition stay as they are."""


class _RewriteFiles(_OverwriteFiles):
    """PyIceberg knows the operation `replace` of other engines' snapshots, but makes none."""

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        summary = super()._summary(snapshot_properties)
        return Summary(Operation.REPLACE, **summary.additional_properties)


def compact(
    tables: LakeTables, store: ObjectStore, namespace: str, table: IcebergTable, run_id: str, how: Compaction
) -> int:
    """Put a table's small files together, a commit for each group, and return how many gave way.

    Raises:
        ConflictError: a group's commit kept conflicting with other writers'; the groups before it are done.
        IntegrityError: a file holds another number of rows than the table says.
    """
    done = 0
    groups = tables.commit("compact", namespace, table, lambda there: list(_groups(there, table, how)))
    for group in groups or ():
        written: list[DataFile] = []

        def replace(there: Table, old: list[FileScanTask] = group, new: list[DataFile] = written) -> bool:
            if not _untouched(there, old):
                return False
            if not new:
                new.extend(_rewritten(there, table, old))
            try:
                _commit(there, (task.file for task in old), new, run_id)
            except ValidationException as error:
                if _count(there, old):  # PyIceberg missed one, as `LakeTables.replace` says
                    raise CommitFailedException("a file was missed") from error
                return False
            return True

        if tables.commit("compact", namespace, table, replace):
            done += len(group)
        else:
            log.info("its rows were changed meanwhile", table=f"{namespace}.{table.name}", files=len(group))
            store.delete_all(key for file in written if (key := key_of(file.file_path, store.bucket)))
    return done


def _whole(there: Table) -> Iterator[FileScanTask]:
    """The files whose rows all count."""
    return (task for task in there.scan().plan_files() if not task.delete_files)


def _untouched(there: Table, old: list[FileScanTask]) -> bool:
    """Whether no engine has marked single rows of these files as deleted; none of ours does."""
    snapshot = there.current_snapshot()
    manifests = snapshot.manifests(there.io) if snapshot is not None else []
    if all(manifest.content is ManifestContent.DATA for manifest in manifests):
        return True  # without reading all of them, so that the commit is quicker than the next writer's
    return _count(there, old)


def _count(there: Table, old: list[FileScanTask]) -> bool:
    """Whether these files are in the table and all of their rows count."""
    return {task.file.file_path for task in old} <= {task.file.file_path for task in _whole(there)}


def _groups(there: Table, table: IcebergTable, how: Compaction) -> Iterator[list[FileScanTask]]:
    """Small files that are worth to become one, in the order of their rows."""
    partitions: dict[Any, list[FileScanTask]] = defaultdict(list)
    for task in _whole(there):
        if task.file.file_size_in_bytes < _SMALL * how.target_bytes and task.file.spec_id == there.spec().spec_id:
            partitions[task.file.partition].append(task)
    first = there.schema().find_field(table.sort[0]).field_id
    for tasks in partitions.values():
        # Equal bounds must not make the order one of chance.
        tasks.sort(key=lambda task: ((task.file.lower_bounds or {}).get(first, b""), task.file.file_path))
        packer: ListPacker[FileScanTask] = ListPacker(how.target_bytes, 1, False)
        for group in packer.pack(tasks, lambda task: task.file.file_size_in_bytes):
            if len(group) >= how.least_files:
                yield group


def _rewritten(there: Table, table: IcebergTable, old: list[FileScanTask]) -> Iterable[DataFile]:
    rows = ArrowScan(there.metadata, there.io, there.schema(), AlwaysTrue()).to_table(old)
    wanted = sum(task.file.record_count for task in old)
    if rows.num_rows != wanted:
        raise IntegrityError(f"{'.'.join(there.name())}: {len(old)} files hold {rows.num_rows} rows, not {wanted}")
    ordered = rows.sort_by([(name, "ascending") for name in table.sort])
    return _dataframe_to_data_files(there.metadata, ordered, there.io)


def _commit(there: Table, old: Iterable[DataFile], new: Iterable[DataFile], run_id: str) -> None:
    own = {RUN_ID: run_id}
    with (
        there.transaction() as transaction,
        _RewriteFiles(Operation.OVERWRITE, transaction, there.io, snapshot_properties=own) as rewrite,
    ):
        for file in old:
            rewrite.delete_data_file(file)
        for file in new:
            rewrite.append_data_file(file)
