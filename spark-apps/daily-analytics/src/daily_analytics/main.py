"""Entry point of `daily-analytics`."""

from collections.abc import Sequence
from typing import NoReturn

from daily_analytics.settings import AnalyticsSettings
from daily_analytics.stage import APP, run_stage
from ticklake.settings import load
from ticklake.stage import batch_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """One batch from raw CSV to Parquet with indicators."""
    batch_main(APP, AnalyticsSettings, run_stage, argv)


def warm_up() -> None:
    """Start a session that later calls of `main` in this process use, with all that they need loaded."""
    from daily_analytics.warm import warm

    warm(load(AnalyticsSettings))


if __name__ == "__main__":
    main()
