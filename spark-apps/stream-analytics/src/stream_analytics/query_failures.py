"""Why a query failed, as one line, and what can be done about it."""

import re

from botocore.exceptions import ClientError
from kafka.errors import SaslAuthenticationFailedError
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession

from stream_analytics.settings import StreamAnalyticsSettings
from ticklake.errors import ConfigurationError, ExitCode, IntegrityError, StageError
from ticklake.objects import error_code
from ticklake.spark import kafka_options

RESET = (
    "set TICKLAKE_WINDOWS_CHECKPOINT=reset-1, or another name that was not used before (on Kubernetes: "
    "helm upgrade ticklake charts/ticklake --namespace ticklake --reuse-values "
    "--set stages.stream-analytics.env.TICKLAKE_WINDOWS_CHECKPOINT=reset-1)"
)
"""How a person starts with new checkpoints; the README has the same commands."""

_CAUSE = re.compile(r"^Caused by: (?P<kind>[\w.$]+)(?:: (?P<text>.*))?$", re.MULTILINE)
_HEAD = re.compile(r"^(?P<kind>[\w.$]*(?:Exception|Error))(?:: (?P<text>.*))?$", re.MULTILINE)
_DATA_LOSS = ("KAFKA_DATA_LOSS", "KAFKA_START_OFFSET_DOES_NOT_MATCH", "data loss", "may have been missed")
_REJECTED_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch")


class CheckpointError(IntegrityError):
    """The checkpoints cannot be gone on from, whatever is tried: a person must start with new ones."""

    exit_code = ExitCode.UNUSABLE


class ProcessError(StageError):
    """A new process may help, another try in this one cannot: its JVM ended, or its credentials are rejected."""


def recreated(topic: str, old: str, new: str) -> CheckpointError:
    """The error where the checkpoints' offsets are of the topic with the id `old`, and today's has another."""
    return CheckpointError(
        f"topic {topic} was recreated (topic id {old}, now {new}): the checkpoint's offsets are of the old one. To "
        f"start with the new one, {RESET}"
    )


def raise_final(error: StageError, settings: StreamAnalyticsSettings, spark: SparkSession) -> None:
    """Raise what ends the process because of `error`; returns where another try in this process may help.

    Credentials that are rejected may have been rotated. The environment of a process never changes: a new one reads the
    new credentials.
    """
    cause = error.__cause__
    if isinstance(cause, SaslAuthenticationFailedError):
        raise rejected_by_kafka(settings) from error
    if isinstance(cause, ClientError) and error_code(cause) in _REJECTED_KEYS:
        raise ProcessError(str(error)) from error
    if isinstance(error, ConfigurationError | IntegrityError | ProcessError) or settings.stream.ends_by_itself:
        raise error
    try:
        ended = spark.sparkContext._jsc.sc().isStopped()
    except (Py4JError, OSError):
        ended = True
    if ended:
        raise error


def check_sign_in(settings: StreamAnalyticsSettings, spark: SparkSession) -> None:
    """Sign in to Kafka by the client that Spark uses, where there is a sign-in.

    Other clients of this application repeat a rejected sign-in until their time is over, and then cannot distinguish it
    from a broker that is away.

    Raises:
        ProcessError: Kafka rejects the credentials.
    """
    if not settings.kafka.security_protocol.startswith("SASL"):
        return
    options = {name.removeprefix("kafka."): value for name, value in kafka_options(settings.kafka).items()}
    limits = {"request.timeout.ms": "5000", "default.api.timeout.ms": "10000"}
    java = spark._jvm
    assert java is not None  # noqa: S101 - None belongs to Spark Connect
    admin = java.org.apache.kafka.clients.admin.AdminClient.create({**options, **limits})
    try:
        admin.describeCluster().clusterId().get()
    except Py4JJavaError as error:
        if "SaslAuthenticationException" in str(error.java_exception):
            raise rejected_by_kafka(settings) from error
    finally:
        admin.close()


def rejected_by_kafka(settings: StreamAnalyticsSettings) -> ProcessError:
    """The error where Kafka does not take the password."""
    kafka = settings.kafka
    return ProcessError(
        f"Kafka at {kafka.bootstrap_servers} rejects the credentials of user {kafka.username}: check "
        "TICKLAKE_KAFKA_USERNAME and TICKLAKE_KAFKA_PASSWORD"
    )


def explained(query: str, error: StreamingQueryException | None, settings: StreamAnalyticsSettings) -> StageError:
    """The stage's error for what ended `query`: its root cause, and what to do where that is known."""
    if error is None:
        return StageError(f"the query {query} ended by itself")
    return explained_text(query, str(error), settings)


def explained_text(query: str, text: str, settings: StreamAnalyticsSettings) -> StageError:
    """`explained` for the text of an exception with its Java stack."""
    kind, reason = root_cause(text)
    kafka, topic = settings.kafka, settings.live.names.topic
    if "UnknownTopicOrPartition" in kind:
        return ConfigurationError(f"Kafka at {kafka.bootstrap_servers} lacks a topic ({query}): create it")
    if any(words in text for words in _DATA_LOSS) or "OffsetOutOfRange" in kind:
        return CheckpointError(
            f"Kafka no longer has offsets of {topic} that were not read yet ({query}: {reason}); the archive may have "
            f"them. To go on with what is there, {RESET}"
        )
    if "log file" in reason and "malformed" in reason:
        return CheckpointError(f"the checkpoint of the query {query} is damaged ({reason}): {RESET}")
    if "SaslAuthenticationException" in text:
        return rejected_by_kafka(settings)
    if any(code in text for code in _REJECTED_KEYS):
        return ProcessError(
            f"the store rejects the key ({query}: {reason}): check TICKLAKE_STORE_ACCESS_KEY and "
            "TICKLAKE_STORE_SECRET_KEY"
        )
    if "OutOfMemoryError" in text:
        return ProcessError(f"Spark's JVM ran out of memory ({query}: {reason})")
    if "TimeoutException" in kind and "kafka" in text:
        return StageError(f"Kafka at {kafka.bootstrap_servers} does not answer ({query}: {reason})")
    what = ": ".join(part for part in (kind.rpartition(".")[2], reason.removeprefix(": ")) if part)
    return StageError(f"the query {query} failed: {what}")


def root_cause(text: str) -> tuple[str, str]:
    """Java class and message of the innermost cause in an exception's text."""
    causes = list(_CAUSE.finditer(text)) or list(_HEAD.finditer(text))
    if not causes:
        return "", text.strip().splitlines()[0] if text.strip() else "no reason given"
    last = causes[-1]
    return last["kind"], (last["text"] or "").strip() or "no reason given"
