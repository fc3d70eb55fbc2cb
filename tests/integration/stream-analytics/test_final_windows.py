"""How late a missing tick can be, on a real broker: from the first tick behind a gap, in several partitions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kafka import TopicPartition

from stream_analytics.checkpoint_records import gaps
from stream_analytics.final_windows import missing_until
from stream_analytics.settings import StreamAnalyticsSettings
from stream_analytics.topic_log import first_records, offset_bounds
from ticklake.kafka import ConfirmedProducer, admin
from ticklake.settings import CatalogSettings, KafkaSettings, LiveSettings

NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)
DELAY = timedelta(seconds=300)


@pytest.fixture
def log(kafka_settings: KafkaSettings, live: LiveSettings, tick: Any) -> Any:
    """Appends a tick at some minutes after noon to a partition; None is no tick."""

    def append(partition: int, *minutes: int | None) -> None:
        with ConfirmedProducer(kafka_settings, "test") as producer:
            for minute in minutes:
                body = (
                    b"no tick" if minute is None else tick("A", 1.0, 1, NOON + timedelta(minutes=minute), 0).message()
                )
                producer.send(live.names.topic, key=b"A", value=body, partition=partition)

    return append


def settings(kafka: KafkaSettings, live: LiveSettings, tolerance: float | None = None) -> StreamAnalyticsSettings:
    live = LiveSettings(namespace=live.namespace, future_tolerance_seconds=tolerance)
    return StreamAnalyticsSettings(kafka=kafka, live=live, catalog=CatalogSettings(uri="sqlite:////dev/null"))


def test_a_topic_that_was_recreated(kafka_settings: KafkaSettings, live: LiveSettings, log: Any) -> None:
    chosen = settings(kafka_settings, live)
    (gap,) = gaps(offset_bounds(kafka_settings, live.names.topic), recreated=True)
    assert gap == {0: 0, 1: 0, 2: 0, 3: 0}
    assert missing_until(chosen, gap) is None
    log(2, None, None)
    assert missing_until(chosen, gap) is None
    log(3, None, 10, 7)
    assert missing_until(chosen, gap) == NOON + timedelta(minutes=10) + DELAY
    # What comes later in other partitions changes nothing, however early its time.
    log(0, 3, 11)
    log(2, 2)
    assert missing_until(chosen, gap) == NOON + timedelta(minutes=10) + DELAY


def test_the_append_time_decides_where_no_tick_may_be_ahead_of_it(
    kafka_settings: KafkaSettings, live: LiveSettings, log: Any
) -> None:
    chosen = settings(kafka_settings, live, 60)
    (gap,) = gaps(offset_bounds(kafka_settings, live.names.topic), recreated=True)
    assert missing_until(chosen, gap) is None
    log(1, None)
    log(0, 5)
    (record,) = first_records(kafka_settings, live.names.topic, {1: 0}, lambda _: True)
    appended = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    assert missing_until(chosen, gap) == appended + timedelta(seconds=60)


def test_what_retention_has_deleted(kafka_settings: KafkaSettings, live: LiveSettings, log: Any) -> None:
    topic, chosen = live.names.topic, settings(kafka_settings, live)
    log(0, 0, 1, 2)
    log(1, 0, 4)
    log(2, 9)
    assert gaps(offset_bounds(kafka_settings, topic), recreated=False) == ()
    with admin(kafka_settings) as client:
        client.delete_records({TopicPartition(topic, 0): 2, TopicPartition(topic, 1): 2})
    bounds = offset_bounds(kafka_settings, topic)
    assert bounds == {0: (2, 3), 1: (2, 2), 2: (0, 1), 3: (0, 0)}
    of_the_first, of_the_empty = gaps(bounds, recreated=False)
    assert (of_the_first, of_the_empty) == ({0: 2}, {0: 3, 1: 2, 2: 1, 3: 0})
    assert missing_until(chosen, of_the_first) == NOON + timedelta(minutes=2) + DELAY
    # What an empty partition had is older than anything that comes.
    assert missing_until(chosen, of_the_empty) is None
    log(3, 20)
    log(1, 6)
    assert missing_until(chosen, of_the_empty) == NOON + timedelta(minutes=20) + DELAY
    # Deleted later, the first message behind a gap is one that comes after it.
    with admin(kafka_settings) as client:
        client.delete_records({TopicPartition(topic, 0): 3})
    assert missing_until(chosen, of_the_first) is None
    log(0, 30)
    assert missing_until(chosen, of_the_first) == NOON + timedelta(minutes=30) + DELAY
