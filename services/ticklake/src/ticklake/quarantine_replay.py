"""Replay of a quarantined message, exactly once.

The decision is kept before; see `ticklake.quarantine_decisions`. Then one Kafka transaction has the message, in its
topic, and a receipt, in the quarantine topic. The transactional id follows from the message's: of two processes that
replay the same, the one that starts later ends the other's transaction before it looks for a receipt. So whichever of
them is killed, and wherever, to do it again sends it if it was not sent, and only then.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from pydantic import ValidationError

from ticklake import kafka
from ticklake.errors import ConfigurationError, StageError
from ticklake.objects import ObjectStore
from ticklake.quarantine import REPLAY_HEADER
from ticklake.quarantine_decisions import Decision, Replayed, note_replayed, replayed
from ticklake.settings import KafkaSettings
from ticklake.topics import QUARANTINE_TOPIC

_CLIENT = "ticklake-replay"
_TRANSACTION_SECONDS = 15.0
"""After so long the broker ends the transaction of a replay that was killed."""
_LOOK_SECONDS = 60.0
"""Longer than a transaction of another replay that was killed keeps receipts behind it from being read."""
_CLOCKS = timedelta(days=1)
"""By which the clocks of those who replay may differ."""
_GO_ON_DAYS = 14
"""So long after the decision a receipt is there for certain: the topic keeps its messages for twice the time."""

Step = Callable[[str], None]


def replay(
    store: ObjectStore, settings: KafkaSettings, decision: Decision, step: Step = lambda _: None
) -> tuple[Replayed, bool]:
    """Send what was decided on, unless it was sent before.

    Args:
        step: is called with the name of each step before it.

    Returns:
        where it went, and whether this call sent it.

    Raises:
        ConfigurationError: the topic is not there, or may not be written to; the decision is too old to tell.
        StageError: store or broker does not answer, or another process replays it: the same call may be repeated.
    """
    if decision.topic is None:
        raise ConfigurationError(f"{decision.id} was {decision.description()}: nothing is replayed")
    if (before := replayed(store, decision.id)) is not None:
        return before, False
    if datetime.now(UTC) - decision.decided_at > timedelta(days=_GO_ON_DAYS):
        raise ConfigurationError(
            f"{decision.id} was {decision.description()}, too long ago to tell whether that was done: look in "
            f"{decision.topic} for the header {REPLAY_HEADER}: {decision.id}"
        )
    step("begin")
    with _transactional(settings, decision.id) as producer:
        step("look")
        found = _receipt(settings, decision)
        if found is None:
            found, sent = _send(producer, settings, decision, step), True
        else:
            sent = False
    step("note")
    note_replayed(store, found)
    return found, sent


@contextmanager
def _transactional(settings: KafkaSettings, message_id: str) -> Iterator[Any]:
    """A producer that alone has the message's transactional id; transactions under way of others are ended."""
    with _translated(settings):
        producer = KafkaProducer(
            **kafka.client_options(settings),
            client_id=_CLIENT,
            metrics_enabled=False,
            transactional_id=f"{_CLIENT}-{message_id}",
            transaction_timeout_ms=int(_TRANSACTION_SECONDS * 1000),
            delivery_timeout_ms=int(settings.timeout_seconds * 2000),
            max_block_ms=int(settings.timeout_seconds * 1000),
            allow_auto_create_topics=False,
        )
    try:
        with _translated(settings):
            producer.init_transactions()
        yield producer
    finally:
        kafka.close_producer(producer)


def _send(producer: Any, settings: KafkaSettings, decision: Decision, step: Step) -> Replayed:
    topic, timeout = decision.topic or "", settings.timeout_seconds

    def sent(to: str, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]) -> Any:
        future = producer.send(to, key=key, value=value, headers=headers)
        producer.flush(timeout=timeout)
        return future.get(timeout=timeout)

    with _translated(settings):
        producer.begin_transaction()
        try:
            step("send")
            place = sent(topic, decision.key, decision.value, [(REPLAY_HEADER, decision.id.encode())])
            done = Replayed(replayed=decision.id, topic=topic, partition=place.partition, offset=place.offset)
            step("receipt")
            sent(QUARANTINE_TOPIC, _receipt_key(decision.id), done.model_dump_json().encode(), [])
            step("commit")
            producer.commit_transaction()
        except BaseException:
            # Who reads committed messages gets none behind it until it is ended; by the broker where it cannot be here.
            with suppress(kafka_errors.KafkaError):
                producer.abort_transaction()
            raise
    return done


def _receipt_key(message_id: str) -> bytes:
    return f"replayed/{message_id}".encode()


def _receipt(settings: KafkaSettings, decision: Decision) -> Replayed | None:
    """The receipt of a replay in the quarantine topic, of committed transactions; None where there is none."""
    with (
        closing(kafka.make_consumer(settings, _CLIENT)) as consumer,
        closing(kafka.make_consumer(settings, _CLIENT, isolation_level="read_uncommitted")) as end_of_log,
        kafka.translated_errors(settings, f"let {QUARANTINE_TOPIC} be read"),
    ):
        places = [TopicPartition(QUARANTINE_TOPIC, n) for n in consumer.partitions_for_topic(QUARANTINE_TOPIC) or ()]
        if not places:
            raise kafka_errors.UnknownTopicOrPartitionError(QUARANTINE_TOPIC)
        consumer.assign(places)
        # Not the end of what is committed: behind an open transaction of another replay there can be a receipt.
        ends = end_of_log.end_offsets(places)
        since = round((decision.decided_at - _CLOCKS).timestamp() * 1000)
        for place, first in consumer.offsets_for_times(dict.fromkeys(places, since)).items():
            consumer.seek(place, ends[place] if first is None else first.offset)
        deadline = time.monotonic() + _LOOK_SECONDS
        while any(consumer.position(place) < ends[place] for place in places):
            if time.monotonic() > deadline:
                raise StageError(f"a transaction in {QUARANTINE_TOPIC} does not end: try again in a minute")
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    if record.key == _receipt_key(decision.id) and (found := _read(record.value)) is not None:
                        return found
    return None


def _read(value: bytes | None) -> Replayed | None:
    try:
        return Replayed.model_validate_json(value or b"")
    except ValidationError:
        return None


@contextmanager
def _translated(settings: KafkaSettings) -> Iterator[None]:
    with kafka.translated_errors(settings, "replay a message"):
        try:
            yield
        except (
            kafka_errors.ProducerFencedError,
            kafka_errors.InvalidProducerEpochError,
            kafka_errors.ConcurrentTransactionsError,
        ) as error:
            raise StageError(
                "its transaction was ended, as another process replays the same message or it took too long: try again"
            ) from error
