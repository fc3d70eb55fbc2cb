"""Entry point of `consume-historical`."""

from collections.abc import Sequence
from typing import NoReturn

from consume_historical.settings import ConsumeSettings
from consume_historical.stage import run_stage
from ticklake.batch_stage import batch_main
from ticklake.pipeline import CONSUME


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """One batch from the topic to raw CSV objects."""
    batch_main(CONSUME.program, ConsumeSettings, run_stage, argv)
