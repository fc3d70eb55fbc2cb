"""Settings of the dashboard."""

from typing import Self

from pydantic import Field, HttpUrl, SecretStr, model_validator
from pydantic_settings import BaseSettings

from ticklake.batch_checks import QualitySettings
from ticklake.settings import (
    CatalogSettings,
    KafkaSettings,
    LiveSettings,
    ServiceSettings,
    StoreSettings,
    settings_config,
)


class DashboardOptions(BaseSettings):
    """How the page is served and how much is kept (`TICKLAKE_DASHBOARD_…`)."""

    model_config = settings_config("TICKLAKE_DASHBOARD_")

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` in a pod."""
    port: int = Field(default=8000, ge=0, le=65535)
    """0 picks a free one; the log says which."""
    user: str | None = Field(default=None, pattern=r"^[^:\x00-\x1f]{1,100}$")
    """With `password`: HTTP basic sign-in for everything but health and metrics."""
    password: SecretStr | None = None
    trusted_proxies: str = "127.0.0.1"
    """Addresses, comma-separated, whose X-Forwarded-Proto and -For are believed; `*` is all."""
    alertmanager: HttpUrl | None = None
    """Address of Alertmanager, or of what has the same API; its alerts about the platform are shown."""
    stale_seconds: float = Field(default=30, gt=0)
    """Age of the newest tick, by arrival, from which the page calls the prices stale."""
    refresh_seconds: float = Field(default=5, gt=0)
    """Least time between two looks for new rows in the lake, at the store's health and at the broker's."""
    store_timeout_seconds: float = Field(default=5, gt=0)
    """Per attempt, in place of TICKLAKE_STORE_TIMEOUT_SECONDS: a person waits."""
    history_minutes: float = Field(default=60, gt=0)
    """How far back in the topics to begin after a start."""
    history_messages: int = Field(default=200_000, ge=1)
    """The same as a number of messages per topic; the nearer of the two counts."""
    ticks_per_symbol: int = Field(default=5000, ge=1, le=100_000)
    """Newest ticks held in memory; about 250 bytes each."""
    live_symbols: int = Field(default=600, ge=1)
    """Symbols whose live prices are held; ticks of further ones are left out, which the page says."""
    lake_cache_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024)
    """Daily rows and facts held in memory."""
    streams: int = Field(default=1000, ge=1)
    """Open event streams at a time; further ones get 503."""
    slow_client_seconds: float = Field(default=20, gt=0)
    """A page that takes nothing for so long is let go; it comes back by itself."""

    @property
    def alertmanager_address(self) -> str | None:
        """The same as text."""
        return None if self.alertmanager is None else str(self.alertmanager)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("TICKLAKE_DASHBOARD_USER and TICKLAKE_DASHBOARD_PASSWORD go together: set both or neither")
        return self


class DashboardSettings(ServiceSettings):
    """All settings of this service."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    catalog: CatalogSettings = Field(default_factory=CatalogSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
    quality: QualitySettings = Field(default_factory=QualitySettings)
    dashboard: DashboardOptions = Field(default_factory=DashboardOptions)
