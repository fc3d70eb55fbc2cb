"""The state of the batch at one moment, from what is known of its runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from batch_exporter.runs import RunState
from batch_exporter.settings import BatchSettings
from ticklake import calendar
from ticklake.held_symbols import Hold
from ticklake.lineage import RunLineage, StageRecord
from ticklake.maintenance import Maintenance

_LOOK_BACK = timedelta(days=60)
"""Overdue sessions older than this are not counted one by one; there are enough to worry about by then."""


@dataclass(frozen=True)
class Snapshot:
    """What the metrics show until the lake is read again."""

    last_run: RunState | None = None
    """The run that started last."""
    stages: tuple[StageRecord, ...] = ()
    """The newest record of each stage, whatever its run."""
    last_reconciled: RunLineage | None = None
    """The reconciled run with the newest batch date, and of those the one that finished last."""
    held: tuple[Hold, ...] = ()
    """Symbols that wait for a person's decision."""
    maintenance: Maintenance | None = None
    """Of the tables, the last that ended well."""


def snapshot(
    runs: Iterable[RunState],
    settings: BatchSettings,
    held: Iterable[Hold] = (),
    maintenance: Maintenance | None = None,
) -> Snapshot:
    """The state of the batch from its runs, what is held, and the tables' maintenance."""
    known = list(runs)
    stages: dict[str, StageRecord] = {}
    for run in known:
        for record in run.records.values():
            if record.stage not in stages or stages[record.stage].finished_at < record.finished_at:
                stages[record.stage] = record
    reconciled = [
        run.summary
        for run in known
        if run.summary is not None and run.summary.reconciled and settings.source in (None, run.summary.source)
    ]
    return Snapshot(
        max(known, key=lambda run: run.started_at, default=None),
        tuple(stages.values()),
        max(reconciled, key=lambda one: (one.batch_date, one.finished_at), default=None),
        tuple(held),
        maintenance,
    )


def overdue_sessions(code: str, settings: BatchSettings, reconciled: date | None, now: datetime) -> int:
    """Sessions of the exchange `code` whose run is due and not reconciled.

    Args:
        reconciled: the newest batch date that is; None where nothing ever was, which counts as one session.
    """
    first = now.astimezone(UTC).date() - _LOOK_BACK
    if reconciled is not None:
        first = max(first, reconciled + timedelta(days=1))
    due = calendar.sessions(code, first, now.astimezone(UTC).date())
    grace = timedelta(seconds=settings.grace_seconds)
    late = sum(calendar.session_close(code, session) + grace <= now for session in due)
    return min(late, 1) if reconciled is None else late
