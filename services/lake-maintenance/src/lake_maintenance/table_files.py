"""Which objects of the lake are files of its tables: those that some table names, and those that none does."""

import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table

from ticklake.catalog import LakeTables
from ticklake.errors import IntegrityError
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.tables import ALL_TABLES, NAMESPACES

_READERS = 16
_OURS = {(namespace, table.name) for namespace in NAMESPACES for table in ALL_TABLES}
_VERSION = re.compile(r"/metadata/(\d+)-[0-9a-f-]{36}\.metadata\.json$")


@dataclass(frozen=True)
class Folder:
    """A prefix with a table's files; other tables may have theirs there too."""

    prefix: str
    deep: bool = True
    """Whether what lies in folders below it is meant too."""

    def files(self, store: ObjectStore) -> Iterator[ObjectInfo]:
        """All objects in it but the empty ones that represent folders."""
        for found in store.list_objects(self.prefix):
            deeper = "/" in found.key.removeprefix(self.prefix)
            if not found.key.endswith("/") and (self.deep or not deeper):
                yield found


def key_of(location: str, bucket: str) -> str | None:
    """The object's key of a file's location; None where it lies in another bucket."""
    there, _, key = location.partition("://")[2].partition("/")
    return key if there == bucket and key else None


def folders_of(there: Table, bucket: str) -> set[Folder]:
    """Where a table's own files lie.

    A prefix outside of the table's location, which is not the table's alone, is narrowed to the folders of its first
    partition column.
    """
    places, home = there.location_provider(), f"{there.location().rstrip('/')}/"
    found = set()
    for path in (f"{places.metadata_path}/", f"{places.data_path}/"):
        key = key_of(path, bucket)
        if key is None:
            continue
        if path.startswith(home) and path != home:
            found.add(Folder(key))
            continue
        for spec in there.metadata.partition_specs:
            found.add(Folder(f"{key}{spec.fields[0].name}=") if spec.fields else Folder(key, deep=False))
    return found


def orphans(tables: LakeTables, store: ObjectStore, before: datetime) -> list[ObjectInfo]:
    """Files in the folders of our tables, written before `before`, that no snapshot of any table names.

    Raises:
        IntegrityError: the catalog is not the one of these files: one that a table names is not there, or there are
            later versions of a table than it knows.
    """
    folders = {folder for there in tables.everything() if _ours(there) for folder in folders_of(there, store.bucket)}
    # Before the tables are read, so that what is committed meanwhile is known.
    listed = {found.key: found for folder in folders for found in folder.files(store)}
    known: set[str] = set()
    for there in tables.everything():
        homes = (there.location(), there.location_provider().data_path)
        if not _keys(homes, store.bucket):
            continue  # of another bucket, whose files we may have no right to read
        with tables.errors(f"read the files of {'.'.join(there.name())}"):
            named, live = _files(there, store.bucket)
        known |= named
        if _ours(there):
            _check(there, store, listed, live)
    return [
        found
        for key, found in sorted(listed.items())
        if key not in known and found.modified is not None and found.modified < before
    ]


def _ours(there: Table) -> bool:
    return there.name() in _OURS


def _files(there: Table, bucket: str) -> tuple[set[str], set[str]]:
    """The keys of all files that a table's metadata leads to, and of the data files of its current snapshot."""
    metadata = there.metadata
    locations = {there.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    locations |= {each.statistics_path for each in (*metadata.statistics, *metadata.partition_statistics)}
    locations |= {snapshot.manifest_list for snapshot in metadata.snapshots}

    def paths(manifest: ManifestFile) -> set[str]:
        return {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(there.io, discard_deleted=True)}

    with ThreadPoolExecutor(_READERS) as pool:
        lists = dict(
            zip(
                (snapshot.snapshot_id for snapshot in metadata.snapshots),
                pool.map(lambda snapshot: snapshot.manifests(there.io), metadata.snapshots),
                strict=True,
            )
        )
        manifests = {manifest.manifest_path: manifest for each in lists.values() for manifest in each}
        entries = dict(zip(manifests, pool.map(paths, manifests.values()), strict=True))
    locations |= manifests.keys() | set().union(*entries.values())
    now = lists[metadata.current_snapshot_id] if metadata.current_snapshot_id is not None else []
    live = set().union(*(entries[manifest.manifest_path] for manifest in now))
    return _keys(locations, bucket), _keys(live, bucket)


def _keys(locations: Iterable[str], bucket: str) -> set[str]:
    return {key for location in locations if (key := key_of(location, bucket))}


def _check(there: Table, store: ObjectStore, listed: dict[str, ObjectInfo], live: set[str]) -> None:
    """Raise an error if the catalog does not fit the files that are judged by it."""
    name = ".".join(there.name())
    for key in sorted(live - listed.keys()):
        if store.metadata(key) is None:
            raise IntegrityError(f"{key} of table {name} is gone from the lake: no orphans are removed")
    own = _VERSION.search(there.metadata_location)
    home = key_of(f"{there.location_provider().metadata_path}/", store.bucket)
    if own is None or home is None:
        return
    known = int(own[1])
    versions = {key: int(found[1]) for key in listed if key.startswith(home) and (found := _VERSION.search(key))}
    # A commit that failed leaves a file of the version after the current one.
    later = sorted((key for key, version in versions.items() if version > known + 1), key=versions.__getitem__)
    for key in reversed(later):
        # An earlier table of the same name may have left more.
        if json.loads(store.get(key)).get("table-uuid") == str(there.metadata.table_uuid):
            raise IntegrityError(
                f"the lake has version {versions[key]} of table {name}, the catalog knows {known}: was it restored "
                "from a backup? No orphans are removed"
            )
