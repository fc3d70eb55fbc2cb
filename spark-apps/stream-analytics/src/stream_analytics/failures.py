"""Why a query failed, as one line."""

import re

from pyspark.errors import StreamingQueryException

from stream_analytics.settings import StreamAnalyticsSettings
from ticklake.errors import ConfigurationError, IntegrityError, StageError

_CAUSE = re.compile(r"^Caused by: (?P<kind>[\w.$]+)(?:: (?P<text>.*))?$", re.MULTILINE)
_HEAD = re.compile(r"^(?P<kind>[\w.$]*(?:Exception|Error))(?:: (?P<text>.*))?$", re.MULTILINE)


def explained(query: str, error: StreamingQueryException | None, settings: StreamAnalyticsSettings) -> StageError:
    """The stage's error for what ended `query`: its root cause, and what to do where that is known."""
    if error is None:
        return StageError(f"the query {query} ended by itself")
    return explained_text(query, str(error), settings)


def explained_text(query: str, text: str, settings: StreamAnalyticsSettings) -> StageError:
    """`explained` for the text of an exception with its Java stack."""
    kind, reason = root_cause(text)
    topic = settings.live.names.topic
    if "UnknownTopicOrPartition" in kind:
        return ConfigurationError(f"Kafka at {settings.kafka.bootstrap_servers} lacks a topic ({query}): create it")
    if "data loss" in text or "may have been missed" in text or "OffsetOutOfRange" in kind:
        return IntegrityError(
            f"Kafka no longer has offsets of {topic} that were not read yet ({reason}); the archive may have them. To "
            "go on with what is there, set TICKLAKE_WINDOWS_CHECKPOINT to a new folder"
        )
    if "TimeoutException" in kind and "kafka" in text:
        return StageError(f"Kafka at {settings.kafka.bootstrap_servers} does not answer ({query}: {reason})")
    return StageError(f"the query {query} failed: {kind.rpartition('.')[2]}: {reason}")


def root_cause(text: str) -> tuple[str, str]:
    """Java class and message of the innermost cause in an exception's text."""
    causes = list(_CAUSE.finditer(text)) or list(_HEAD.finditer(text))
    if not causes:
        return "", text.strip().splitlines()[0] if text.strip() else "no reason given"
    last = causes[-1]
    return last["kind"], (last["text"] or "").strip() or "no reason given"
