"""Settings of load-warehouse, reconcile-run, validate-loaded and load-windows."""

from pydantic import Field

from ticklake.settings import CatalogSettings, LiveSettings, StageSettings, StoreSettings, WarehouseSettings


class WindowsSettings(StageSettings):
    """Of load-windows: the lake, the warehouse and the live flow whose windows are loaded."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    warehouse: WarehouseSettings = Field(default_factory=WarehouseSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)


class LoadSettings(WindowsSettings):
    """Of load-warehouse and reconcile-run, which read the lake's tables besides."""

    catalog: CatalogSettings = Field(default_factory=CatalogSettings)
