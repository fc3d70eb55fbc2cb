"""What the real servers answer to the acts of one user: that it may, or that it may not."""

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from waiting import wait_until

from ticklake.objects import error_code
from ticklake.settings import StoreSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WAIT_SECONDS = 60


class StoreUser:
    """A user of the store. Each method says whether the store does it; an answer of another kind is an error.

    Safe for use from several threads, except to be made.
    """

    def __init__(self, settings: StoreSettings, access_key: str, secret_key: str) -> None:
        self._bucket = settings.bucket
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(s3={"addressing_style": "path"}),
        )

    def get(self, key: str, bucket: str = "") -> bool:
        """Read an object; that there is none is told only to those who may read it."""
        return _stores(
            lambda: self._client.get_object(Bucket=bucket or self._bucket, Key=key)["Body"].read(), "NoSuchKey"
        )

    def put(self, key: str, bucket: str = "") -> bool:
        """Write an object."""
        return _stores(lambda: self._client.put_object(Bucket=bucket or self._bucket, Key=key, Body=b"put"))

    def delete(self, key: str, bucket: str = "") -> bool:
        """Remove an object; none being there is no error."""
        return _stores(lambda: self._client.delete_object(Bucket=bucket or self._bucket, Key=key))

    def list(self, prefix: str | None, bucket: str = "") -> bool:
        """List what lies below a prefix, or, with None, ask for no prefix at all."""
        below: Any = {} if prefix is None else {"Prefix": prefix}
        return _stores(lambda: self._client.list_objects_v2(Bucket=bucket or self._bucket, MaxKeys=1, **below))

    def make_bucket(self, bucket: str) -> bool:
        """Make another bucket."""
        return _stores(lambda: self._client.create_bucket(Bucket=bucket))

    def remove_bucket(self) -> bool:
        """Remove the bucket, which nobody can while something lies in it."""
        return _stores(lambda: self._client.delete_bucket(Bucket=self._bucket), "BucketNotEmpty")

    def open_bucket(self) -> bool:
        """Give everybody the right to read the bucket."""
        everybody = (
            '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], '
            f'"Resource": ["arn:aws:s3:::{self._bucket}/*"]}}]}}'
        )
        return _stores(lambda: self._client.put_bucket_policy(Bucket=self._bucket, Policy=everybody))


def _stores(act: Callable[[], object], *done: str) -> bool:
    try:
        act()
    except ClientError as error:
        code = error_code(error)
        if code == "AccessDenied":
            return False
        if code not in done:
            raise
    return True


# Of a topic that it may not describe, a user need not learn whether it is there.
_OF_TOPIC = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART)
_OF_GROUP = (KafkaError.GROUP_AUTHORIZATION_FAILED,)
_OF_CLUSTER = (KafkaError.CLUSTER_AUTHORIZATION_FAILED,)
# A new broker makes the topic of the groups' progress at the first request.
_NOT_READY = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


