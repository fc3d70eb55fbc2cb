"""The audit table: one row per load, in the transaction that changed the table."""
# ruff: noqa: S608 - identifiers are this package's own and the checked database name; values are parameters

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from load_warehouse.schema import AUDIT
from load_warehouse.session import Session


def new_load_id() -> str:
    """An id for one load; a retry of the same run gets another."""
    return uuid.uuid4().hex


@dataclass
class LoadResult:
    """What one load did, in rows of one table."""

    kind: str
    run_id: str
    batch_id: str | None
    code_version: str
    load_id: str = field(default_factory=new_load_id)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    files: int = 0
    staged: int = 0
    inserted: int = 0
    updated: int = 0
    superseded: int = 0
    checksum: str = ""

    @property
    def unchanged(self) -> int:
        """Rows that the table already held as they are."""
        return self.staged - self.inserted - self.updated - self.superseded


def write(session: Session, schema: str, result: LoadResult) -> None:
    """Add the load's row."""
    values = (
        result.load_id, result.run_id, result.batch_id, result.kind, result.staged, result.inserted, result.updated,
        result.unchanged, result.superseded, result.files, _naive(result.started_at), _naive(datetime.now(UTC)),
        result.code_version, result.checksum,
    )  # fmt: skip
    session.run(
        f"INSERT INTO {session.database}.{schema}.{AUDIT.name} ({', '.join(AUDIT.column_names)}) "
        f"VALUES ({', '.join(['%s'] * len(values))})",
        values,
    )


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
