"""Gets a long-lived process ready, so that the stages it runs later find a session with everything loaded."""

import uuid
from datetime import UTC, date, datetime, timedelta

from daily_analytics import reading, writing
from daily_analytics.indicators import daily_analytics
from daily_analytics.settings import AnalyticsSettings
from daily_analytics.stage import APP, suit
from ticklake.objects import ObjectStore
from ticklake.spark import build_session, translated_errors
from ticklake.tables import BAR_COLUMNS

_SESSIONS = 40


def warm(settings: AnalyticsSettings) -> None:
    """Start a session and take a few made-up bars through all that a stage does, in a folder of their own.

    Raises:
        StageError: Spark does not start, or the store fails.
    """
    store, bucket = ObjectStore(settings.store), settings.store.bucket
    folder = f"warm-up/{uuid.uuid4().hex}"
    url = f"s3a://{bucket}/{folder}"
    with translated_errors("start"):
        session = build_session(APP, settings.spark, settings.store)
    try:
        store.put(f"{folder}/bars.csv", _bars().encode())
        with translated_errors("compute"):
            suit(session, parts=1)
            bars = reading.raw_bars(session, [f"{url}/bars.csv"])
            writing.write_new(daily_analytics(bars, None, 1), f"{url}/older")
            stored = reading.stored_rows(session, [f"{url}/older/symbol=AAA"])
            writing.write_new(daily_analytics(bars, stored, 1), f"{url}/newer")
    finally:
        writing.remove(store, [found.key for found in store.list_objects(f"{folder}/")])


def _bars() -> str:
    fetched_at, first = datetime(2000, 3, 1, tzinfo=UTC), date(2000, 1, 3)
    lines = [",".join(column.name for column in BAR_COLUMNS)]
    for number in range(_SESSIONS):
        price = 100.0 + number
        values = (
            "AAA", first + timedelta(days=number), price, price + 1, price - 1, price, price, 1000, 0.0, 0.0, "USD",
            "simulated", "warm-up", fetched_at.date(), number, f"{fetched_at:%Y-%m-%dT%H:%M:%S}.000Z", "none",
        )  # fmt: skip
        lines.append(",".join(map(str, values)))
    return "\n".join(lines) + "\n"
