"""Settings of fetch-historical."""

from pathlib import Path
from typing import Self

from pydantic import Field, HttpUrl, model_validator
from pydantic_settings import BaseSettings

from ticklake.records import DAILY_SOURCES, DailySource, Source
from ticklake.settings import CatalogSettings, KafkaSettings, StageSettings, StoreSettings, Symbols, settings_config
from ticklake.symbols import BATCH_SYMBOLS

SETTLE_MINUTES = 15
"""Most exchanges' data reach Yahoo 15 minutes late, and the closing auction is printed within that time too."""

REPLAY_SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
"""Symbols of the recorded bars."""


class YahooSettings(BaseSettings):
    """How to ask Yahoo, or a server that answers like it (`TICKLAKE_YAHOO_…`)."""

    model_config = settings_config("TICKLAKE_YAHOO_")

    endpoint: HttpUrl | None = None
    """Where every request to a host of Yahoo's goes instead; unset means Yahoo itself."""
    ca_file: Path | None = None
    """Certificate authority to trust instead of the public ones (PEM), e.g. behind a company's proxy."""
    timeout_seconds: float = Field(default=10, gt=0)
    """Per request: to connect, and then to read."""
    attempts: int = Field(default=4, ge=1)
    """Per symbol."""
    backoff_base_seconds: float = Field(default=0.5, ge=0)
    backoff_cap_seconds: float = Field(default=30, ge=0)
    """Longest pause between two attempts; a server that asks for a longer one ends the attempts."""

    @model_validator(mode="after")
    def _cap_holds_base(self) -> Self:
        if self.backoff_cap_seconds < self.backoff_base_seconds:
            raise ValueError("backoff_cap_seconds must not be below backoff_base_seconds")
        return self


class SimulatedSettings(BaseSettings):
    """What the source `simulated` makes up (`TICKLAKE_SIMULATED_…`)."""

    model_config = settings_config("TICKLAKE_SIMULATED_")

    seed: int = Field(default=1, ge=0)
    extra_symbols: int = Field(default=0, ge=0, le=9999)
    """Symbols SIM0001, SIM0002, … besides those listed."""


class FetchSettings(StageSettings):
    """All settings of this stage."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    catalog: CatalogSettings = Field(default_factory=CatalogSettings)
    yahoo: YahooSettings = Field(default_factory=YahooSettings)
    simulated: SimulatedSettings = Field(default_factory=SimulatedSettings)
    source: DailySource = DAILY_SOURCES[0]
    symbols: Symbols = BATCH_SYMBOLS
    """For `replay`, unless set, the recorded ones."""
    years: int = Field(default=1, ge=1, le=40)
    """Length of the period that ends at the batch's date."""
    settle_minutes: float = Field(default=SETTLE_MINUTES, ge=0, le=24 * 60)
    """How long after its close a session's bar counts as final."""

    released_from: str | None = None
    """Run that held the one symbol of `symbols`: its stored answer is sent, as a person released it."""

    @property
    def wanted_symbols(self) -> tuple[str, ...]:
        """The symbols to ask for, each once, in order."""
        listed: tuple[str, ...] = self.symbols
        if self.source is Source.REPLAY and "symbols" not in self.model_fields_set:
            listed = REPLAY_SYMBOLS
        if self.source is Source.SIMULATED:
            listed += tuple(f"SIM{number:04d}" for number in range(1, self.simulated.extra_symbols + 1))
        return tuple(dict.fromkeys(listed))