class KafkaUser:
    """A user of Kafka, or with no name whoever needs no sign-in. An error that is no refusal is raised."""

    def __init__(self, bootstrap_servers: str, name: str = "", password: str = "") -> None:
        self._options: dict[str, Any] = {"bootstrap.servers": bootstrap_servers}
        if name:
            self._options |= {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": name,
                "sasl.password": password,
            }
        self._name = name
        self._admin = AdminClient(self._options)

    def topics(self, names: Iterable[str]) -> dict[str, set[str]]:
        """What the broker says that the user may do with each topic; of what it may not look at, nothing."""
        wanted = TopicCollection([*names])
        return _operations(self._admin.describe_topics(wanted, include_authorized_operations=True), _OF_TOPIC)

    def groups(self, names: Iterable[str]) -> dict[str, set[str]]:
        """The same of consumer groups, which must be there."""
        described = self._admin.describe_consumer_groups([*names], include_authorized_operations=True)
        return _operations(described, _OF_GROUP)

    def cluster(self) -> set[str]:
        """The same of the cluster."""
        described = self._admin.describe_cluster(include_authorized_operations=True)
        return _operations({"": described}, _OF_CLUSTER)[""]

    def commits(self, group: str, topic: str) -> bool:
        """Set the group's progress in a topic; only that the group is not the user's is a refusal."""
        (answer,) = wait_until(lambda: self._commit(group, topic), seconds=_WAIT_SECONDS)
        return answer

    def _commit(self, group: str, topic: str) -> list[bool]:
        """The answer, if the broker is ready to coordinate the group."""
        place = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 0)])
        (altered,) = self._admin.alter_consumer_group_offsets([place]).values()
        try:
            # To one who may look at the group, the broker answers partition by partition.
            error = altered.result(_WAIT_SECONDS).topic_partitions[0].error
        except KafkaException as failed:
            error = failed.args[0]
        if error is not None and error.code() in _NOT_READY:
            return []
        return [error is None or not _refused(error, _OF_GROUP)]

    def changes(self, topic: str) -> dict[str, bool]:
        """Whether the broker does what changes a topic that is there and has fewer than eight partitions."""
        entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        return {
            "configure": _done(self._admin.incremental_alter_configs([resource]), _OF_TOPIC),
            "add partitions": _done(self._admin.create_partitions([NewPartitions(topic, 8)]), _OF_TOPIC),
            "delete": _done(self._admin.delete_topics([topic]), _OF_TOPIC),
        }

    def governs(self) -> dict[str, bool]:
        """Whether the broker makes a topic, gives the user all rights, and gives it another password."""
        everything = AclBinding(
            ResourceType.TOPIC,
            "*",
            ResourcePatternType.LITERAL,
            f"User:{self._name}",
            "*",
            AclOperation.ALL,
            AclPermissionType.ALLOW,
        )
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        password = UserScramCredentialUpsertion(self._name, how, b"another")
        return {
            "make a topic": _done(self._admin.create_topics([NewTopic("made-by-a-user", 1, 1)]), _OF_TOPIC),
            "take rights": _done(self._admin.create_acls([everything]), _OF_CLUSTER),
            "take a password": _done(self._admin.alter_user_scram_credentials([password]), _OF_CLUSTER),
        }

    def produces(self, topics: Iterable[str]) -> dict[str, bool]:
        """Whether the broker takes a message for each topic."""
        # Without idempotence, whose refusal would end the producer: the next topic is asked about too.
        producer = Producer(self._options | {"enable.idempotence": False, "message.timeout.ms": _WAIT_SECONDS * 1000})
        found: dict[str, bool] = {}

        def delivered(error: KafkaError | None, message: Message) -> None:
            found[str(message.topic())] = error is None or not _refused(error, _OF_TOPIC)

        for topic in topics:
            producer.produce(topic, b"message", key=b"key", partition=0, on_delivery=delivered)
        assert producer.flush(_WAIT_SECONDS) == 0
        return found

    def consumes(self, topics: Collection[str]) -> dict[str, bool]:
        """Whether the broker gives what is in each topic, or says that there is nothing."""
        found: dict[str, bool] = {}
        own = {"group.id": "none", "enable.auto.commit": False, "enable.partition.eof": True}
        consumer = Consumer(self._options | own)
        try:
            for topic in topics:
                # The client waits for ever for a topic that its user may not look at, and so never asks for messages.
                error = consumer.list_topics(topic, _WAIT_SECONDS).topics[topic].error
                if error is not None:
                    found[topic] = not _refused(error, _OF_TOPIC)
            asked = {*topics} - found.keys()
            consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in asked])

            def answered() -> bool:
                message = consumer.poll(1)
                # An error of no topic is about the group, of which nothing is wanted.
                if message is not None and (topic := message.topic()) in asked:
                    error = message.error()
                    empty = error is not None and error.code() == KafkaError._PARTITION_EOF
                    found[str(topic)] = error is None or empty or not _refused(error, _OF_TOPIC)
                return asked <= found.keys()

            wait_until(answered, lambda: found, seconds=_WAIT_SECONDS, pause=0)
        finally:
            consumer.close()
        return found


def _refused(error: KafkaError, refusals: Collection[int]) -> bool:
    """True.

    Raises:
        KafkaException: it is another error.
    """
    if error.code() not in refusals:
        raise KafkaException(error)
    return True


def _done(futures: dict[Any, Future[Any]], refusals: Collection[int]) -> bool:
    (only,) = futures.values()
    try:
        only.result(_WAIT_SECONDS)
    except KafkaException as error:
        return not _refused(error.args[0], refusals)
    return True


def _operations(futures: dict[str, Future[Any]], refusals: Collection[int]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {name: set() for name in futures}
    for name, each in futures.items():
        try:
            found[name] |= {operation.name for operation in each.result(_WAIT_SECONDS).authorized_operations or ()}
        except KafkaException as error:
            _refused(error.args[0], refusals)
    return found
