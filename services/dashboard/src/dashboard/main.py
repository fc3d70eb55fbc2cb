"""The web page: live prices, charts, risk and the platform itself."""

from collections.abc import Sequence
from typing import NoReturn

from dashboard.settings import DashboardSettings
from ticklake.service import service_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Serve until SIGTERM."""
    from dashboard.server import run

    service_main("dashboard", DashboardSettings, run, argv)
