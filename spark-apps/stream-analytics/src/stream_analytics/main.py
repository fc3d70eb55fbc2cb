"""Entry point of stream-analytics."""

from typing import NoReturn

from ticklake.stage import service_main


def main() -> NoReturn:
    """Run the application until SIGTERM."""
    from stream_analytics.app import run
    from stream_analytics.settings import StreamAnalyticsSettings

    service_main("stream-analytics", StreamAnalyticsSettings, run)


if __name__ == "__main__":
    main()
