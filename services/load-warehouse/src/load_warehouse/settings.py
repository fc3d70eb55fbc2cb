"""Settings of load-warehouse, reconcile-run and load-windows."""

from pydantic import Field

from ticklake.settings import LiveSettings, StageSettings, StoreSettings, WarehouseSettings


class LoadSettings(StageSettings):
    """What the three programs share: the lake, the warehouse and the live flow whose windows are loaded."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    warehouse: WarehouseSettings = Field(default_factory=WarehouseSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
