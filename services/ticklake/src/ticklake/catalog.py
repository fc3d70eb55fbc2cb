"""The catalog of the Iceberg tables: opened by settings, tables created from `ticklake.tables`, commits made once."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar, cast
from urllib.parse import quote

import pyarrow as pa
from psycopg2.errors import UndefinedTable
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import (
    CommitFailedException,
    ForbiddenError,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    RESTError,
    TableAlreadyExistsError,
    UnauthorizedError,
    ValidationException,
)
from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    GreaterThanOrEqual,
    In,
    LessThan,
    LessThanOrEqual,
    Or,
    Reference,
)
from pyiceberg.expressions.visitors import bind
from pyiceberg.io.pyarrow import ArrowScan, PyArrowFileIO, expression_to_pyarrow
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import DataScan, FileScanTask, Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    BooleanType,
    DateType,
    DoubleType,
    IntegerType,
    LongType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestamptzType,
)
from requests import RequestException
from sqlalchemy.exc import DBAPIError, OperationalError

from ticklake.errors import ConfigurationError, ConflictError, CredentialsError, IntegrityError, StageError
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import CATALOG, IcebergTable, arrow_schema

T = TypeVar("T")

RUN_ID = "ticklake.run-id"
"""Property of a snapshot: the run that made it."""
SCHEMA_VERSION = "ticklake.schema-version"
"""Property of a table: the version of `ticklake.tables` that made it."""

_VERSION = 1
_ATTEMPTS = 10
_CONFLICT_SECONDS = 0.2
_LISTED = 20
"""Values of a column that a scan looks for one by one."""

_TYPES: dict[str, PrimitiveType] = {
    "string": StringType(),
    "date": DateType(),
    "timestamp": TimestamptzType(),
    "double": DoubleType(),
    "bigint": LongType(),
    "int": IntegerType(),
    "boolean": BooleanType(),
}

_PROPERTIES = {
    SCHEMA_VERSION: str(_VERSION),
    "format-version": "2",
    # A conflict comes back to the caller, who looks whether the other writer has made the same commit.
    "commit.retry.num-retries": "0",
    "write.parquet.compression-codec": "zstd",
    # Prices hardly repeat: Spark would build a greater dictionary of them and throw it away, two fifths of its writing.
    "write.parquet.dict-size-bytes": "4096",
    "write.metadata.delete-after-commit.enabled": "true",
    # Of columns that are filtered by; those of fifty others would make up most of what a reader plans with.
    "write.metadata.metrics.default": "none",
    "write.metadata.previous-versions-max": "20",
}


class StoreFileIO(PyArrowFileIO):
    """Arrow's S3 with the store's own certificate authority, which PyIceberg has no property for."""

    def _initialize_s3_fs(self, netloc: str | None) -> Any:  # noqa: ARG002 - PyIceberg's signature
        from pyarrow.fs import S3FileSystem

        given = {
            "endpoint_override": "s3.endpoint",
            "access_key": "s3.access-key-id",
            "tls_ca_file_path": "s3.ca-file",
            "secret_key": "s3.secret-access-key",
            "region": "s3.region",
        }
        options = {name: self.properties[key] for name, key in given.items() if self.properties.get(key)}
        timeout = float(self.properties["s3.request-timeout"])
        return S3FileSystem(
            **options,
            connect_timeout=timeout,
            request_timeout=timeout,
            force_virtual_addressing="endpoint_override" not in options,
        )


class LakeTables:
    """The tables of one catalog.

    Every method raises `CredentialsError` where the catalog rejects the sign-in, `ConfigurationError` where catalog or
    store denies access or a table is not as `ticklake.tables` has it, `IntegrityError` where a file of the table is
    gone, and `StageError` where one of the two is out of reach or fails.
    """

    def __init__(self, settings: CatalogSettings, store: StoreSettings) -> None:
        """Keep the settings; nothing is asked for before the first call."""
        self._settings = settings
        self._bucket = store.bucket
        self._properties = _catalog_properties(settings) | _file_properties(store)
        self._opened: Catalog | None = None

    @property
    def where(self) -> str:
        """The catalog's address, without credentials."""
        return self._settings.uri

    def _catalog(self) -> Catalog:
        if self._opened is None:
            self._opened = load_catalog(CATALOG, **self._properties)
        return self._opened

    def ensure(self, namespace: str, table: IcebergTable) -> None:
        """Create `table` in `namespace` where missing, and add the nullable columns that one there lacks."""
        with self._errors(f"create {namespace}.{table.name}"):
            catalog = self._catalog()
            if isinstance(catalog, SqlCatalog):
                catalog.create_tables()  # of the catalog itself, where missing
                if catalog.engine.dialect.name == "sqlite":
                    # A property of the file: with it one who reads does not keep another from writing.
                    with catalog.engine.connect() as connection:
                        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            try:
                there = catalog.load_table((namespace, table.name))
            except (NoSuchTableError, NoSuchNamespaceError):
                self._create(namespace, table)
                return
            _check(there, table)
            lacking = [column for column in table.columns if column.name not in there.schema().column_names]
            if lacking:
                with there.update_schema() as update:
                    for column in lacking:
                        update.add_column(column.name, _TYPES[column.type], column.comment)

    def _create(self, namespace: str, table: IcebergTable) -> None:
        fields = (
            NestedField(number, column.name, _TYPES[column.type], required=not column.nullable, doc=column.comment)
            for number, column in enumerate(table.columns, start=1)
        )
        # Another writer may create them at the same time.
        with suppress(NamespaceAlreadyExistsError):
            self._catalog().create_namespace(namespace)
        with suppress(TableAlreadyExistsError):
            self._catalog().create_table(
                (namespace, table.name),
                Schema(*fields),
                partition_spec=_partitions(table),
                location=f"s3a://{self._bucket}/{self._settings.location}/{namespace}/{table.name}",
                properties=_PROPERTIES
                | {"comment": table.comment}
                | {f"write.metadata.metrics.column.{name}": "full" for name in table.bounded}
                | ({"write.data.path": f"s3a://{self._bucket}/{table.folder}"} if table.folder else {}),
            )

    def read(
        self,
        namespace: str,
        table: IcebergTable,
        rows: BooleanExpression | None = None,
        columns: tuple[str, ...] = ("*",),
        snapshot: int | None = None,
    ) -> pa.Table:
        """The rows of a table's snapshot, in no order; none where there is no such table yet.

        Args:
            snapshot: an id; None for the current one.

        Raises:
            IntegrityError: there is no such snapshot, or no longer.
        """
        with self._errors(f"read {namespace}.{table.name}"):
            there = self._load(namespace, table)
            if there is None:
                return arrow_schema(table.columns).empty_table()
            scan = _scan(there, rows, columns, snapshot)
            return _reader(there, scan, rows)(scan.plan_files())

    def files(
        self, namespace: str, table: IcebergTable, rows: BooleanExpression | None = None, snapshot: int | None = None
    ) -> list[dict[str, Any]]:
        """What a snapshot knows of each data file that can hold matching rows, without opening one.

        Args:
            rows, snapshot: as for `read`, which says what is raised too.

        Returns:
            `rows`, the file's number of them, and for each of the table's `bounded` columns the pair of its least and
            greatest value, as text for columns that are neither numbers nor times.
        """
        with self._errors(f"read {namespace}.{table.name}"):
            there = self._load(namespace, table)
            if there is None:
                return []
            kinds = {column.name: _TYPES[column.type] for column in table.columns}
            fields = [(name, kinds[name], there.schema().find_field(name).field_id) for name in table.bounded]
            found = (task.file for task in _scan(there, rows, ("*",), snapshot).plan_files())
            return [
                {"rows": file.record_count}
                | {
                    name: tuple(from_bytes(kind, bounds[number]) for bounds in (file.lower_bounds, file.upper_bounds))
                    for name, kind, number in fields
                }
                for file in found
            ]

    def pieces(
        self,
        namespace: str,
        table: IcebergTable,
        rows: BooleanExpression,
        snapshot: int,
        without: int | None = None,
        columns: tuple[str, ...] = ("*",),
    ) -> Iterator[pa.Table]:
        """The matching rows of a snapshot, one data file's at a time.

        Args:
            without: leave out the files that this snapshot has as well, so what comes holds all that differs.

        Raises:
            IntegrityError: there is no such snapshot, or no longer.
        """
        with self._errors(f"read {namespace}.{table.name}"):
            there = self._catalog().load_table((namespace, table.name))
            _check(there, table)
            scan = _scan(there, rows, columns, snapshot)
            known = set(map(_identity, _scan(there, rows, columns, without).plan_files())) if without else set()
            read = _reader(there, scan, rows)
            for task in scan.plan_files():
                if _identity(task) not in known and (found := read([task])).num_rows:
                    yield found

    def keeps(self, namespace: str, table: IcebergTable, snapshot: int) -> bool:
        """Whether the table still has a snapshot of this id."""
        with self._errors(f"read {namespace}.{table.name}"):
            there = self._load(namespace, table)
            return there is not None and there.snapshot_by_id(snapshot) is not None

    def version(self, namespace: str, table: IcebergTable) -> int | None:
        """The id of a table's current snapshot; None where it has none yet."""
        with self._errors(f"read {namespace}.{table.name}"):
            there = self._load(namespace, table)
            return there.metadata.current_snapshot_id if there is not None else None

    def properties(self, namespace: str, table: IcebergTable, snapshot: int | None = None) -> list[dict[str, str]]:
        """The properties of a table's snapshot and of those before it, newest first, as far as they are kept."""
        with self._errors(f"read {namespace}.{table.name}"):
            there = self._load(namespace, table)
            if there is None:
                return []
            found = []
            at = there.metadata.current_snapshot_id if snapshot is None else snapshot
            while at is not None and (part := there.snapshot_by_id(at)) is not None:
                found.append(dict(part.summary.additional_properties) if part.summary else {})
                at = part.parent_snapshot_id
            return found

    def _load(self, namespace: str, table: IcebergTable) -> Table | None:
        try:
            there = self._catalog().load_table((namespace, table.name))
        except (NoSuchTableError, NoSuchNamespaceError):
            return None
        except DBAPIError as error:
            if _empty(error):
                return None
            raise
        _check(there, table)
        return there

    def append(
        self,
        namespace: str,
        table: IcebergTable,
        run_id: str,
        missing: Callable[[int | None], pa.Table],
        properties: Mapping[str, str] | None = None,
    ) -> int:
        """Append the rows of `missing` in one commit, and return their number; none for no rows.

        A commit fails where the table changed since the snapshot that `missing` is called with, so what held for that
        one still does when the rows are added: of two writers of the same run the second finds nothing missing.

        Args:
            run_id: goes into the snapshot's properties.
            missing: the rows that the table's snapshot of this id lacks; called again after a conflict.
            properties: further ones of the snapshot, which is then made for no rows too.
        """
        with self._errors(f"append to {namespace}.{table.name}"):
            for attempt in range(_ATTEMPTS):
                there = self._catalog().load_table((namespace, table.name))
                _check(there, table)
                rows = missing(there.metadata.current_snapshot_id)
                if not rows.num_rows and not properties:
                    return 0
                rows = rows.select([column.name for column in table.columns]).cast(arrow_schema(table.columns))
                ordered = rows.sort_by([(name, "ascending") for name in table.sort])
                try:
                    there.append(ordered, snapshot_properties={RUN_ID: run_id, **(properties or {})})
                except CommitFailedException:
                    time.sleep(_CONFLICT_SECONDS * (attempt + 1))
                else:
                    return int(rows.num_rows)
            raise ConflictError(f"{namespace}.{table.name}: {_ATTEMPTS} commits met another writer's; try again")

    def replace(
        self,
        namespace: str,
        table: IcebergTable,
        run_id: str,
        rows: pa.Table,
        where: BooleanExpression,
        properties: Mapping[str, str] | None = None,
        check: Callable[[int | None], None] = lambda _: None,
    ) -> None:
        """Put `rows` in the place of those that match `where`, in one commit.

        Args:
            run_id: goes into the snapshots' properties.
            properties: further ones.
            check: called with the id of the snapshot that the commit follows; what it raises keeps the table as it is.

        Raises:
            ConflictError: another writer committed meanwhile; maintenance, which changes no row, is none.
        """
        with self._errors(f"replace rows of {namespace}.{table.name}"):
            rows = rows.select([column.name for column in table.columns]).cast(arrow_schema(table.columns))
            ordered = rows.sort_by([(name, "ascending") for name in table.sort])
            there = self._catalog().load_table((namespace, table.name))
            for attempt in range(_ATTEMPTS):
                _check(there, table)
                base = there.metadata.current_snapshot_id
                check(base)
                try:
                    with warnings.catch_warnings():
                        warnings.filterwarnings("ignore", "Delete operation did not match any records")
                        there.overwrite(ordered, where, snapshot_properties={RUN_ID: run_id, **(properties or {})})
                # PyIceberg 0.12 looks for the files to replace in several threads with one evaluator of manifests,
                # which holds the bounds of whichever came last; it sees that it missed a file and commits nothing.
                except (CommitFailedException, ValidationException) as error:
                    time.sleep(_CONFLICT_SECONDS * (attempt + 1))
                    there = self._catalog().load_table((namespace, table.name))
                    if not _same_rows(there, base):
                        line = f"{namespace}.{table.name} was changed by another writer; try again"
                        raise ConflictError(line) from error
                else:
                    return
            raise ConflictError(f"{namespace}.{table.name}: {_ATTEMPTS} commits met another writer's; try again")

    def commit(self, action: str, namespace: str, table: IcebergTable, work: Callable[[Table], T]) -> T | None:
        """Have `work` commit to PyIceberg's own table what it likes; None where there is no such table yet.

        Args:
            action: what it does with the table, for an error's line.
            work: called again with the table as it is then after a conflict with another writer's commit.

        Raises:
            ConflictError: there was no end to conflicts.
        """
        with self._errors(f"{action} {namespace}.{table.name}"):
            for attempt in range(_ATTEMPTS):
                there = self._load(namespace, table)
                if there is None:
                    return None
                try:
                    return work(there)
                except CommitFailedException:
                    time.sleep(_CONFLICT_SECONDS * (attempt + 1))
            raise ConflictError(f"{namespace}.{table.name}: {_ATTEMPTS} commits met another writer's; try again")

    def errors(self, action: str) -> AbstractContextManager[None]:
        """A block of calls of PyIceberg's own whose errors are turned into those of this class.

        Args:
            action: what the block does, for an error's line.
        """
        return self._errors(action)

    def everything(self) -> list[Table]:
        """Every table of the catalog, whoever made it."""
        with self._errors("list the tables"):
            catalog = self._catalog()
            found: list[Table] = []
            try:
                pending = list(catalog.list_namespaces())
            except DBAPIError as error:
                if _empty(error):
                    return []
                raise
            while pending:
                namespace = pending.pop()
                pending.extend(catalog.list_namespaces(namespace))
                found.extend(catalog.load_table(name) for name in catalog.list_tables(namespace))
            return found

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        where = f"the catalog at {self.where}"
        try:
            yield
        except (UnauthorizedError, ForbiddenError) as error:
            raise ConfigurationError(
                f"{where} denies permission to {action}: check TICKLAKE_CATALOG_… and its rights"
            ) from error
        except DBAPIError as error:
            raise _database_error(error, where, action) from error
        except (RESTError, RequestException) as error:
            raise StageError(f"{where} failed to {action}: {_line(error)}") from error
        except FileNotFoundError as error:
            raise IntegrityError(f"cannot {action}: a file is gone from the lake ({_line(error)})") from error
        except (OSError, pa.ArrowException) as error:
            raise _file_error(error, action) from error


