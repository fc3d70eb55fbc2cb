"""Live ticks from Kafka to the lake, each exactly once."""

from collections.abc import Sequence
from typing import NoReturn

from archive_ticks.settings import ArchiveSettings
from ticklake.service import service_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run until SIGTERM."""
    from archive_ticks.service import run

    service_main("archive-ticks", ArchiveSettings, run, argv)
