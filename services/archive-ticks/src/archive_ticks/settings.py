"""Settings of archive-ticks."""

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic_settings import BaseSettings, NoDecode

from ticklake.settings import KafkaSettings, LiveSettings, ServiceSettings, StoreSettings, settings_config

Gap = Annotated[str, StringConstraints(pattern=r"^\d+:\d+$")]


def _split(value: object) -> object:
    return value.replace(" ", "").split(",") if isinstance(value, str) else value


class RollSettings(BaseSettings):
    """When an object is full, and how much may wait (`TICKLAKE_ARCHIVE_…`)."""

    model_config = settings_config("TICKLAKE_ARCHIVE_")

    roll_rows: int = Field(default=200_000, ge=1)
    """Messages after which an object is written; one batch of messages more can come in."""
    roll_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    """Bytes of messages after which an object is written."""
    roll_seconds: float = Field(default=60, gt=0)
    """Age of the oldest message held, by this process's clock, at which its object is written."""
    buffer_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    """Bytes of messages held in all, written or not; above this the reading pauses."""
    session_timeout_seconds: float = Field(default=10, ge=1)
    """After how long without a heartbeat the group gives a member's partitions to another."""
    accepted_gaps: Annotated[frozenset[Gap], NoDecode, BeforeValidator(_split)] = frozenset()
    """As `PARTITION:OFFSET`, separated by commas: where a partition goes on although the messages from that offset on
    were removed from the log before they were archived."""
    repair_hours: int = Field(default=3, ge=1)
    """How many of the newest hours are searched for missing CSV copies when partitions are assigned."""


class ArchiveSettings(ServiceSettings):
    """All settings of this stage."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
    roll: RollSettings = Field(default_factory=RollSettings)