def _same_rows(there: Table, base: int | None) -> bool:
    """Whether all that was committed since the snapshot `base` only put the same rows into other files."""
    snapshot = there.current_snapshot()
    while snapshot is not None and snapshot.snapshot_id != base:
        if snapshot.summary is None or snapshot.summary.operation is not Operation.REPLACE:
            return False
        snapshot = there.snapshot_by_id(snapshot.parent_snapshot_id or 0)
    return base is None or snapshot is not None


def _scan(there: Table, rows: BooleanExpression | None, columns: tuple[str, ...], snapshot: int | None) -> DataScan:
    if snapshot is not None and there.snapshot_by_id(snapshot) is None:
        raise IntegrityError(f"table {'.'.join(there.name())} has no snapshot {snapshot} (any more)")
    wide = _widened(rows or AlwaysTrue(), _long_lists(rows, columns))
    return there.scan(wide, columns, snapshot_id=snapshot)


def _reader(
    there: Table, scan: DataScan, rows: BooleanExpression | None
) -> Callable[[Iterable[FileScanTask]], pa.Table]:
    """Gives what some files have of `rows`, for which `scan` is; its filters are built once for all files."""
    reader = ArrowScan(there.metadata, there.io, scan.projection(), scan.row_filter)
    lists = _long_lists(rows, scan.selected_fields)
    listed = expression_to_pyarrow(bind(there.schema(), matching(*lists), case_sensitive=True)) if lists else None

    def read(tasks: Iterable[FileScanTask]) -> pa.Table:
        found = reader.to_table(tasks)
        if listed is not None:
            found = found.filter(listed)
        return found.cast(pa.schema([_plain(field) for field in found.schema]))

    return read


