"""The audit table: one row per load and table, in the transaction that changed the tables."""
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
    """What one load did to one table, in rows."""

    kind: str
    """The lake's table."""
    run_id: str
    batch_id: str | None
    code_version: str
    load_id: str = field(default_factory=new_load_id)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    snapshot: int | None = None
    """Of the lake's table."""
    files: int = 0
    staged: int = 0
    new: int = 0
    unchanged: int = 0
    revised: int = 0
    withdrawn: int = 0
    checksum: str | None = None
    flow: str | None = None
    """Live flow of windows and bars."""

    def counts(self) -> str:
        """The fates of the rows, for people: those that some had."""
        fates = ("new", "unchanged", "revised", "withdrawn")
        return ", ".join(f"{count:,} {fate}" for fate in fates if (count := getattr(self, fate))) or "no rows"


def write(session: Session, schema: str, result: LoadResult) -> None:
    """Add the load's row."""
    values = (
        result.load_id,
        result.run_id,
        result.batch_id,
        result.kind,
        result.snapshot,
        result.staged,
        result.new,
        result.unchanged,
        result.revised,
        result.withdrawn,
        result.files,
        _naive(result.started_at),
        _naive(datetime.now(UTC)),
        result.code_version,
        result.checksum,
        result.flow,
    )
    session.run(
        f"INSERT INTO {session.database}.{schema}.{AUDIT.name} ({', '.join(AUDIT.column_names)}) "
        f"VALUES ({', '.join(['%s'] * len(values))})",
        values,
    )


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def last_snapshot(session: Session, schema: str, kind: str, flow: str) -> int | None:
    """The lake's snapshot that a flow's latest load of this kind has brought; None where there was no such load."""
    query = (
        f"SELECT LAKE_SNAPSHOT FROM {session.database}.{schema}.{AUDIT.name} WHERE KIND = %s AND FLOW = %s "
        "ORDER BY FINISHED_AT DESC LIMIT 1"
    )
    return next((int(snapshot) for (snapshot,) in session.rows(query, (kind, flow))), None)
