"""Settings of consume-historical."""

from pydantic import Field

from ticklake.settings import KafkaSettings, StageSettings, StoreSettings


class ConsumeSettings(StageSettings):
    """All settings of this stage."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    consume_deadline_seconds: float = Field(default=120, gt=0)
    """How long reading the batch may take."""
