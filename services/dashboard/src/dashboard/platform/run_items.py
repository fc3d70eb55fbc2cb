"""What the API reports of a run, from the records of its stages and of their failures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel

from dashboard.platform import lineage_graph
from ticklake.lineage import StageFailure, StageRecord, SymbolLineage, elapsed_seconds
from ticklake.pipeline import BATCH_STAGES
from ticklake.runs import State, recovered, state_of, unrecovered

_FIELDS = ("stage", "kind", "reason", "exit_code", "times", "started_at", "failed_at", "code_version")


_STATES = {
    State.RECONCILED: "succeeded",
    State.DISAGREED: "failed",
    State.FAILED: "failed",
    State.UNFINISHED: "incomplete",
}


class Summary(BaseModel):
    """What is needed of a run's summary; its copies of the stages' records are left alone."""

    reconciled: bool
    disagreements: tuple[str, ...] = ()
    warehouse_table: str
    symbols: dict[str, SymbolLineage] = {}


Part = StageRecord | StageFailure | Summary


@dataclass(frozen=True)
class RunParts:
    """What the lake holds of one run: one record or failure at least."""

    records: dict[str, StageRecord]
    """By stage, in the pipeline's order."""
    failures: dict[str, StageFailure]
    """The same of the latest failures, also of those that a later try recovered."""
    summary: Summary | None

    @classmethod
    def of(cls, parts: Iterable[Part | None]) -> Self | None:
        """The run of `parts`; None where there is neither a record nor a failure among them."""
        records: dict[str, StageRecord] = {}
        failures: dict[str, StageFailure] = {}
        summary = None
        for part in parts:
            if isinstance(part, StageRecord):
                records[part.stage] = part
            elif isinstance(part, StageFailure):
                failures[part.stage] = part
            elif part is not None:
                summary = part
        if not records and not failures:
            return None
        order = [stage.program for stage in BATCH_STAGES]
        return cls(
            {stage: records[stage] for stage in order if stage in records},
            {stage: failures[stage] for stage in order if stage in failures},
            summary,
        )

    @property
    def state(self) -> str:
        """As `models_platform.RunItem.state` says."""
        return _STATES[state_of(self.records, self.failures, None if self.summary is None else self.summary.reconciled)]


def short(run: RunParts) -> dict[str, Any]:
    """A run as `models_platform.RunItem` has it."""
    records, failures = list(run.records.values()), list(run.failures.values())
    tries: list[StageRecord | StageFailure] = [*records, *failures]
    started = min(each.started_at for each in tries)
    finished = max([*(each.finished_at for each in records), *(each.failed_at for each in failures)])
    failed = {failure.stage for failure in unrecovered(run.records, run.failures)}
    return {
        "run_id": tries[0].run_id,
        "batch_date": tries[0].batch_date,
        "source": records[0].source.value if records else None,
        "state": run.state,
        "started_at": started,
        "finished_at": finished,
        "seconds": (finished - started).total_seconds(),
        "rows_in": records[0].rows_in if records else None,
        "rows_out": records[-1].rows_out if records else None,
        "quarantined": sum(record.quarantined for record in records),
        "stages_done": len(run.records.keys() - failed),
        "stages_total": len(BATCH_STAGES),
        "reconciled": run.summary.reconciled if run.summary else None,
        "failures": [_failure(failure, run.records.get(failure.stage)) for failure in failures],
    }


def detail(run: RunParts) -> dict[str, Any]:
    """A run as `models_platform.RunDetail` has it."""
    records, summary = list(run.records.values()), run.summary
    return short(run) | {
        "disagreements": list(summary.disagreements) if summary else [],
        "stages": [_stage(record) for record in records],
        "symbols": _symbols(records, summary.symbols if summary else {}),
        "lineage": lineage_graph.build(records, summary.warehouse_table if summary else None),
    }


def _failure(failure: StageFailure, record: StageRecord | None) -> dict[str, Any]:
    fields = {name: getattr(failure, name) for name in _FIELDS}
    return fields | {"recovered_at": record.finished_at if record is not None and recovered(failure, record) else None}


def _stage(record: StageRecord) -> dict[str, Any]:
    return {
        "stage": record.stage,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "seconds": elapsed_seconds(record),
        "rows_in": record.rows_in,
        "rows_out": record.rows_out,
        "quarantined": record.quarantined,
        "notes": list(record.notes),
        "checks": [check.model_dump() | {"passed": check.passed} for check in record.checks],
        "timings": record.timings,
        "code_version": record.code_version,
        "objects": len(record.objects),
        "bytes": sum(ref.size for ref in record.objects),
    }


_CHANGES = ("new", "unchanged", "revised")
_PLACES = ("facts", "analytics", "warehouse")


def _symbols(records: list[StageRecord], places: Mapping[str, SymbolLineage]) -> list[dict[str, Any]]:
    """Each symbol as the last stage has it, with what any stage put into quarantine or found new.

    Args:
        places: of the reconciliation, where it was made.
    """
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        for symbol, part in record.symbols.items():
            before = found.get(symbol, {"quarantined": 0, "missing_sessions": 0, **dict.fromkeys(_CHANGES)})
            found[symbol] = {
                "symbol": symbol,
                "status": part.status.value,
                "rows": part.rows,
                "quarantined": before["quarantined"] + (part.quarantined if record.quarantined else 0),
                "missing_sessions": max(before["missing_sessions"], len(part.missing_sessions)),
                **{name: getattr(part.changes, name, before[name]) for name in _CHANGES},
                **{name: getattr(places.get(symbol), name, None) for name in _PLACES},
            }
    return [found[symbol] for symbol in sorted(found)]
