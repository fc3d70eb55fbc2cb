"""The closing table of a run, and the same figures as JSON for machines."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ticklake.lineage import StageRecord, SymbolChanges, elapsed_seconds
from ticklake.pipeline import VALIDATE_RAW, Stage

_WIDEST = 1000
"""Characters; no table here needs as many."""


def plain_console() -> Console:
    """A console that prints text as it is: paths and notes may look like markup."""
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def print_whole(console: Console, table: Table) -> None:
    """Print a table as wide as its columns need, however narrow the terminal: cut prices are of no use."""
    unbounded = console.options.update(max_width=_WIDEST)
    console.width = max(console.width, Measurement.get(console, unbounded, table).maximum)
    console.print(table)


class Row(BaseModel):
    """One stage in the closing table."""

    stage: str
    seconds: float
    rows_in: int
    rows_out: int
    quarantined: int
    where: str = ""


class Report(BaseModel):
    """What a run did, as `--report` writes it."""

    run_id: str
    source: str
    batch_date: str
    rows: list[Row]
    notes: list[str]
    held: dict[str, tuple[str, ...]]
    """Symbols whose rows wait, with the reasons."""
    changes: SymbolChanges
    """What the batch's answers changed in the tables of facts."""
    seconds: float
    """Wall time from the start of the command."""
    reconciled: bool
    """Whether batch and live part agree at every stage, compared by key and hash."""


@dataclass
class Journal:
    """Collects what the closing table shows."""

    run_id: str
    source: str = ""
    batch_date: str = ""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    held: dict[str, tuple[str, ...]] = field(default_factory=dict)
    changes: SymbolChanges = field(default_factory=SymbolChanges)
    reconciled: bool = False

    def stage_done(self, stage: Stage, record: StageRecord, where: str = "") -> None:
        """Add a finished batch stage."""
        self.rows.append(
            Row(
                stage=stage.task_id,
                seconds=round(elapsed_seconds(record), 2),
                rows_in=record.rows_in,
                rows_out=record.rows_out,
                quarantined=record.quarantined,
                where=where,
            )
        )
        self.notes.extend(record.notes)
        self.held |= record.held_symbols()
        if stage is VALIDATE_RAW:
            self.changes = record.changes()

    def report(self) -> Report:
        """The figures so far."""
        return Report(
            run_id=self.run_id,
            source=self.source,
            batch_date=self.batch_date,
            rows=self.rows,
            notes=self.notes,
            held=self.held,
            changes=self.changes,
            seconds=round((datetime.now(UTC) - self.started).total_seconds(), 2),
            reconciled=self.reconciled,
        )

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(title=f"Run {self.run_id}: {self.source}, batch date {self.batch_date}", title_justify="left")
        table.add_column("stage", no_wrap=True)
        for heading in ("seconds", "rows in", "rows out", "quarantined"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(
                row.stage, f"{row.seconds:.1f}", f"{row.rows_in:,}", f"{row.rows_out:,}", f"{row.quarantined:,}"
            )
        console.print(table)
        # Below the table, not in it: paths are longer than a terminal is wide.
        for row in self.rows:
            console.print(f"{row.stage}: {row.where}", highlight=False)
        bars = self.changes
        console.print(
            f"bars: {bars.new:,} new, {bars.unchanged:,} unchanged, {bars.revised:,} revised; splits and dividends: "
            f"{bars.actions_new:,} new, {bars.actions_revised:,} revised, {bars.actions_withdrawn:,} withdrawn"
        )
        if self.held:
            names = ", ".join(sorted(self.held))
            console.print(f"held, and left out of this run: {names} (ticklake held list)", highlight=False)
        for note in self.notes:
            console.print(f"note: {note}", highlight=False)

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(self.report().model_dump_json(indent=1) + "\n")
