"""What the last maintenance of the lake's tables did, for who watches it."""

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ticklake.errors import IntegrityError
from ticklake.objects import ObjectStore
from ticklake.records import UtcMs

KEY = "maintenance/tables.json"
"""Of the record; each run replaces it."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableSize(_Part):
    """How large a table is."""

    files: int = Field(ge=0)
    """Data files of the current snapshot."""
    size: int = Field(ge=0)
    """Their bytes."""
    snapshots: int = Field(ge=0)


class TableMaintenance(_Part):
    """What was done to one table."""

    table: str
    """With its namespace: `market.windows`."""
    before: TableSize
    after: TableSize
    compacted: int = Field(ge=0)
    """Small files that gave way to larger ones."""
    expired: int = Field(ge=0)
    """Snapshots that went."""


class Maintenance(_Part):
    """One run of maintenance that ended well."""

    schema_version: Literal[1] = 1
    run_id: str
    date: date
    tables: tuple[TableMaintenance, ...]
    orphans: int = Field(ge=0)
    """Files that no snapshot named and that were removed."""
    orphan_size: int = Field(ge=0)
    """Their bytes."""
    started_at: UtcMs
    finished_at: UtcMs
    code_version: str


def write(store: ObjectStore, record: Maintenance) -> None:
    """Store the record in place of the run's before."""
    store.put(KEY, record.model_dump_json(indent=1).encode())


def read(store: ObjectStore) -> Maintenance | None:
    """The record of the last run that ended well; None before the first.

    Raises:
        IntegrityError: what is there is no record that this version can read.
    """
    try:
        return Maintenance.model_validate_json(store.get(KEY))
    except KeyError:
        return None
    except ValidationError as error:
        raise IntegrityError(f"{KEY} is not a readable record: {error.errors()[0]['msg']}") from error
