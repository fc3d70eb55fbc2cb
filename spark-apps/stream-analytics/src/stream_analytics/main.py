"""Entry point of `stream-analytics`."""

import threading
from collections.abc import Sequence
from typing import NoReturn

from stream_analytics.settings import APP, StreamAnalyticsSettings
from ticklake.service import service_main
from ticklake.spark import start_jvm
from ticklake.spark_jvm import ONE_SHOT


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Sliding windows over live ticks, until SIGTERM or until enough are closed."""
    service_main(APP, StreamAnalyticsSettings, _run, argv)


def _run(settings: StreamAnalyticsSettings, stop: threading.Event) -> None:
    short = settings.stream.until_closed_windows > 0
    start_jvm(APP, settings.spark, ONE_SHOT if short else ())
    from stream_analytics.service import run  # imports PySpark, which takes as long as the JVM's start

    run(settings, stop)


if __name__ == "__main__":
    main()
