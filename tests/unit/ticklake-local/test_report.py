"""The closing table and the report: the same figures, one for people, one for machines."""

import io
import json
import re
from datetime import UTC, date, datetime
from pathlib import Path

from rich.console import Console

from ticklake.lineage import StageRecord, SymbolResult
from ticklake.pipeline import FETCH, LOAD
from ticklake.records import Source, SymbolStatus
from ticklake_local.report import Journal, Row


def record(stage: str, rows_in: int, rows_out: int, quarantined: int, seconds: int) -> StageRecord:
    return StageRecord(
        stage=stage,
        run_id="r",
        batch_id="r",
        batch_date=date(2013, 3, 1),
        source=Source.REPLAY,
        rows_in=rows_in,
        rows_out=rows_out,
        quarantined=quarantined,
        symbols={},
        notes=(f"a note of {stage}",),
        started_at=datetime(2024, 1, 1, 12, 0, 0, tzinfo=UTC),
        finished_at=datetime(2024, 1, 1, 12, 0, seconds, 250_000, tzinfo=UTC),
        code_version="x",
    )


def journal() -> Journal:
    made = Journal("run-7", source="replay", batch_date="2013-03-01")
    made.stage_done(FETCH, record("fetch-historical", 2500, 2497, 3, 4), "topic stock_market_batch")
    made.stage_done(LOAD, record("load-warehouse", 1_234_567, 1_234_567, 0, 59), "[MARKET].DAILY_ANALYTICS")
    made.rows.append(Row(stage="stream-ticks", seconds=7.25, rows_in=10, rows_out=9, quarantined=1, where="topic t"))
    return made


FIGURES = {
    "fetch_historical_data": (4.25, 2500, 2497, 3),
    "load_to_snowflake": (59.25, 1_234_567, 1_234_567, 0),
    "stream-ticks": (7.25, 10, 9, 1),
}


def test_the_report_holds_the_figures(tmp_path: Path) -> None:
    made = journal()
    made.reconciled = True
    made.write(tmp_path / "report.json")
    found = json.loads((tmp_path / "report.json").read_text())
    assert {
        row["stage"]: (row["seconds"], row["rows_in"], row["rows_out"], row["quarantined"]) for row in found["rows"]
    } == FIGURES
    assert [row["where"] for row in found["rows"]] == [
        "topic stock_market_batch",
        "[MARKET].DAILY_ANALYTICS",
        "topic t",
    ]
    assert (found["run_id"], found["source"], found["batch_date"]) == ("run-7", "replay", "2013-03-01")
    assert found["reconciled"] is True
    assert found["notes"] == ["a note of fetch-historical", "a note of load-warehouse"]
    assert 0 <= found["seconds"] < 60


def test_held_symbols_are_named() -> None:
    made = journal()
    held = SymbolResult(status=SymbolStatus.HELD, rows=0, checksum="", held=250, reasons=("prices jump", "no volume"))
    fetched = record("fetch-historical", 2500, 2250, 0, 4).model_copy(update={"symbols": {"ODD": held}, "held": 250})
    made.stage_done(FETCH, fetched)
    assert made.report().held == {"ODD": ("prices jump", "no volume")}
    output = io.StringIO()
    made.show(Console(file=output, width=80, soft_wrap=True, highlight=False))
    assert "held, and left out of this run: ODD" in output.getvalue()
    output = io.StringIO()
    journal().show(Console(file=output, width=80, soft_wrap=True, highlight=False))
    assert "held" not in output.getvalue()


def test_a_run_is_not_reconciled_until_that_is_recorded() -> None:
    assert journal().report().reconciled is False


def test_the_table_shows_the_same_figures_in_the_same_order_on_a_narrow_terminal() -> None:
    output = io.StringIO()
    journal().show(Console(file=output, width=80, soft_wrap=True, highlight=False))
    text = output.getvalue()
    rows = [re.split(r"\s*[│┃|]\s*", line)[1:-1] for line in text.splitlines() if line.startswith("│")]
    shown = {row[0]: (float(row[1]), *(int(cell.replace(",", "")) for cell in row[2:])) for row in rows}
    assert list(shown) == list(FIGURES)
    for stage, (seconds, *counts) in FIGURES.items():
        assert abs(float(shown[stage][0]) - seconds) <= 0.0501
        assert list(shown[stage][1:]) == counts
    assert "Run run-7: replay, batch date 2013-03-01" in text
    assert "load_to_snowflake: [MARKET].DAILY_ANALYTICS" in text
    assert "note: a note of load-warehouse" in text
