"""Rules on the live ticks: alerts to Kafka, and from there to a webhook, Slack or e-mail."""

from collections.abc import Sequence
from typing import NoReturn

from market_alerts.settings import AlertSettings
from ticklake.service import service_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run until SIGTERM."""
    from market_alerts.service import run

    service_main("market-alerts", AlertSettings, run, argv)