def _long_lists(rows: BooleanExpression | None, columns: tuple[str, ...]) -> list[In]:
    """The long lists of values in `rows`, as far as they are of columns that are read: PyIceberg would take each apart
    again for every file, so a scan is for their range, and `_reader` takes those of the list.
    """
    if isinstance(rows, And):
        return _long_lists(rows.left, columns) + _long_lists(rows.right, columns)
    if isinstance(rows, In) and len(rows.literals) > _LISTED:
        return [rows] if columns == ("*",) or cast(Reference, rows.term).name in columns else []
    return []


def _widened(rows: BooleanExpression, lists: list[In]) -> BooleanExpression:
    """`rows` with the ranges of `lists` in their place."""
    least: Any = GreaterThanOrEqual
    most: Any = LessThanOrEqual
    if isinstance(rows, And):
        return matching(_widened(rows.left, lists), _widened(rows.right, lists))
    if isinstance(rows, In) and rows in lists:
        values = [literal.value for literal in rows.literals]
        return matching(least(rows.term, min(values)), most(rows.term, max(values)))
    return rows


def _identity(task: FileScanTask) -> tuple[str, ...]:
    # The same file has other rows once a file of deletes goes with it.
    return task.file.file_path, *sorted(deletes.file_path for deletes in task.delete_files)


