"""Kafka: clients from settings, deliveries that are confirmed, errors that say what to do."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors

from ticklake.errors import ConfigurationError, CredentialsError, StageError
from ticklake.lineage import OffsetRange
from ticklake.settings import KafkaSettings
from ticklake.topics import TopicSpec

_CLOSE_SECONDS = 1.0

Headers = Sequence[tuple[str, bytes]]


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """kafka-python options that every client shares."""
    timeout_ms = int(settings.timeout_seconds * 1000)
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": timeout_ms,
        "bootstrap_timeout_ms": timeout_ms,
        # The library waits up to 30 s between two tries, which makes a broker's short absence a long one.
        "reconnect_backoff_max_ms": 1000,
    }
    if settings.ca_file is not None:
        options["ssl_cafile"] = str(settings.ca_file)
    if settings.security_protocol.startswith("SASL"):
        if settings.username is None or settings.password is None:
            raise ConfigurationError(
                f"TICKLAKE_KAFKA_SECURITY_PROTOCOL is {settings.security_protocol}: "
                "set TICKLAKE_KAFKA_USERNAME and TICKLAKE_KAFKA_PASSWORD too"
            )
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": settings.password.get_secret_value(),
        }
    return options


def rejected(settings: KafkaSettings) -> CredentialsError:
    """The error for credentials that the broker rejects."""
    return CredentialsError(
        f"Kafka at {settings.bootstrap_servers} rejects the credentials of user {settings.username}: "
        "check TICKLAKE_KAFKA_USERNAME and TICKLAKE_KAFKA_PASSWORD"
    )


@contextmanager
def translated_errors(settings: KafkaSettings, action: str) -> Iterator[None]:
    """Turn kafka-python's errors into the stage's, with one line that says what to do."""
    where = settings.bootstrap_servers
    # To the library, a rejected sign-in is mostly a broker that is away: see `kafka_sign_in`.
    signs_in = ", _USERNAME and _PASSWORD" if settings.security_protocol.startswith("SASL") else ""
    try:
        yield
    except kafka_errors.SaslAuthenticationFailedError as error:
        raise rejected(settings) from error
    except kafka_errors.UnsupportedSaslMechanismError as error:
        raise ConfigurationError(f"Kafka at {where} lacks TICKLAKE_KAFKA_SASL_MECHANISM: {error}") from error
    except kafka_errors.AuthorizationError as error:
        raise ConfigurationError(f"Kafka at {where} does not allow to {action}: {error}") from error
    except (kafka_errors.UnknownTopicOrPartitionError, kafka_errors.InvalidTopicError) as error:
        raise ConfigurationError(f"Kafka at {where} lacks the topic to {action}: create it") from error
    except kafka_errors.MessageSizeTooLargeError as error:
        raise ConfigurationError(f"Kafka at {where}: a message is too large to {action}: {error}") from error
    except (kafka_errors.KafkaConfigurationError, ValueError) as error:
        raise ConfigurationError(f"Kafka settings for {where} are wrong: {error}") from error
    except kafka_errors.KafkaError as error:
        raise StageError(
            f"Kafka at {where} does not {action} within {settings.timeout_seconds:g} s "
            f"({type(error).__name__}): is the broker up, and TICKLAKE_KAFKA_BOOTSTRAP_SERVERS{signs_in} right?"
        ) from error


class ConfirmedProducer:
    """An idempotent producer (`acks=all`) whose every delivery is confirmed: what cannot be sent fails the stage.

    Use it as a context manager; leaving the block without an error confirms everything that was sent.
    """

    _CHECK_EVERY = 10_000

    def __init__(
        self, settings: KafkaSettings, client_id: str, *, linger_ms: int = 20, batch_bytes: int = 256 * 1024
    ) -> None:
        """Connect.

        Args:
            linger_ms: how long a batch waits to fill. The library's default of 0 sends nearly each record alone.
        """
        self._settings = settings
        self._pending: deque[Any] = deque()
        self._confirmed: dict[tuple[str, int], tuple[int, int]] = {}
        self._sent = 0
        with translated_errors(settings, "answer"):
            self._producer = KafkaProducer(
                **client_options(settings),
                client_id=client_id,
                metrics_enabled=False,
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=linger_ms,
                batch_size=batch_bytes,
                delivery_timeout_ms=max(int(settings.timeout_seconds * 2000), linger_ms + 1000),
                max_block_ms=int(settings.timeout_seconds * 1000),
                allow_auto_create_topics=False,
            )

    def __enter__(self) -> "ConfirmedProducer":
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        try:
            if error_type is None:
                self.confirm()
        finally:
            self.close()

    def close(self) -> None:
        """End it, whatever is not confirmed; leaving the block does so."""
        close_producer(self._producer)

    def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers = (), partition: int | None = None
    ) -> None:
        """Hand one message over for delivery; blocks while the client's buffer is full.

        Raises:
            StageError: this or an earlier message cannot be delivered.
        """
        with translated_errors(self._settings, f"take a message for {topic}"):
            try:
                sent = self._producer.send(topic, key=key, value=value, headers=list(headers), partition=partition)
            except kafka_errors.KafkaTimeoutError as error:
                # To the library, a topic that its user may not see is one whose partitions it has yet to learn.
                if topic in self._producer._metadata.unauthorized_topics:
                    raise kafka_errors.TopicAuthorizationFailedError(topic) from error
                raise
            self._pending.append(sent)
        self._sent += 1
        if self._sent % self._CHECK_EVERY == 0:
            self._settle(wait=False)

    def check(self) -> int:
        """How many messages are not confirmed yet; does not wait.

        Raises:
            StageError: a message cannot be delivered.
        """
        self._settle(wait=False)
        return len(self._pending)

    def confirm(self) -> tuple[OffsetRange, ...]:
        """Wait until every message is confirmed.

        Returns:
            per partition the range that encloses all messages sent since the producer was made; messages of other
            producers can lie in between.
        """
        with translated_errors(self._settings, "confirm every message"):
            self._producer.flush(timeout=self._settings.timeout_seconds * 2)
        self._settle(wait=True)
        return tuple(
            OffsetRange(topic=topic, partition=partition, first=first, last=last)
            for (topic, partition), (first, last) in sorted(self._confirmed.items())
        )

    def _settle(self, *, wait: bool) -> None:
        while self._pending and (wait or self._pending[0].is_done):
            with translated_errors(self._settings, "confirm a message"):
                metadata = self._pending.popleft().get(timeout=self._settings.timeout_seconds)
            place = (metadata.topic, metadata.partition)
            first, last = self._confirmed.get(place, (metadata.offset, metadata.offset))
            self._confirmed[place] = (min(first, metadata.offset), max(last, metadata.offset))


def close_producer(producer: KafkaProducer) -> None:
    """Close a producer of the library, dropping what is not delivered."""
    # Where something is not delivered, the library's `close` alone raises an error of its own, twice.
    producer._sender.force_close()
    producer._sender.join(_CLOSE_SECONDS)
    with suppress(kafka_errors.KafkaError):
        producer.close(timeout=0)
    # Where the library's thread hangs, `close` fails, and would again when Python collects the object: with a
    # traceback, after the stage's own line.
    producer._closed = True


def make_consumer(settings: KafkaSettings, client_id: str, **options: Any) -> Any:
    """A `KafkaConsumer` that commits only on request and never skips: a lost position is an error."""
    defaults: dict[str, Any] = {
        "client_id": client_id,
        "metrics_enabled": False,
        "enable_auto_commit": False,
        # Messages of an aborted transaction are no data.
        "isolation_level": "read_committed",
        "auto_offset_reset": "none",
        "allow_auto_create_topics": False,
        "fetch_max_wait_ms": 100,
        "max_poll_records": 5000,
        "max_partition_fetch_bytes": 8 * 1024 * 1024,
    }
    with translated_errors(settings, "answer"):
        return KafkaConsumer(**(client_options(settings) | defaults | options))


@contextmanager
def admin(settings: KafkaSettings, client_id: str = "ticklake-admin") -> Iterator[Any]:
    """A `KafkaAdminClient`, closed at the end."""
    with translated_errors(settings, "answer"):
        client = KafkaAdminClient(**client_options(settings), client_id=client_id)
    try:
        yield client
    finally:
        client.close()


def ensure_topics(settings: KafkaSettings, topics: Iterable[TopicSpec], replication_factor: int = 1) -> None:
    """Create the topics that are missing; those that exist stay as they are."""
    with admin(settings) as client, translated_errors(settings, "create topics"):
        existing = set(client.list_topics())
        missing = {
            spec.name: {
                "num_partitions": spec.partitions,
                "replication_factor": replication_factor,
                "configs": spec.config,
            }
            for spec in topics
            if spec.name not in existing
        }
        if missing:
            client.create_topics(missing, wait_for_metadata=True)


def delete_topics(settings: KafkaSettings, topics: Iterable[str]) -> None:
    """Delete topics with all their messages."""
    with admin(settings) as client, translated_errors(settings, "delete topics"):
        client.delete_topics(list(topics))


def topic_id(settings: KafkaSettings, topic: str) -> str:
    """The topic's id (a UUID): a topic recreated under the same name has another.

    Raises:
        ConfigurationError: there is no such topic.
    """
    with admin(settings) as client, translated_errors(settings, f"describe {topic}"):
        for described in client.describe_topics([topic]):
            if described["name"] == topic and not described.get("error_code"):
                return str(described["topic_id"])
    raise ConfigurationError(f"Kafka at {settings.bootstrap_servers} has no topic {topic}: create it")


def end_offsets(settings: KafkaSettings, topic: str) -> dict[int, int]:
    """Per partition of `topic` the offset that the next message will get."""
    consumer = make_consumer(settings, "ticklake-offsets")
    try:
        with translated_errors(settings, f"read the end offset of {topic}"):
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            found = consumer.end_offsets(partitions)
        return {place.partition: offset for place, offset in found.items()}
    finally:
        consumer.close()
