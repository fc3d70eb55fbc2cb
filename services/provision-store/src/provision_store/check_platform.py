"""`check-platform`: writes to Kafka and the store and reads back, as a stage would."""

import threading
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from kafka import TopicPartition

from provision_store.retries import until_done
from provision_store.settings import CheckSettings
from ticklake import logs
from ticklake.errors import IntegrityError
from ticklake.kafka import ConfirmedProducer, make_consumer, translated_errors
from ticklake.objects import ObjectStore
from ticklake.service import service_main

log = logs.get(__name__)

_NAME = "check-platform"


def check(settings: CheckSettings, stop: threading.Event) -> None:
    """Write one message and one object and read both back, trying again until the deadline.

    Raises:
        ConfigurationError: keys, rights or names are wrong.
        StageError, IntegrityError: a place does not answer in time or gives back something else.
    """
    deadline = time.monotonic() + settings.check_wait_seconds
    for what, attempt in (("store", _check_store), ("kafka", _check_kafka)):
        left = deadline - time.monotonic()
        until_done(what, partial(attempt, settings), left, stop)
        log.info("written and read back", where=what)


def _check_store(settings: CheckSettings) -> None:
    token = uuid.uuid4().hex.encode()
    store = ObjectStore(settings.store)
    key = f"{settings.check_prefix}/{token.decode()}.txt"
    if not store.put_if_absent(key, token) or store.put_if_absent(key, b"second"):
        raise IntegrityError(f"the store does not honour If-None-Match at {key}: ticks could be archived twice")
    found = store.get(key)
    store.delete(key)
    if found != token:
        raise IntegrityError(f"the store gave back something else than was written to {key}")


def _check_kafka(settings: CheckSettings) -> None:
    token = uuid.uuid4().hex.encode()
    topic = settings.check_topic
    with ConfirmedProducer(settings.kafka, _NAME) as producer:
        producer.send(topic, key=b"check", value=token)
        ranges = producer.confirm()
    (place,) = ranges
    consumer = make_consumer(settings.kafka, _NAME, group_id=None)
    try:
        with translated_errors(settings.kafka, "deliver the message"):
            partition = TopicPartition(topic, place.partition)
            consumer.assign([partition])
            consumer.seek(partition, place.first)
            polled = consumer.poll(timeout_ms=int(settings.kafka.timeout_seconds * 1000), max_records=1)
    finally:
        consumer.close()
    if [record.value for records in polled.values() for record in records] != [token]:
        raise IntegrityError(f"Kafka gave back something else than was sent to {topic}")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Check once and exit."""
    service_main(_NAME, CheckSettings, check, argv)
