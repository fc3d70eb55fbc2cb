"""The source `replay`: recorded real bars, asked for with the very code that asks Yahoo."""

from collections.abc import Iterator
from contextlib import contextmanager

from fetch_historical.batch_period import Period
from fetch_historical.recordings import first_recorded_session, last_recorded_session
from fetch_historical.settings import YahooSettings
from ticklake.errors import ConfigurationError


@contextmanager
def replay_settings(period: Period, settings: YahooSettings) -> Iterator[YahooSettings]:
    """Run the local server while the block does; yields `settings` pointing to it.

    The server answers as Yahoo would have on the evening of the period's end.

    Raises:
        ConfigurationError: the recording has no session in the period.
    """
    from fetch_historical.replay_server import served

    first, last = first_recorded_session(), last_recorded_session()
    if period.last < first or period.first > last:
        raise ConfigurationError(
            f"the recorded bars reach from {first} to {last}, and the period from {period.first} to {period.last} "
            f"has none of them: choose --date {last} or earlier"
        )
    with served(as_of=period.last) as server:
        yield settings.model_copy(update={"endpoint": server.url, "ca_file": None})
