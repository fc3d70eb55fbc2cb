"""Entry point of `validate-raw`."""

from collections.abc import Sequence
from typing import NoReturn

from consume_historical.validate_stage import ValidateSettings, validate_run
from ticklake.batch_stage import batch_main
from ticklake.pipeline import VALIDATE_RAW


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Judge one batch's raw CSV."""
    batch_main(VALIDATE_RAW.program, ValidateSettings, validate_run, argv)
