"""Settings of provision-store and check-platform."""

from pathlib import Path

from pydantic import Field

from ticklake import topics
from ticklake.settings import KafkaSettings, StageSettings, StoreSettings


class ProvisionSettings(StageSettings):
    """All settings of provision-store (`TICKLAKE_PROVISION_…`); the store's keys are an administrator's."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    provision_dir: Path = Path("/etc/ticklake")
    """Folder with `bucket.json`, `policies/USER.json` and `users/USER/{access-key,secret-key}`."""
    provision_wait_seconds: float = Field(default=300, gt=0)
    """How long to wait for the store to come up."""


class CheckSettings(StageSettings):
    """All settings of check-platform; the keys are those of any user that may write to both places."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    check_topic: str = topics.CHECK_TOPIC
    check_prefix: str = "checks"
    check_wait_seconds: float = Field(default=120, gt=0)
    """How long to go on trying."""