def _partitions(table: IcebergTable) -> PartitionSpec:
    places = {column.name: number for number, column in enumerate(table.columns, start=1)}
    # Numbers from 1000 on are what Iceberg gives to partition fields.
    return PartitionSpec(
        *(
            PartitionField(source_id=places[column], field_id=1000 + number, transform=IdentityTransform(), name=folder)
            for number, (column, folder) in enumerate(table.partitions)
        )
    )


def matching(*further: BooleanExpression, **columns: Iterable[str | int]) -> BooleanExpression:
    """A filter for `LakeTables.read`: rows whose columns have one of the values given for each, and match `further`."""
    # mypy's plugin of pydantic does not know the constructors that these classes have.
    both: Any = And
    value_in: Any = In
    found: BooleanExpression = AlwaysTrue()
    for each in (*further, *(value_in(name, set(values)) for name, values in columns.items())):
        found = both(found, each)
    return found


def between(column: str, start: datetime | None, end: datetime | None) -> BooleanExpression:
    """A filter: rows whose time in `column` is `start` or later, and before `end`; None is no limit."""
    least: Any = GreaterThanOrEqual
    less: Any = LessThan
    limits = ((least, start), (less, end))
    return matching(*(kind(column, limit.isoformat()) for kind, limit in limits if limit is not None))


