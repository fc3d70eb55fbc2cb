"""Prometheus metrics of the batch (`ticklake_batch_…`)."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from batch_exporter.runs import News
from batch_exporter.settings import BatchSettings
from batch_exporter.snapshot import Snapshot, overdue_sessions
from ticklake.lineage import StageRecord, elapsed_seconds
from ticklake.maintenance import Maintenance, TableSize
from ticklake.metrics import Instruments
from ticklake.pipeline import BATCH_STAGES
from ticklake.records import DAILY_SOURCES
from ticklake.runs import State

PREFIX = "ticklake_batch"
_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """What is counted from this process's start on, registered with `registry`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        make = Instruments("batch", registry)
        counter = make.counter
        self.stages = counter("stages", "Stages that ended while this process watched", "stage", "outcome")
        self.rows = counter("rows", "Valid rows that left a stage", "stage")
        self.quarantined = counter("quarantined_rows", "Rows that a stage quarantined", "stage")
        self.lake_errors = counter("lake_errors", "Failed reads of the lake")
        self.unreadable = counter("unreadable_records", "Objects below lineage/ that are no readable record")
        self.lake_read = make.gauge("lake_read_timestamp_seconds", "When the lake was last looked into")
        self.seconds = make.histogram(
            "stage_duration_seconds", "Time of a stage that ended while this process watched", _SECONDS, "stage"
        )
        # A counter that appears with its first failure has no earlier value to have grown from.
        for stage in BATCH_STAGES:
            for outcome in ("done", "failed"):
                self.stages.labels(stage.program, outcome)
            self.rows.labels(stage.program)
            self.quarantined.labels(stage.program)

    def looked(self, news: News, *, first: bool) -> None:
        """Take in a read of the lake; what the first one finds ended before this process watched."""
        self.lake_read.set_to_current_time()
        self.unreadable.inc(news.unreadable)
        if first:
            return
        for record in news.records:
            self.stages.labels(record.stage, "done").inc()
            self.rows.labels(record.stage).inc(record.rows_out)
            self.quarantined.labels(record.stage).inc(record.quarantined)
            self.seconds.labels(record.stage).observe(elapsed_seconds(record))
        for failure in news.failures:
            self.stages.labels(failure.stage, "failed").inc()


class BatchCollector(Collector):
    """What the newest records say, recomputed at each scrape.

    Args:
        current: the state as of the last read of the lake.
        calendar: the exchange by whose sessions the batch runs.
    """

    def __init__(self, current: Callable[[], Snapshot], settings: BatchSettings, calendar: str) -> None:
        self._current, self._settings, self._calendar = current, settings, calendar

    def collect(self) -> Iterator[Metric]:
        """All gauges; those without a value yet are left out."""
        snapshot = self._current()
        yield from self._due(snapshot)
        yield from _last_run(snapshot)
        yield _held(snapshot)
        yield from _stages(snapshot.stages)
        yield from _checks(snapshot.stages)
        if snapshot.maintenance is not None:
            yield from _maintenance(snapshot.maintenance)

    def _due(self, snapshot: Snapshot) -> Iterator[Metric]:
        last = snapshot.last_reconciled
        if self._settings.schedule == "sessions":
            newest = None if last is None else last.batch_date
            late = overdue_sessions(self._calendar, self._settings, newest, datetime.now(UTC))
            yield _gauge("overdue_sessions", "Sessions whose run is due and not reconciled", late)
        if last is not None:
            day = datetime.combine(last.batch_date, time(), UTC)
            yield _gauge(
                "last_reconciled_timestamp_seconds",
                "When the newest date's run was reconciled",
                last.finished_at.timestamp(),
            )
            yield _gauge(
                "last_reconciled_date_timestamp_seconds",
                "Newest reconciled batch date, its midnight in UTC",
                day.timestamp(),
            )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value)


