"""Producers as others have them: librdkafka's, with any compression, and in transactions."""

import uuid
from collections.abc import Iterable

import confluent_kafka

from ticklake.settings import KafkaSettings

Message = tuple[str | None, bytes]
COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")


def produce(
    kafka: KafkaSettings,
    topic: str,
    messages: Iterable[Message],
    compression: str = "none",
    partitioner: str = "murmur2_random",
) -> None:
    """Send key and value, all in batches of that compression.

    Args:
        partitioner: librdkafka's name of it; the default is that of Java's and kafka-python's clients.
    """
    producer = _producer(kafka, compression, {"partitioner": partitioner})
    for key, value in messages:
        producer.produce(topic, key=key, value=value)
    assert producer.flush(60) == 0


def transact(kafka: KafkaSettings, topic: str, messages: Iterable[Message], *, commit: bool) -> None:
    """Send key and value in one transaction and commit or abort it."""
    producer = _producer(kafka, "none", {"transactional.id": uuid.uuid4().hex})
    producer.init_transactions(60)
    producer.begin_transaction()
    for key, value in messages:
        producer.produce(topic, key=key, value=value)
    assert producer.flush(60) == 0
    if commit:
        producer.commit_transaction(60)
    else:
        producer.abort_transaction(60)


def _producer(kafka: KafkaSettings, compression: str, more: dict[str, str] | None = None) -> confluent_kafka.Producer:
    return confluent_kafka.Producer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "compression.type": compression,
            "partitioner": "murmur2_random",
            "linger.ms": 50,
            **(more or {}),
        }
    )
