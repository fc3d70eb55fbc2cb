"""Settings of load-warehouse, reconcile-run, validate-loaded and load-live."""

from pydantic import Field

from ticklake.settings import CatalogSettings, LiveSettings, StageSettings, StoreSettings, WarehouseSettings


class WarehouseStageSettings(StageSettings):
    """Of every program here: the lake's store and the warehouse."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    warehouse: WarehouseSettings = Field(default_factory=WarehouseSettings)


class LoadSettings(WarehouseStageSettings):
    """Of load-warehouse and reconcile-run, which read the lake's tables besides."""

    catalog: CatalogSettings = Field(default_factory=CatalogSettings)


class LiveLoadSettings(LoadSettings):
    """Of load-live: besides, the live flow whose windows and bars are loaded."""

    live: LiveSettings = Field(default_factory=LiveSettings)