def from_on(column: str, value: int) -> BooleanExpression:
    """A filter: rows whose number in `column` is `value` or greater."""
    least: Any = GreaterThanOrEqual
    found: BooleanExpression = least(column, value)
    return found


def one_of(filters: Iterable[BooleanExpression]) -> BooleanExpression:
    """A filter: rows that match any of `filters`; none for no filter."""
    either: Any = Or
    found = list(filters)
    joined: BooleanExpression = either(*found) if len(found) > 1 else found[0] if found else AlwaysFalse()
    return joined


def _plain(field: pa.Field) -> pa.Field:
    # PyIceberg reads text as large_string.
    return field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field


def _check(there: Table, table: IcebergTable) -> None:
    """Reject a table that is not the one described.

    Raises:
        ConfigurationError: a newer version made it, or someone changed it.
    """
    name = ".".join(there.name())
    version = there.properties.get(SCHEMA_VERSION)
    if version is None or not version.isdigit():
        raise ConfigurationError(f"table {name} was not made by ticklake: it lacks the property {SCHEMA_VERSION}")
    if int(version) > _VERSION:
        raise ConfigurationError(f"table {name} has schema version {version}, this code knows {_VERSION}: update it")
    fields = {field.name: field for field in there.schema().fields}
    for column in table.columns:
        field = fields.get(column.name)
        if field is None and not column.nullable:
            raise ConfigurationError(f"table {name} lacks the column {column.name}: someone changed it")
        if field is not None and field.field_type != _TYPES[column.type]:
            kinds = f"{field.field_type}, not {_TYPES[column.type]}"
            raise ConfigurationError(f"table {name}: column {column.name} is {kinds}: someone changed it")
    known = {column.name for column in table.columns}
    if odd := [field.name for field in fields.values() if field.required and field.name not in known]:
        raise ConfigurationError(f"table {name} requires the column {odd[0]}, which this code does not know")


