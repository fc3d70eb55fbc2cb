"""Settings of batch-exporter."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from ticklake.records import Source
from ticklake.settings import ServiceSettings, StoreSettings, settings_config


class BatchSettings(BaseSettings):
    """What is expected of the batch, and how often to look (`TICKLAKE_BATCH_…`)."""

    model_config = settings_config("TICKLAKE_BATCH_")

    schedule: Literal["manual", "sessions"] = "manual"
    """`sessions`: a reconciled run is due for each session of the exchange; `manual`: never."""
    grace_seconds: float = Field(default=7200, ge=0)
    """How long after a session's close its run may take to be reconciled, the schedule's own delay included."""
    source: Source | None = None
    """Only runs of this source count as a session's run; unset is any."""
    refresh_seconds: float = Field(default=30, gt=0)
    """Time between two reads of the lake."""
    recent_runs: int = Field(default=100, ge=1)
    """How many of the newest runs are read and kept."""


class ExporterSettings(ServiceSettings):
    """All settings of this service."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    batch: BatchSettings = Field(default_factory=BatchSettings)
