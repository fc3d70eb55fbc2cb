"""What came from where in a run, as a graph of places and stages."""

from collections.abc import Sequence
from typing import Any

from ticklake.lineage import StageRecord
from ticklake.pipeline import CONSUME, FETCH, LOAD, PROCESS, VALIDATE_RAW
from ticklake.tables import DAILY_ANALYTICS, DAILY_BARS, namespace_of

_TABLES = {VALIDATE_RAW.program: DAILY_BARS, PROCESS.program: DAILY_ANALYTICS}


def build(records: Sequence[StageRecord], table: str | None) -> dict[str, Any]:
    """The graph as `models_platform.LineageGraph` has it.

    Rows go from the source through each stage into the place that it wrote: the topic, the raw objects, the tables of
    the lake, the warehouse. A stage that only judges is a dead end: it reads from the place before it.

    Args:
        records: the finished stages in the pipeline's order; without one the graph is empty.
        table: the warehouse table, None where the run has not been reconciled.
    """
    if not records:
        return {"nodes": [], "edges": []}
    source = records[0].source.value
    nodes: list[dict[str, str]] = [_node("source", source, "source", source, "where the rows come from")]
    edges: list[dict[str, Any]] = []
    place = nodes[0]["id"]
    for record in records:
        stage = _node("stage", record.stage, "stage", record.stage, _describe(record))
        nodes.append(stage)
        edges.append({"from_": place, "to": stage["id"], "rows": record.rows_in})
        if (written := _written(record, table)) is not None:
            nodes.append(written)
            edges.append({"from_": stage["id"], "to": written["id"], "rows": record.rows_out})
            place = written["id"]
    return {"nodes": nodes, "edges": edges}


def _node(kind: str, name: str, shown_kind: str, label: str, detail: str) -> dict[str, str]:
    return {"id": f"{kind}:{name}", "kind": shown_kind, "label": label, "detail": detail}


def _describe(record: StageRecord) -> str:
    seconds = (record.finished_at - record.started_at).total_seconds()
    quarantined = f", {record.quarantined:,} quarantined" if record.quarantined else ""
    failed = [check.name for check in record.checks if not check.passed]
    judged = f", failed: {', '.join(failed)}" if failed else ""
    return f"{record.rows_out:,} rows in {seconds:.1f} s{quarantined}{judged}"


def _written(record: StageRecord, table: str | None) -> dict[str, str] | None:
    if record.stage == FETCH.program and record.offsets:
        topic = record.offsets[0].topic
        ranges = ", ".join(f"p{each.partition}: {each.first}–{each.last}" for each in record.offsets)
        return _node("topic", topic, "topic", topic, f"offsets {ranges}")
    if record.stage == CONSUME.program and record.objects:
        folder = _common_folder([ref.key for ref in record.objects])
        size = sum(ref.size for ref in record.objects)
        return _node("objects", folder, "object_group", folder, f"{len(record.objects)} objects, {size:,} bytes")
    if record.stage in _TABLES and (text := _put_in(record)):
        name = f"{namespace_of(record.source)}.{_TABLES[record.stage].name}"
        return _node("table", name, "table", name, text)
    if record.stage == LOAD.program:
        return _node("table", table or "warehouse", "table", table or "warehouse", f"{len(record.symbols)} symbols")
    return None


def _put_in(record: StageRecord) -> str:
    """What a stage put into its table; empty for none: facts of a batch that is rejected are not recorded."""
    if record.stage == PROCESS.program:
        return f"{len(record.symbols)} symbols"
    if all(part.changes is None for part in record.symbols.values()):
        return ""
    changes = record.changes()
    return f"{changes.new:,} new, {changes.unchanged:,} unchanged, {changes.revised:,} revised"


def _common_folder(keys: Sequence[str]) -> str:
    parts = [key.split("/")[:-1] for key in keys]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "/".join(shared) + "/"
