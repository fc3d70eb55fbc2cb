"""Settings of stream-ticks."""

import os
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field, HttpUrl, SecretStr
from pydantic_settings import BaseSettings

from ticklake.errors import ConfigurationError
from ticklake.records import Source
from ticklake.settings import (
    CatalogSettings,
    KafkaSettings,
    LiveSettings,
    ServiceSettings,
    StoreSettings,
    Symbols,
    settings_config,
)
from ticklake.symbols import LIVE_SYMBOLS


class AlphaVantageSettings(BaseSettings):
    """How to ask Alpha Vantage (`TICKLAKE_ALPHA_VANTAGE_…`)."""

    model_config = settings_config("TICKLAKE_ALPHA_VANTAGE_")

    api_key: SecretStr | None = None
    base_url: HttpUrl = HttpUrl("https://www.alphavantage.co/query")
    daily_limit: int = Field(default=25, ge=1)
    """Calls in any 24 hours; a free key has 25."""
    minute_limit: int = Field(default=5, ge=1)
    """Calls in any minute."""
    spacing_seconds: float = Field(default=1, gt=0)
    """Least time between two calls; a free key has one a second."""
    timeout_seconds: float = Field(default=10, gt=0)


class StreamOptions(BaseSettings):
    """What is streamed, and how fast (`TICKLAKE_STREAM_…`)."""

    model_config = settings_config("TICKLAKE_STREAM_")

    symbols: Symbols = LIVE_SYMBOLS
    source: Literal["auto", "alpha_vantage", "simulated"] = "auto"
    """`auto`: Alpha Vantage when a key is set, else the simulator."""
    interval: float = Field(default=2, gt=0)
    """Seconds of event time between two rounds; a round has one tick of each symbol."""
    rate: float | None = Field(default=None, gt=0)
    """Ticks per second of the clock, all symbols together; takes precedence over `interval`."""
    speed_up: float = Field(default=1, ge=1)
    """How many times as fast as the clock event time runs."""
    start_event_time: AwareDatetime | None = None
    """Event time of the first round; unset means now."""
    duration_event_seconds: float | None = Field(default=None, gt=0)
    """Seconds of event time after which the stage ends; unset means never."""
    max_ticks: int | None = Field(default=None, ge=1)
    """Ticks after which the stage ends; unset means never."""
    seed: int = Field(default=1, ge=0)
    producer_run: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._:-]{1,100}$")
    """Identity of this run on every tick; unset means a new UUID."""
    start_from_lake: bool = True
    """Whether the simulator starts at the last closes in the lake, where there are any."""


def _catalog() -> CatalogSettings | None:
    return CatalogSettings() if os.environ.get("TICKLAKE_CATALOG_URI") else None


class StreamSettings(ServiceSettings):
    """All settings of this stage."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    catalog: CatalogSettings | None = Field(default_factory=_catalog)
    """None where TICKLAKE_CATALOG_URI is not set: prices start at built-in ones."""
    live: LiveSettings = Field(default_factory=LiveSettings)
    alpha_vantage: AlphaVantageSettings = Field(default_factory=AlphaVantageSettings)
    stream: StreamOptions = Field(default_factory=StreamOptions)

    def chosen_source(self) -> Source:
        """The source to use.

        Raises:
            ConfigurationError: the settings contradict each other.
        """
        options = self.stream
        key = self.alpha_vantage.api_key is not None
        source = Source.SIMULATED
        if options.source == "alpha_vantage" or (options.source == "auto" and key):
            source = Source.ALPHA_VANTAGE
        if source is Source.ALPHA_VANTAGE and not key:
            raise ConfigurationError("TICKLAKE_STREAM_SOURCE is alpha_vantage: set TICKLAKE_ALPHA_VANTAGE_API_KEY too")
        moved: datetime | None = options.start_event_time
        if options.speed_up != 1 or moved is not None:
            which = "SPEED_UP" if options.speed_up != 1 else "START_EVENT_TIME"
            if source is Source.ALPHA_VANTAGE:
                raise ConfigurationError(f"TICKLAKE_STREAM_{which} is for simulated ticks, not for Alpha Vantage's")
            if not self.live.namespace:
                raise ConfigurationError(
                    f"TICKLAKE_STREAM_{which} would spoil the watermark of the real flow: "
                    "set TICKLAKE_LIVE_NAMESPACE to stream into a flow of its own"
                )
        return source
