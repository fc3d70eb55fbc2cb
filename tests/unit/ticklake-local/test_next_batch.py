"""When `ticklake live` runs its next batch: half an hour after each close of the New York exchange.

Closes as the exchange publishes them: 16:00 New York time, 13:00 on early-close days; UTC is 5 hours later in winter
and 4 in summer.
"""

from datetime import UTC, datetime

import pytest

from ticklake_local.live import next_batch_time


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2024-01-10T12:00", "2024-01-10T21:30"),  # a Wednesday, before it opens
        ("2024-01-10T21:29", "2024-01-10T21:30"),
        ("2024-01-10T21:30", "2024-01-11T21:30"),  # due is not in the future any more
        ("2024-01-11T01:00", "2024-01-11T21:30"),  # the evening before, in New York
        ("2024-07-10T20:15", "2024-07-10T20:30"),  # summer time
        ("2024-01-12T22:00", "2024-01-16T21:30"),  # over a weekend and Martin Luther King Day (15 January)
        ("2024-01-13T12:00", "2024-01-16T21:30"),
        ("2024-11-28T12:00", "2024-11-29T18:30"),  # Thanksgiving; the day after closes at 13:00
        ("2024-11-29T18:31", "2024-12-02T21:30"),
        ("2024-07-03T16:00", "2024-07-03T17:30"),  # closes at 13:00 before Independence Day
        ("2024-12-24T18:00", "2024-12-24T18:30"),
        ("2024-12-24T19:00", "2024-12-26T21:30"),
        ("2024-03-08T22:00", "2024-03-11T20:30"),  # summer time begins on the weekend between
    ],
)
def test_next_batch_time(now: str, due: str) -> None:
    at = next_batch_time("XNYS", datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert at == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_another_exchange_closes_at_another_time() -> None:
    """London closes at 16:30, in summer 15:30 UTC."""
    assert next_batch_time("XLON", datetime(2024, 7, 10, 12, tzinfo=UTC)) == datetime(2024, 7, 10, 16, tzinfo=UTC)
