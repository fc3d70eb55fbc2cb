"""Entry point of `maintain-tables`."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from lake_maintenance.maintenance import MaintenanceSettings, maintain
from lake_maintenance.retention import today_utc
from ticklake.errors import ConfigurationError
from ticklake.pipeline import MAINTAIN_TABLES
from ticklake.program import Arguments, iso_date, run_id, task_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Maintain the lake's tables and exit."""
    parser = Arguments(prog=MAINTAIN_TABLES.program, description="Further settings come from TICKLAKE_… variables.")
    parser.add_argument("--date", type=iso_date, required=True, help="day from which ages are counted, YYYY-MM-DD")
    parser.add_argument("--run-id", type=run_id, required=True, help="the run, for the snapshots that it makes")

    def body(settings: MaintenanceSettings, arguments: argparse.Namespace) -> dict[str, object]:
        if arguments.date > today_utc():
            raise ConfigurationError(f"--date {arguments.date} is still to come: nothing is that old")
        return maintain(settings, arguments.run_id, arguments.date).model_dump(mode="json")

    task_main(MAINTAIN_TABLES.program, MaintenanceSettings, body, parser, argv)