def _maintenance(done: Maintenance) -> Iterator[Metric]:
    yield _gauge(
        "maintenance_last_success_timestamp_seconds",
        "When the tables' maintenance last ended well",
        done.finished_at.timestamp(),
    )
    yield _gauge(
        "maintenance_last_duration_seconds", "How long it took", (done.finished_at - done.started_at).total_seconds()
    )
    yield _gauge("maintenance_orphans", "Files without a snapshot that it removed", done.orphans)
    yield _gauge("maintenance_orphan_bytes", "Their bytes", done.orphan_size)
    parts: tuple[tuple[str, str, Callable[[TableSize], float]], ...] = (
        ("files", "Data files of a table", lambda size: size.files),
        ("bytes", "Bytes of a table's data files", lambda size: size.size),
        ("snapshots", "Snapshots of a table", lambda size: size.snapshots),
    )
    for name, text, value in parts:
        family = GaugeMetricFamily(
            f"{PREFIX}_table_{name}", f"{text}, before and after its last maintenance", labels=["table", "moment"]
        )
        for each in done.tables:
            family.add_metric([each.table, "before"], value(each.before))
            family.add_metric([each.table, "after"], value(each.after))
        yield family


def _last_run(snapshot: Snapshot) -> Iterator[Metric]:
    run = snapshot.last_run
    if run is None:
        return
    yield _gauge("last_run_started_timestamp_seconds", "When the last run started", run.started_at.timestamp())
    state = GaugeMetricFamily(f"{PREFIX}_last_run_state", "1 for the state of the last run", labels=["state"])
    for each in State:
        state.add_metric([each.value], run.state is each)
    yield state
    failed = GaugeMetricFamily(
        f"{PREFIX}_stage_failed", "1 for a stage of the last run whose latest try failed", labels=["stage", "kind"]
    )
    for failure in run.failed:
        failed.add_metric([failure.stage, failure.kind], 1)
    yield failed
    if run.summary is not None:
        yield _gauge(
            "last_run_disagreements", "Disagreements between the places of the last run", len(run.summary.disagreements)
        )


def _held(snapshot: Snapshot) -> Metric:
    held = GaugeMetricFamily(
        f"{PREFIX}_held_symbols", "Symbols whose rows wait for a person's decision", labels=["source"]
    )
    for source in DAILY_SOURCES:
        held.add_metric([source], sum(hold.source is source for hold in snapshot.held))
    return held


def _stages(records: tuple[StageRecord, ...]) -> Iterator[Metric]:
    parts: tuple[tuple[str, str, Callable[[StageRecord], float]], ...] = (
        ("last_success_timestamp_seconds", "When the stage last ended well", lambda r: r.finished_at.timestamp()),
        ("last_duration_seconds", "How long it took", elapsed_seconds),
        ("rows_in", "Rows that entered it", lambda r: r.rows_in),
        ("rows_out", "Valid rows that left it", lambda r: r.rows_out),
        ("rows_quarantined", "Rows that it quarantined", lambda r: r.quarantined),
        ("object_bytes", "Bytes of the objects that it wrote", lambda r: sum(o.size for o in r.objects)),
    )
    for name, text, value in parts:
        family = GaugeMetricFamily(f"{PREFIX}_stage_{name}", f"{text}; the stage's newest record", labels=["stage"])
        for record in records:
            family.add_metric([record.stage], value(record))
        yield family


def _checks(records: tuple[StageRecord, ...]) -> Iterator[Metric]:
    labels = ["stage", "check", "unit"]
    observed = GaugeMetricFamily(f"{PREFIX}_check_observed", "What a quality check measured", labels=labels)
    limit = GaugeMetricFamily(f"{PREFIX}_check_limit", "The most that a quality check may measure", labels=labels)
    for record in records:
        for check in record.checks:
            observed.add_metric([record.stage, check.name, check.unit], check.observed)
            limit.add_metric([record.stage, check.name, check.unit], check.limit)
    yield observed
    yield limit
