"""Entry point of `tick-bars`."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import NoReturn

from tick_bars.stage import BarSettings, make_bars
from ticklake.pipeline import TICK_BARS
from ticklake.program import Arguments, iso_date, run_id, task_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Make the bars of what arrived up to an hour's end and exit."""
    parser = Arguments(prog=TICK_BARS.program, description="Further settings come from TICKLAKE_… variables.")
    parser.add_argument("--date", type=iso_date, required=True, help="day of arrival (UTC), YYYY-MM-DD")
    parser.add_argument("--hour", type=_hour, required=True, help="hour of arrival (UTC), 0 to 23")
    parser.add_argument("--run-id", type=run_id, required=True, help="the run, for the log and the tables' snapshots")

    def body(settings: BarSettings, arguments: argparse.Namespace) -> dict[str, object]:
        hour = datetime.combine(arguments.date, time(arguments.hour), UTC)
        made = make_bars(settings, hour, arguments.run_id)
        return made | {"run_id": arguments.run_id}

    task_main(TICK_BARS.program, BarSettings, body, parser, argv)


def _hour(text: str) -> int:
    if not text.isdecimal() or int(text) > 23:
        raise argparse.ArgumentTypeError(f"{text!r} is no hour from 0 to 23")
    return int(text)
