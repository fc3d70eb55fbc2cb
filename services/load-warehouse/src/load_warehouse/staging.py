"""The staging table of one load: filled from files by PUT and COPY INTO, gone when the load is over."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from load_warehouse.errors import AbsentError
from load_warehouse.parquet import to_file
from load_warehouse.schema import TYPES, Table
from load_warehouse.session import Session
from ticklake import logs
from ticklake.errors import IntegrityError, StageError

if TYPE_CHECKING:
    import pyarrow as pa

log = logs.get(__name__)

_PREFIX = "LOAD"


class Staging:
    """A staging table with the columns of `table`, and the internal stage that belongs to it."""

    def __init__(self, session: Session, schema: str, table: Table, run_id: str, load_id: str) -> None:
        self._session = session
        self.table = table
        # Of its own for each load, so that two loads of one run never fill the same table.
        self.name = f"{_run_prefix(table, run_id)}_{load_id[:12].upper()}"
        self._schema = f"{session.database}.{schema}"
        self.qualified = f"{self._schema}.{self.name}"
        self._stage = f"@{self._schema}.%{self.name}"
        self.files = 0
        self.rows = 0

    def create(self) -> None:
        """Make the table. It is transient: nobody will ever want yesterday's staging rows back."""
        columns = ", ".join(f"{column.name.upper()} {TYPES[column.type]}" for column in self.table.columns)
        self._session.run(f"CREATE OR REPLACE TRANSIENT TABLE {self.qualified} ({columns})")

    def put(self, rows: "pa.Table") -> None:
        """Upload `rows` as one file to the table's stage."""
        name = f"part-{self.files:05d}.parquet"
        answer = self._session.run(
            f"PUT 'file://{name}' {self._stage} AUTO_COMPRESS=FALSE OVERWRITE=TRUE", body=to_file(rows)
        )
        if answer.column("status") != ["UPLOADED"]:
            raise StageError(f"the warehouse did not take {name}: {answer.column('status')} {answer.column('message')}")
        self.files += 1
        self.rows += rows.num_rows

    def copy(self) -> None:
        """Copy the uploaded files into the table.

        Raises:
            IntegrityError: the warehouse did not load every file and every row.
        """
        answer = self._session.run(copy_into(self.qualified, self._stage, vectorized=self._session.is_snowflake))
        files = answer.column("status")
        if files != ["LOADED"] * self.files or answer.number("rows_loaded") != self.rows:
            raise IntegrityError(
                f"COPY INTO {self.name} loaded {answer.number('rows_loaded')} rows of {len(files)} files, "
                f"not {self.rows} of {self.files}: {', '.join(str(status) for status in files)}"
            )

    def drop(self) -> None:
        """Remove the table and its stage; where that fails, the run's next load does it."""
        with suppress(StageError):
            self._session.run(f"DROP TABLE IF EXISTS {self.qualified}")


def copy_into(table: str, stage: str, *, vectorized: bool) -> str:
    """The statement that loads a stage's Parquet files.

    Args:
        vectorized: by Snowflake's vectorized scanner, which the local server does not have.
    """
    scanner = " USE_VECTORIZED_SCANNER = TRUE" if vectorized else ""
    return (
        f"COPY INTO {table} FROM {stage} FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE{scanner}) "
        "MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE PURGE = TRUE"
    )


@contextmanager
def staged(session: Session, schema: str, table: Table, run_id: str, load_id: str) -> Iterator[Staging]:
    """A fresh staging table for the block.

    Raises:
        StageError: a later load of the same run removed the table, as it does with those of earlier loads.
    """
    staging = Staging(session, schema, table, run_id, load_id)
    staging.create()
    try:
        yield staging
    except AbsentError as error:
        if staging.name not in str(error):
            raise
        raise StageError(f"another load of run {run_id} began after this one and replaces it") from error
    finally:
        staging.drop()


def drop_leftovers(session: Session, there: dict[tuple[str, str], set[str]], table: Table, run_id: str) -> None:
    """Remove what earlier loads of the run left behind when they were killed; one that still runs then fails."""
    prefix = _run_prefix(table, run_id)
    for schema, name in [place for place in there if place[1].startswith(prefix)]:
        log.warning("removing the staging table of an unfinished load", table=f"{schema}.{name}")
        session.run(f"DROP TABLE IF EXISTS {session.database}.{schema}.{name}")
        del there[schema, name]


def _run_prefix(table: Table, run_id: str) -> str:
    return f"{_PREFIX}_{table.name}_{hashlib.sha256(run_id.encode()).hexdigest()[:12].upper()}"
