"""Kafka topics and consumer groups: their names, partitions and configuration; and what one live flow calls its own."""

from dataclasses import dataclass

from ticklake.keys import slug

BATCH_TOPIC = "stock_market_batch"
BATCH_GROUP = "stock-market-batch-consumer-group"
LIVE_TOPIC = "stock-market-realtime"
ARCHIVE_GROUP = "stock-market-archive-group"
ANALYTICS_TOPIC = "stock-market-analytics"
ALERTS_TOPIC = "stock-market-alerts"
ALERTS_STATE_TOPIC = "stock-market-alerts-state"
"""What the rules have seen, per symbol, and the rules themselves."""
ALERTS_GROUP = "stock-market-alerts-group"
QUARANTINE_TOPIC = "stock-market-quarantine"
CHECK_TOPIC = "ticklake-check"
"""Of the check that Kafka can be used at all."""


@dataclass(frozen=True)
class LiveNames:
    """Topics, prefixes and groups of one live flow.

    The real flow has the plain names. A flow whose event time runs faster than the clock has a namespace, and with it
    names of its own, so that it cannot move the watermark of the real one nor mix with its objects.
    """

    topic: str
    analytics_topic: str
    archive_group: str
    raw_prefix: str
    processed_prefix: str
    checkpoint_prefix: str
    alerts_topic: str
    alerts_state_topic: str
    alerts_group: str

    def delivery_group(self, target: str) -> str:
        """Group whose offsets say how far alerts were delivered to `target`."""
        base, dot, space = self.alerts_group.partition(".")
        return f"{base.removesuffix('-group')}-delivery-{target}{dot}{space}"


def live_names(namespace: str = "") -> LiveNames:
    """Names of the live flow called `namespace`; the empty one is the real flow."""
    if not namespace:
        return LiveNames(
            LIVE_TOPIC,
            ANALYTICS_TOPIC,
            ARCHIVE_GROUP,
            "raw/realtime",
            "processed/realtime",
            "checkpoints/realtime",
            ALERTS_TOPIC,
            ALERTS_STATE_TOPIC,
            ALERTS_GROUP,
        )
    space = slug(namespace)
    return LiveNames(
        topic=f"{LIVE_TOPIC}.{space}",
        analytics_topic=f"{ANALYTICS_TOPIC}.{space}",
        archive_group=f"{ARCHIVE_GROUP}.{space}",
        raw_prefix=f"accelerated/{space}/raw/realtime",
        processed_prefix=f"accelerated/{space}/processed/realtime",
        checkpoint_prefix=f"accelerated/{space}/checkpoints/realtime",
        alerts_topic=f"{ALERTS_TOPIC}.{space}",
        alerts_state_topic=f"{ALERTS_STATE_TOPIC}.{space}",
        alerts_group=f"{ALERTS_GROUP}.{space}",
    )


def live_namespace(topic: str) -> str | None:
    """The namespace of the live flow whose ticks are in `topic`, empty for the real flow; None for another topic."""
    name, _, space = topic.partition(".")
    return space if name == LIVE_TOPIC else None


@dataclass(frozen=True)
class TopicSpec:
    """A topic as the platform needs it."""

    name: str
    partitions: int
    config: dict[str, str]


_TEN_MINUTES_MS = 10 * 60 * 1000
_DAY_MS = 24 * 60 * 60 * 1000


def batch_topics() -> tuple[TopicSpec, ...]:
    """Topics of the batch flow and the one for what fails validation."""
    return (
        TopicSpec(BATCH_TOPIC, 3, {"retention.ms": str(7 * _DAY_MS)}),
        TopicSpec(QUARANTINE_TOPIC, 1, {"retention.ms": str(30 * _DAY_MS)}),
    )


def check_topics() -> tuple[TopicSpec, ...]:
    """The topic of the check that Kafka can be used."""
    return (TopicSpec(CHECK_TOPIC, 1, {"retention.ms": str(_DAY_MS // 24)}),)


def live_topics(names: LiveNames) -> tuple[TopicSpec, ...]:
    """Topics of one live flow; ticks carry the broker's append time, by which the archive files them."""
    return (
        TopicSpec(names.topic, 4, {"retention.ms": str(7 * _DAY_MS), "message.timestamp.type": "LogAppendTime"}),
        TopicSpec(names.analytics_topic, 4, {"retention.ms": str(_DAY_MS), "cleanup.policy": "compact,delete"}),
        TopicSpec(names.alerts_topic, 1, {"retention.ms": str(7 * _DAY_MS)}),
        # One partition for states, one for the rules. Each symbol's state is written repeatedly: small segments
        # keep short what a start reads. The lag keeps what a writer that stalled may have overwritten.
        TopicSpec(
            names.alerts_state_topic,
            2,
            {
                "cleanup.policy": "compact",
                "segment.ms": str(_TEN_MINUTES_MS),
                "min.compaction.lag.ms": str(_TEN_MINUTES_MS),
                "min.cleanable.dirty.ratio": "0.1",
            },
        ),
    )


def live_retention_days() -> int:
    """Days for which the live topic holds its messages."""
    longest = max(int(topic.config.get("retention.ms", 0)) for topic in live_topics(live_names()))
    return -(-longest // (24 * 60 * 60 * 1000))
