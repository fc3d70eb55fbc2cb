"""Settings of daily-analytics."""

from pydantic import Field

from ticklake.settings import StageSettings, StoreSettings
from ticklake.spark import SparkSettings


class AnalyticsSettings(StageSettings):
    """All settings of this stage."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    spark: SparkSettings = Field(default_factory=SparkSettings)
    rows_per_part: int = Field(default=50_000, ge=1)
    """Bars, history included, that one part of the work holds; up to this many need no shuffle."""
