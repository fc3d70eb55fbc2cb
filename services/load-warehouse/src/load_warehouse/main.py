"""Entry point of load-warehouse: the history of the run's symbols."""

from collections.abc import Sequence
from typing import NoReturn

from load_warehouse.settings import LoadSettings
from load_warehouse.stage import load_run
from ticklake.batch_stage import batch_main
from ticklake.pipeline import LOAD


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the stage and exit."""
    batch_main(LOAD.program, LoadSettings, load_run, argv)


if __name__ == "__main__":
    main()
