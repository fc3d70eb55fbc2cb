"""Entry point of `apply-retention`."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from lake_maintenance.retention import RetentionSettings, apply_retention, today_utc
from ticklake.errors import ConfigurationError
from ticklake.pipeline import APPLY_RETENTION
from ticklake.program import Arguments, iso_date, run_id, task_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Remove what has served its time and exit."""
    parser = Arguments(prog=APPLY_RETENTION.program, description="Further settings come from TICKLAKE_… variables.")
    parser.add_argument("--date", type=iso_date, required=True, help="day from which ages are counted, YYYY-MM-DD")
    parser.add_argument("--run-id", type=run_id, required=True, help="the run, for the log")
    parser.add_argument("--dry-run", action="store_true", help="only count")

    def body(settings: RetentionSettings, arguments: argparse.Namespace) -> dict[str, object]:
        if arguments.date > today_utc():
            raise ConfigurationError(f"--date {arguments.date} is still to come: nothing is that old")
        done = apply_retention(settings, arguments.date, dry_run=arguments.dry_run)
        return {"run_id": arguments.run_id, "bytes": done.size, "objects": done.objects}

    task_main(APPLY_RETENTION.program, RetentionSettings, body, parser, argv)
