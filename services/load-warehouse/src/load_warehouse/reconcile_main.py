"""Entry point of reconcile-run, the pipeline's last step: every place of the run must hold the same rows."""

from collections.abc import Sequence
from typing import NoReturn

from load_warehouse.reconcile_stage import reconcile_run
from load_warehouse.settings import LoadSettings
from ticklake.batch_stage import batch_main
from ticklake.pipeline import SUCCESS


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the stage and exit."""
    batch_main(SUCCESS.program, LoadSettings, reconcile_run, argv)


if __name__ == "__main__":
    main()
