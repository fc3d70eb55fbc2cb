"""Result records: what each stage of a run read and wrote; the next stage reads exactly that, the last reconciles."""

import hashlib
from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ticklake.errors import ConfigurationError, IntegrityError, StageError
from ticklake.keys import lineage_key
from ticklake.objects import ObjectStore
from ticklake.pipeline import VALIDATE_RAW
from ticklake.records import Source, SymbolStatus, UtcMs


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SymbolChanges(_Part):
    """How many facts of one symbol a batch brings, by kind; new + unchanged + revised are its rows."""

    new: int = Field(default=0, ge=0)
    unchanged: int = Field(default=0, ge=0)
    revised: int = Field(default=0, ge=0)
    actions_new: int = Field(default=0, ge=0)
    actions_revised: int = Field(default=0, ge=0)
    actions_withdrawn: int = Field(default=0, ge=0)


class SymbolResult(_Part):
    """One symbol's share of a stage."""

    status: SymbolStatus = SymbolStatus.OK
    rows: int = Field(ge=0)
    """Valid rows that left the stage."""
    checksum: str
    """`records.batch_checksum` over those rows, recomputed by this stage from the values it wrote."""
    quarantined: int = Field(default=0, ge=0)
    actions_quarantined: int = Field(default=0, ge=0)
    """Splits and dividends in quarantine whose bars are not."""
    held: int = Field(default=0, ge=0)
    """Rows that this stage holds back; 0 where the stage before did, or where there was no answer at all."""
    reasons: tuple[str, ...] = ()
    """Why the symbol is held, a line each."""
    changes: SymbolChanges | None = None
    """Of the stage that records facts: which of the rows are new, unchanged or revised."""
    missing_sessions: tuple[date, ...] = ()
    ended: date | None = None
    """Of fetch-historical: day of the last trade of a symbol that, as the source says, is no longer traded."""


class OffsetRange(_Part):
    """Messages of one partition, first and last offset included."""

    topic: str
    partition: int = Field(ge=0)
    first: int = Field(ge=0)
    last: int = Field(ge=0)


class ObjectRef(_Part):
    """An object that a stage wrote."""

    key: str
    rows: int = Field(ge=0)
    size: int = Field(ge=0)
    """Bytes."""
    sha256: str
    symbol: str | None = None


class CheckResult(_Part):
    """One data-quality check of a batch: a measured value and the most that it may be."""

    name: str
    observed: float
    limit: float
    """The check passes where `observed` is not above it."""
    unit: str
    detail: str = ""
    """What is behind the value, such as the symbols or rows concerned."""

    @property
    def passed(self) -> bool:
        """Whether the value is within its limit."""
        return self.observed <= self.limit


class StageRecord(_Part):
    """The result of one batch stage in one run; `rows in = rows out + quarantined + held` holds in every one."""

    schema_version: Literal[1] = 1
    stage: str
    run_id: str
    batch_id: str
    batch_date: date
    source: Source
    first_day: date | None = None
    """Of fetch-historical: the first day that the batch asks for; the last is its date."""
    released_from: str | None = None
    """Of fetch-historical: the run that held what this one sends, as a person released it."""
    rows_in: int = Field(ge=0)
    rows_out: int = Field(ge=0)
    quarantined: int = Field(ge=0)
    held: int = Field(default=0, ge=0)
    """Rows of symbols that this stage holds."""
    symbols: dict[str, SymbolResult]
    offsets: tuple[OffsetRange, ...] = ()
    objects: tuple[ObjectRef, ...] = ()
    actions: ObjectRef | None = None
    """Of consume-historical: the object with the batch's splits and dividends."""
    snapshots: dict[str, int] = {}
    """Of tables of the lake that the stage read or wrote: the id of the snapshot, by the table's name."""
    checks: tuple[CheckResult, ...] = ()
    """Of the validation stages: what was measured."""
    notes: tuple[str, ...] = ()
    """What a person should know, a line each: an unknown symbol, a gap, a fallback."""
    timings: dict[str, float] = {}
    """Seconds per step."""
    started_at: UtcMs
    finished_at: UtcMs
    code_version: str

    def summary(self) -> dict[str, object]:
        """The record without its per-symbol and per-object parts, small enough for XCom."""
        short = self.model_dump(mode="json", exclude={"symbols", "objects", "offsets"})
        return short | {
            "symbols": len(self.symbols),
            "lineage": lineage_key(self.run_id, self.stage),
            **({"changes": self.changes().model_dump()} if self.stage == VALIDATE_RAW.program else {}),
        }

    def changes(self) -> SymbolChanges:
        """The facts that this stage recorded, in all; of any other stage all are 0."""
        parts = [part.changes for part in self.symbols.values() if part.changes is not None]
        return SymbolChanges(
            **{name: sum(getattr(part, name) for part in parts) for name in SymbolChanges.model_fields}
        )

    def held_symbols(self) -> dict[str, tuple[str, ...]]:
        """The symbols that this stage or one before it holds, each with its reasons."""
        return {symbol: part.reasons for symbol, part in self.symbols.items() if part.status is SymbolStatus.HELD}


