"""Entry point of load-live: loads the live flow's windows and bars that are new or changed, whenever it is wanted."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from load_warehouse.live_load import load_live
from load_warehouse.settings import LiveLoadSettings
from ticklake.pipeline import LOAD_LIVE
from ticklake.program import Arguments, run_id, task_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Load and exit."""
    parser = Arguments(prog=LOAD_LIVE.program, description="Settings come from TICKLAKE_… variables.")
    parser.add_argument("--run-id", type=run_id, required=True, help="the run, for the log and the audit")

    def body(settings: LiveLoadSettings, arguments: argparse.Namespace) -> dict[str, object]:
        loaded = load_live(settings, arguments.run_id)
        total = {
            fate: sum(getattr(result, fate) for result in loaded)
            for fate in ("new", "unchanged", "revised", "withdrawn")
        }
        return {"run_id": arguments.run_id, **total}

    task_main(LOAD_LIVE.program, LiveLoadSettings, body, parser, argv)


if __name__ == "__main__":
    main()