# Opening a catalog creates nothing: who only reads may not, and a writer does it in `LakeTables.ensure`.
_READ_ONLY = {"init_catalog_tables": "false", "pool_pre_ping": "true"}


def _catalog_properties(settings: CatalogSettings) -> dict[str, str]:
    if settings.uri.startswith("http"):
        return settings.rest_properties()
    if settings.uri.startswith("sqlite:"):
        return {"type": "sql", "uri": settings.uri, **_READ_ONLY}
    user = quote(settings.user or "", safe="")
    if settings.password is not None:
        user += f":{quote(settings.password.get_secret_value(), safe='')}"
    return {"type": "sql", "uri": f"postgresql+psycopg2://{user}@{settings.database()}", **_READ_ONLY}


def _file_properties(store: StoreSettings) -> dict[str, str]:
    given = {
        "s3.endpoint": store.endpoint,
        "s3.region": store.region,
        "s3.request-timeout": str(store.timeout_seconds),
        "s3.access-key-id": store.access_key and store.access_key.get_secret_value(),
        "s3.secret-access-key": store.secret_key and store.secret_key.get_secret_value(),
        "s3.ca-file": store.ca_file and str(store.ca_file),
    }
    return {
        "py-io-impl": f"{StoreFileIO.__module__}.{StoreFileIO.__qualname__}",
        **{name: value for name, value in given.items() if value},
    }


_SIGN_IN = ("password authentication failed", "no password supplied", 'role "', "pg_hba")


def _database_error(error: DBAPIError, where: str, action: str) -> StageError:
    text = _line(error.orig or error)
    if "permission denied" in text or "readonly database" in text:
        return ConfigurationError(f"{where} denies permission to {action}: the user has no right to ({text})")
    if isinstance(error, OperationalError) and any(word in text for word in _SIGN_IN):
        return CredentialsError(
            f"{where} rejects the sign-in: check TICKLAKE_CATALOG_USER and TICKLAKE_CATALOG_PASSWORD"
        )
    if isinstance(error, OperationalError):
        return StageError(f"{where} does not answer ({action}): {text}")
    return StageError(f"{where} failed to {action}: {text}")


def _file_error(error: Exception, action: str) -> StageError:
    text = _line(error)
    # Not any 403: the text has the file's name, and its UUID may hold one.
    if "ACCESS_DENIED" in text or "HTTP status 403" in text:
        return ConfigurationError(
            f"the store denies permission to {action}: check the rights of TICKLAKE_STORE_ACCESS_KEY"
        )
    if "NETWORK_CONNECTION" in text:
        return StageError(f"the store does not answer ({action}): {text}")
    return StageError(f"the store failed to {action}: {text}")


def _empty(error: DBAPIError) -> bool:
    """Whether a SQL catalog has no tables of its own yet, which its first writer makes."""
    return isinstance(error.orig, UndefinedTable) or "no such table" in str(error.orig)


def _line(error: BaseException) -> str:
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    return "; ".join(line for line in lines if line)[:300]