def write(store: ObjectStore, record: StageRecord) -> None:
    """Store `record` under its run; a retry of the stage replaces it."""
    store.put(lineage_key(record.run_id, record.stage), record.model_dump_json(indent=1).encode())


def read(store: ObjectStore, run_id: str, stage: str) -> StageRecord:
    """The record of `stage` in run `run_id`.

    Raises:
        ConfigurationError: that stage has not finished in this run, or its record is of another schema version.
    """
    key = lineage_key(run_id, stage)
    try:
        return StageRecord.model_validate_json(store.get(key))
    except KeyError:
        raise ConfigurationError(f"run {run_id} has no result of {stage} ({key}): run that stage first") from None
    except ValidationError as error:
        raise StageError(f"{key} is not a readable result record: {error.errors()[0]['msg']}") from error


class StageFailure(_Part):
    """That a stage ended with an error, and why; under `failures/` beside the run's records, the latest one only.

    It remains until a record of the same stage and run is newer: a retry that went well. A stage that was killed, or
    that could not reach the store, leaves none.
    """

    schema_version: Literal[1] = 1
    stage: str
    run_id: str
    batch_date: date
    kind: str
    """The error's class, such as `IntegrityError`."""
    reason: str
    """The line that the stage ended with."""
    exit_code: int
    times: int | None = Field(default=None, ge=1)
    """How often the stage has failed in this run, this time included and kills left out; None where not known."""
    started_at: UtcMs
    failed_at: UtcMs
    code_version: str


def fetch(store: ObjectStore, ref: ObjectRef, remedy: str = "") -> bytes:
    """The bytes of an object that a record names.

    Args:
        remedy: what to do where it is not there, for the error's line.

    Raises:
        IntegrityError: it is gone, or not the object that was written.
    """
    more = f": {remedy}" if remedy else ""
    try:
        body = store.get(ref.key)
    except KeyError:
        raise IntegrityError(f"{ref.key} with {ref.rows} rows is gone from the lake{more}") from None
    if hashlib.sha256(body).hexdigest() != ref.sha256:
        raise IntegrityError(f"{ref.key} is not the object that was written, it was changed since (SHA-256){more}")
    return body


class SymbolLineage(_Part):
    """One symbol's rows, counted in each place of a run: first the batch's, then those of its whole history."""

    status: SymbolStatus
    fetched: int = Field(ge=0)
    quarantined: int = Field(ge=0)
    raw: int = Field(ge=0)
    held: int = Field(default=0, ge=0)
    """Rows that wait because the symbol is held."""
    changes: SymbolChanges = SymbolChanges()
    """Which of the raw rows are new, unchanged or revised."""
    facts: int = Field(default=0, ge=0)
    """Sessions known in the table `daily_bars`, from whichever batch."""
    analytics: int = Field(default=0, ge=0)
    """Rows of the table `daily_analytics`."""
    warehouse: int = Field(default=0, ge=0)
    """Rows of the warehouse's DAILY_ANALYTICS."""
    reasons: tuple[str, ...] = ()
    """Why it is."""
    checksum: str
    """`records.batch_checksum` over the rows of the raw CSV, recomputed from it."""


class RunLineage(_Part):
    """What came from where in one run, and whether all places agree; `run.json` beside the stages' records."""

    schema_version: Literal[1] = 1
    run_id: str
    batch_id: str
    batch_date: date
    source: Source
    reconciled: bool
    disagreements: tuple[str, ...] = ()
    """A line each, naming stage, symbol and numbers."""
    warehouse_table: str
    stages: tuple[StageRecord, ...]
    """In the pipeline's order, each with its offsets, objects, checksums, seconds and code version."""
    symbols: dict[str, SymbolLineage]
    finished_at: UtcMs
    code_version: str


RUN = "run"
"""Name of the summary beside the stages' records."""


def write_run(store: ObjectStore, run: RunLineage) -> None:
    """Store the summary of a run; reconciling again replaces it."""
    store.put(lineage_key(run.run_id, RUN), run.model_dump_json(indent=1).encode())


def read_run(store: ObjectStore, run_id: str) -> RunLineage:
    """The summary of a run.

    Raises:
        ConfigurationError: the run has not been reconciled.
    """
    try:
        return RunLineage.model_validate_json(store.get(lineage_key(run_id, RUN)))
    except KeyError:
        raise ConfigurationError(f"run {run_id} has no summary: its last stage has not run") from None


def elapsed_seconds(record: StageRecord) -> float:
    """How long the stage took, in seconds."""
    started: datetime = record.started_at
    return (record.finished_at - started).total_seconds()
