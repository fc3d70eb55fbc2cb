"""Typed settings of the DAGs: where tasks run, when, and who is notified of a failure."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode

from ticklake.settings import settings_config


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""E-mail addresses, comma-separated in a variable."""


class TaskSettings(BaseSettings):
    """Where and how tasks run (`TICKLAKE_TASKS_…`)."""

    model_config = settings_config("TICKLAKE_TASKS_")

    run_in: Literal["kubernetes", "local"] = "kubernetes"
    """`kubernetes`: pods and SparkApplications; `local`: processes beside the scheduler."""
    templates: Path = Path("/opt/airflow/tasks")
    """Folder with one manifest per program, `<program>.yaml`."""
    namespace: str = "default"
    on_finish: Literal["delete_pod", "delete_succeeded_pod", "keep_pod"] = "delete_pod"
    """What becomes of a pod that has ended; a SparkApplication is kept with `keep_pod` only."""
    startup_seconds: int = Field(default=600, gt=0)
    """How long a pod may take to start: images are pulled and nodes added in that time."""
    retries: int = Field(default=2, ge=0)
    retry_seconds: float = Field(default=60, ge=0)
    """Before the first retry; doubled before each further one."""
    retry_cap_seconds: float = Field(default=900, gt=0)
    timeout_minutes: float = Field(default=60, gt=0)
    """How long one attempt may take."""
    metadata_days: int = Field(default=90, ge=1)
    """How long Airflow's own records of runs are kept."""


class ScheduleSettings(BaseSettings):
    """When DAGs run (`TICKLAKE_SCHEDULE…`, `TICKLAKE_CALENDAR`)."""

    model_config = settings_config("TICKLAKE_")

    schedule: Literal["manual", "sessions"] = "manual"
    """Of the batch pipeline. `sessions`: after each close of the exchange."""
    schedule_delay_minutes: int = Field(default=30, ge=0, le=24 * 60)
    """After the close; Yahoo's bar of a session settles some minutes after it."""
    schedule_catchup_from: date | None = None
    """Run every session from here on that has not run; unset: only the latest, and backfills by hand."""
    schedule_live: Literal["manual", "hourly"] = "hourly"
    """Of the work on the live archive."""
    schedule_housekeeping: Literal["manual", "daily"] = "daily"
    calendar: str = "XNYS"
    """Exchange calendar (ISO 10383 code)."""


class NotifySettings(BaseSettings):
    """Who is notified of a failed task (`TICKLAKE_NOTIFY_…`); nobody by default."""

    model_config = settings_config("TICKLAKE_NOTIFY_")

    slack_webhook: SecretStr | None = None
    """URL of an incoming webhook of Slack, or of a service that takes the same message."""
    email: Addresses = ()
    """Recipients; sent through Airflow's connection `smtp_connection`."""
    smtp_connection: str = "smtp_default"
    timeout_seconds: float = Field(default=10, gt=0)
