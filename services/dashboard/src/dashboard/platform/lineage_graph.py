"""What came from where in a run, as a graph of places and stages."""

from collections.abc import Sequence
from typing import Any

from ticklake.lineage import StageRecord
from ticklake.pipeline import BATCH_STAGES, VALIDATE_RAW, Place


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
    stage = next(each for each in BATCH_STAGES if each.program == record.stage)
    if not stage.writes or not (text := _put_in(stage.writes[0], record)):
        return None
    kind, name = stage.writes[0].kind, stage.writes[0].of_batch(record.source, record.batch_date)
    if kind == "warehouse":
        kind, name = "table", table or "warehouse"
    return _node(kind, name, "object_group" if kind == "objects" else kind, name, text)


def _put_in(place: Place, record: StageRecord) -> str:
    """What a stage put into its place; empty for none: facts of a batch that is rejected are not recorded."""
    if place.kind == "topic":
        ranges = ", ".join(f"p{each.partition}: {each.first}–{each.last}" for each in record.offsets)
        return f"offsets {ranges}" if ranges else ""
    if place.kind == "objects":
        size = sum(ref.size for ref in record.objects)
        return f"{len(record.objects)} objects, {size:,} bytes" if record.objects else ""
    if record.stage != VALIDATE_RAW.program:
        return f"{len(record.symbols)} symbols"
    if all(part.changes is None for part in record.symbols.values()):
        return ""
    changes = record.changes()
    return f"{changes.new:,} new, {changes.unchanged:,} unchanged, {changes.revised:,} revised"
