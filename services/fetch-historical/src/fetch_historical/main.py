"""Entry point of `fetch-historical`."""

from collections.abc import Sequence
from typing import NoReturn

from fetch_historical.settings import FetchSettings
from fetch_historical.stage import run_stage
from ticklake.batch_stage import batch_main
from ticklake.pipeline import FETCH


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Daily bars from the configured source to the batch topic."""
    batch_main(FETCH.program, FetchSettings, run_stage, argv)
