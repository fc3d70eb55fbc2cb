"""The tables in services/METRICS.md, made from what the programs register. As a program it rewrites them."""

import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase

import archive_ticks.metrics
import batch_exporter.metrics
import dashboard.metrics
import market_alerts.metrics
import stream_analytics.query_progress
import stream_ticks.metrics
from batch_exporter.runs import RunState
from batch_exporter.settings import BatchSettings
from batch_exporter.snapshot import snapshot
from ticklake.lineage import CheckResult, RunLineage, StageFailure, StageRecord
from ticklake.maintenance import Maintenance, TableMaintenance, TableSize
from ticklake.records import Source
from ticklake_local.alerting.service import RuleChecker
from ticklake_local.alerting.settings import CheckerSettings, RulesSettings

PAGE = Path(__file__).parents[2] / "services" / "METRICS.md"
NOW = datetime(2026, 1, 30, 12, tzinfo=UTC)


def _batch(registry: CollectorRegistry) -> None:
    batch_exporter.metrics.Metrics(registry)
    common = {"run_id": "r", "batch_date": date(2026, 1, 30), "code_version": "x"}
    check = CheckResult(name="stale_sessions", observed=1, limit=2, unit="sessions")
    record = StageRecord(
        stage="validate-raw",
        batch_id="r",
        source=Source.YAHOO,
        rows_in=1,
        rows_out=1,
        quarantined=0,
        symbols={},
        checks=(check,),
        started_at=NOW,
        finished_at=NOW,
        **common,
    )
    failure = StageFailure(
        stage="load-warehouse", kind="StageError", reason="x", exit_code=1, started_at=NOW, failed_at=NOW, **common
    )
    summary = RunLineage(
        batch_id="r",
        source=Source.YAHOO,
        reconciled=True,
        warehouse_table="T",
        stages=(),
        symbols={},
        finished_at=NOW,
        **common,
    )
    settings = BatchSettings(schedule="sessions")
    size = TableSize(files=1, size=1, snapshots=1)
    done = Maintenance(
        run_id="r",
        date=NOW.date(),
        orphans=0,
        orphan_size=0,
        started_at=NOW,
        finished_at=NOW,
        code_version="x",
        tables=(TableMaintenance(table="market.windows", before=size, after=size, compacted=0, expired=0),),
    )
    state = snapshot([RunState({record.stage: record}, {failure.stage: failure}, summary)], settings, maintenance=done)
    registry.register(batch_exporter.metrics.BatchCollector(lambda: state, settings, "XNYS"))


def _filled(metrics: Callable[[CollectorRegistry], object]) -> Callable[[CollectorRegistry], None]:
    """Registers the metrics with one value of each, so that they have samples with labels."""

    def register(registry: CollectorRegistry) -> None:
        for metric in vars(metrics(registry)).values():
            if isinstance(metric, MetricWrapperBase) and metric._labelnames:
                metric.labels(*("x" for _ in metric._labelnames))

    return register


def _check_rules(registry: CollectorRegistry) -> None:
    rules = RulesSettings.model_validate({"targets": "archive-ticks=http://127.0.0.1:9100/metrics"})
    for gauge in vars(RuleChecker(CheckerSettings(rules=rules), registry)).values():
        if isinstance(gauge, MetricWrapperBase) and gauge._labelnames:
            gauge.labels("critical")


PROGRAMS: dict[str, Callable[[CollectorRegistry], None]] = {
    "stream-ticks": _filled(stream_ticks.metrics.Metrics),
    "archive-ticks": _filled(archive_ticks.metrics.Metrics),
    "stream-analytics": _filled(stream_analytics.query_progress.Metrics),
    "batch-exporter": _batch,
    "dashboard": _filled(dashboard.metrics.Metrics),
    "market-alerts": _filled(market_alerts.metrics.Metrics),
    "check-rules": _check_rules,
}


def registry_of(program: str) -> CollectorRegistry:
    """A program's metrics, each with a sample."""
    registry = CollectorRegistry()
    PROGRAMS[program](registry)
    return registry


def exposed(program: str) -> str:
    """What a program serves."""
    return generate_latest(registry_of(program)).decode()


def metrics_of(program: str) -> Iterator[tuple[str, str, str, str]]:
    """Name as it is queried, type, labels and meaning of each metric."""
    for family in registry_of(program).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(key for sample in family.samples for key in sample.labels if key != "le")
        yield name, family.type, ", ".join(labels), family.documentation


def table(program: str) -> str:
    """A program's table, in Markdown."""
    lines = [f"## {program}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {kind} | {labels} | {text} |" for name, kind, labels, text in metrics_of(program)]
    return "\n".join(lines) + "\n"


def page_with_tables(page: str) -> str:
    """The page with every program's table as it is now."""
    for program in PROGRAMS:
        page = re.sub(
            rf"## {program}\n\n\|.*?\|\n(?=\n|\Z)", lambda _, name=program: table(name), page, flags=re.DOTALL
        )
    return page


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text()))
    sys.stdout.write(f"{PAGE}\n")
