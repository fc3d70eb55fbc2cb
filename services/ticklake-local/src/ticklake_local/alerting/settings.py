"""Settings of check-rules."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, HttpUrl
from pydantic_settings import BaseSettings, NoDecode

from ticklake.settings import ServiceSettings, settings_config

_CHECKOUT = Path(__file__).parents[5]


def _pairs(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = [part.partition("=") for part in value.split(",") if part.strip()]
    return {name.strip(): address.strip() for name, _, address in parts}


class RulesSettings(BaseSettings):
    """Which rules, on which metrics (`TICKLAKE_RULES_…`)."""

    model_config = settings_config("TICKLAKE_RULES_")

    dir: Path = _CHECKOUT / "charts" / "ticklake" / "files" / "rules"
    """Folder of Prometheus rule files."""
    targets: Annotated[dict[str, HttpUrl], NoDecode, BeforeValidator(_pairs), Field(min_length=1)]
    """Addresses of metrics by component, `archive-ticks=http://127.0.0.1:9100/metrics,…` in a variable."""
    interval_seconds: float = Field(default=5, gt=0)
    """Time between two scrapes of them."""
    disk: Path | None = None
    """A folder whose disk is watched too."""


class CheckerSettings(ServiceSettings):
    """All settings of this program."""

    # Its variables are read when it is made.
    rules: RulesSettings = Field(default_factory=lambda: RulesSettings.model_validate({}))
