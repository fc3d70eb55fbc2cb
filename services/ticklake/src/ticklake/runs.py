"""What a run leaves below `lineage/`: distinguished by key; its failures counted and weighed against its records."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import ValidationError

from ticklake.errors import ConfigurationError
from ticklake.keys import failure_key
from ticklake.lineage import RUN, RunLineage, StageFailure, StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import BATCH_STAGES

PREFIX = "lineage/"
_FAILURES = "/failures"
_STAGES = {stage.program for stage in BATCH_STAGES}


def folder_of(key: str) -> str:
    """The run's folder that an object below `PREFIX` lies in, without slashes: `run_id=…`."""
    return key.removeprefix(PREFIX).partition("/")[0]


def kind_of(key: str) -> type[StageRecord] | type[StageFailure] | type[RunLineage] | None:
    """What the object at `key` is by its place and name; None where it is none of a run's."""
    folder, _, name = key.rpartition("/")
    place = f"{PREFIX}{folder_of(key)}"
    stem = name.removesuffix(".json")
    if stem == name or not place.startswith(f"{PREFIX}run_id="):
        return None
    if folder == place and stem == RUN:
        return RunLineage
    if stem not in _STAGES or folder not in (place, place + _FAILURES):
        return None
    return StageRecord if folder == place else StageFailure


def recovered(failure: StageFailure, record: StageRecord | None) -> bool:
    """Whether `record`, its stage's in the same run, came of a later try that went well.

    A validation writes its record of what it measured before it fails, so one from before the failure recovers nothing.
    """
    return record is not None and record.finished_at > failure.failed_at


def unrecovered(records: Mapping[str, StageRecord], failures: Mapping[str, StageFailure]) -> tuple[StageFailure, ...]:
    """The failures that no later try has recovered; both are of one run, by stage."""
    return tuple(failure for stage, failure in failures.items() if not recovered(failure, records.get(stage)))


class State(StrEnum):
    """How far a run is."""

    UNFINISHED = "unfinished"
    """Stages are done, and none failed; one may be under way, or was killed."""
    FAILED = "failed"
    DISAGREED = "disagreed"
    """Its places hold different rows."""
    RECONCILED = "reconciled"


def state_of(
    records: Mapping[str, StageRecord], failures: Mapping[str, StageFailure], reconciled: bool | None
) -> State:
    """How far a run is; records and failures are by stage.

    Args:
        reconciled: as its summary has it; None where it has none yet.
    """
    if reconciled is False:
        return State.DISAGREED
    if unrecovered(records, failures) or not all(check.passed for each in records.values() for check in each.checks):
        return State.FAILED
    return State.RECONCILED if reconciled else State.UNFINISHED


def write_failure(store: ObjectStore, failure: StageFailure) -> None:
    """Store why a stage failed in place of what an earlier try left, counting on from that."""
    times = _times_before(store, failure)
    whole = failure.model_copy(update={"times": None if times is None else times + 1})
    store.put(failure_key(failure.run_id, failure.stage), whole.model_dump_json(indent=1).encode())


def _times_before(store: ObjectStore, failure: StageFailure) -> int | None:
    try:
        return StageFailure.model_validate_json(store.get(failure_key(failure.run_id, failure.stage))).times
    except KeyError:
        return 0
    except (ConfigurationError, ValidationError):
        return None  # a stage may write this object without the right to read it
