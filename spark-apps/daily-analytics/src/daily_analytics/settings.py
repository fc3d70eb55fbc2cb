"""Settings of daily-analytics."""

from pydantic import Field

from ticklake.batch_checks import QualitySettings
from ticklake.settings import CatalogSettings, StageSettings, StoreSettings
from ticklake.spark import SparkSettings


class AnalyticsSettings(StageSettings):
    """All settings of this stage."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    catalog: CatalogSettings = Field(default_factory=CatalogSettings)
    spark: SparkSettings = Field(default_factory=SparkSettings)
    quality: QualitySettings = Field(default_factory=QualitySettings)
    rows_per_part: int = Field(default=125_000, ge=1)
    """Versions of bars that one part of the work holds; up to this many need no shuffle."""
