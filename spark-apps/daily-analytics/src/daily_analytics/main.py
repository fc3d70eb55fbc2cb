"""Entry point of `daily-analytics`."""

from collections.abc import Sequence
from typing import NoReturn

from daily_analytics.settings import AnalyticsSettings
from ticklake.batch_stage import Run, batch_main
from ticklake.lineage import StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import PROCESS
from ticklake.settings import load
from ticklake.spark import build_session, start_jvm
from ticklake.spark_jvm import ONE_SHOT


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """One batch from raw CSV to Parquet with indicators."""
    batch_main(PROCESS.program, AnalyticsSettings, _body, argv)


def start_session() -> None:
    """Start the session that later calls of `main` in this process use; the store is not needed for that."""
    settings = load(AnalyticsSettings)
    start_jvm(PROCESS.program, settings.spark, ONE_SHOT)
    session = build_session(PROCESS.program, settings.spark, settings.store)
    from daily_analytics.analytics import start_worker

    start_worker(session)


def warm_up() -> None:
    """Start that session and take a few made-up bars through it, so that all it needs is loaded and compiled."""
    from daily_analytics.warm_up import warm

    warm(load(AnalyticsSettings))


def _body(settings: AnalyticsSettings, run: Run) -> tuple[StageRecord, ObjectStore]:
    # The JVM starts while the rest is imported.
    start_jvm(PROCESS.program, settings.spark, ONE_SHOT)
    from daily_analytics.stage import run_stage

    return run_stage(settings, run)


if __name__ == "__main__":
    main()
