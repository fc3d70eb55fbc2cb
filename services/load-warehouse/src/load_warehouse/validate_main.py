"""Entry point of `validate-loaded`."""

from collections.abc import Sequence
from typing import NoReturn

from load_warehouse.validate_stage import ValidateSettings, validate_run
from ticklake.batch_stage import batch_main
from ticklake.pipeline import VALIDATE_LOADED


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Judge what the warehouse holds of one batch."""
    batch_main(VALIDATE_LOADED.program, ValidateSettings, validate_run, argv)
