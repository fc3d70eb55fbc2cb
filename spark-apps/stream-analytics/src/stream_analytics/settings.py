"""Settings of stream-analytics."""

import re
from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from stream_analytics.window_specs import WindowSpec
from ticklake.records import WINDOW_LENGTHS
from ticklake.settings import (
    CatalogSettings,
    KafkaSettings,
    LiveSettings,
    ServiceSettings,
    StoreSettings,
    settings_config,
)
from ticklake.spark import SparkSettings

APP = "stream-analytics"

CLOSED = "closed"
RUNNING = "running"
"""Names of the queries, see `queries`."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class StreamSettings(BaseSettings):
    """How the windows are computed (`TICKLAKE_WINDOWS_…`)."""

    model_config = settings_config("TICKLAKE_WINDOWS_")

    trigger_seconds: float = Field(default=60, ge=0)
    """A micro-batch of closed windows starts at most this often; 0 is as fast as it goes."""
    running_trigger_seconds: float = Field(default=0.5, ge=0)
    """The same for running windows."""
    watermark_seconds: int = Field(default=300, ge=0)
    """How far a tick may lie behind the newest one and still count in every window it belongs to."""
    slide_15m_seconds: int = Field(default=60, gt=0)
    slide_1h_seconds: int = Field(default=300, gt=0)
    running: bool = True
    """Whether running and closed windows go to the analytics topic for live readers."""
    heartbeat: bool | None = None
    """Whether the clock closes idle windows; unset is yes in the real flow, no where event time is not the clock's."""
    checkpoint: str | None = Field(default=None, min_length=1)
    """A name: a folder of that name among the lake's checkpoints. With a slash: a folder or URI to keep them below."""
    shuffle_partitions: int = Field(default=2, ge=1)
    """Partitions of the windows' state, fixed when a checkpoint is made."""
    state_store: Literal["memory", "rocksdb"] = "memory"
    """Where open windows are held, fixed when a checkpoint is made: the executors' heap, or RocksDB for very many."""
    hold_seconds: float = Field(default=0, ge=0)
    """How long to stay, and say why, before it ends because a person must reset the checkpoints."""
    until_closed_windows: int = Field(default=0, ge=0)
    """End with exit code 0 once this many windows of each length are closed and written; 0 is never."""
    until_seconds: float | None = Field(default=None, gt=0)
    """End after this time: with exit code 1 if `until_closed_windows` is set and was not reached, else with 0."""

    @model_validator(mode="after")
    def _slides_divide_lengths(self) -> Self:
        for spec in self.windows:
            if spec.length % spec.slide:
                raise ValueError(f"slide_{spec.name}_seconds must divide {int(spec.length.total_seconds())}")
        return self

    @property
    def ends_by_itself(self) -> bool:
        """Whether the program shall end without being asked to."""
        return self.until_closed_windows > 0 or self.until_seconds is not None

    @property
    def windows(self) -> tuple[WindowSpec, ...]:
        """The kinds of windows."""
        slides = {"15m": self.slide_15m_seconds, "1h": self.slide_1h_seconds}
        return tuple(
            WindowSpec(name, length, timedelta(seconds=slides[name])) for name, length in WINDOW_LENGTHS.items()
        )


class StreamAnalyticsSettings(ServiceSettings):
    """All settings of this application."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    catalog: CatalogSettings = Field(default_factory=CatalogSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
    spark: SparkSettings = Field(default_factory=SparkSettings)
    stream: StreamSettings = Field(default_factory=StreamSettings)

    @property
    def heartbeat(self) -> bool:
        """Whether the clock closes idle windows."""
        chosen = self.stream.heartbeat
        return not self.live.namespace if chosen is None else chosen

    def fixed(self, query: str) -> dict[str, str]:
        """By variable the settings that the checkpoint of `query` cannot go on under other values of."""
        stream = self.stream
        found = {"SLIDE_15M_SECONDS": stream.slide_15m_seconds, "SLIDE_1H_SECONDS": stream.slide_1h_seconds}
        heartbeat = {"HEARTBEAT": str(self.heartbeat).lower()} if query == CLOSED else {}
        every = {**found, "STATE_STORE": stream.state_store, **heartbeat}
        return {f"TICKLAKE_WINDOWS_{name}": str(value) for name, value in every.items()}

    @property
    def queries(self) -> tuple[str, ...]:
        """Names of the queries that run, the one of closed windows first."""
        return (CLOSED, RUNNING) if self.stream.running else (CLOSED,)

    def checkpoint(self, query: str) -> str:
        """Where the checkpoint of `query` lies."""
        chosen, lake = self.stream.checkpoint or "", f"s3a://{self.store.bucket}"
        prefix = self.live.names.checkpoint_prefix
        if _NAME.fullmatch(chosen):
            return f"{lake}/{prefix}/{chosen}/{query}"
        return f"{(chosen or lake).rstrip('/')}/{prefix}/{query}"
