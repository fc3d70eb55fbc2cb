"""Live ticks from Alpha Vantage or a simulator to Kafka."""

from collections.abc import Sequence
from typing import NoReturn

from stream_ticks.settings import StreamSettings
from ticklake.service import service_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run until SIGTERM, or until the end that the settings give."""
    from stream_ticks.service import run

    service_main("stream-ticks", StreamSettings, run, argv)
