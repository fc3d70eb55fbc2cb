"""Entry point of batch-exporter."""

from collections.abc import Sequence
from typing import NoReturn

from batch_exporter.settings import ExporterSettings
from ticklake.service import service_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run until SIGTERM."""
    from batch_exporter.service import run

    service_main("batch-exporter", ExporterSettings, run, argv)


if __name__ == "__main__":
    main()
