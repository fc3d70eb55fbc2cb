"""What all DAGs have in common, and when each is due."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param

from ticklake.keys import slug
from ticklake.records import DAILY_SOURCES
from ticklake_airflow.notifications import notify_failure
from ticklake_airflow.settings import ScheduleSettings

OWNER = "ticklake"

DATE = Param(
    None,
    type=["null", "string"],
    format="date",
    title="Date",
    description="YYYY-MM-DD; empty: the run's own date",
)
SOURCE = Param(
    None,
    type=["null", "string"],
    enum=[None, *map(str, DAILY_SOURCES)],
    title="Source",
    description="Where the bars come from; empty: what the platform is set to",
)
SYMBOLS = Param(
    None,
    type=["null", "string"],
    pattern=r"^[A-Za-z0-9.^=-]+(\s*,\s*[A-Za-z0-9.^=-]+)*$",
    title="Symbols",
    description="Tickers, comma-separated; empty: what the platform is set to",
)
HOUR = Param(
    None,
    type=["null", "integer"],
    minimum=0,
    maximum=23,
    title="Hour",
    description="UTC; empty: the last full hour",
)


def stage_dag(dag_id: str, *, doc: str | None, **more: Any) -> DAG:
    """A DAG with the platform's defaults.

    One run at a time, each task once at a time: stages may be run side by side, but a laptop and a warehouse are
    better off without. `catchup` is off unless `more` says otherwise.
    """
    defaults: dict[str, Any] = {
        "owner": OWNER,
        "on_failure_callback": notify_failure,
        "max_active_tis_per_dag": 1,
    }
    return DAG(
        dag_id,
        doc_md=doc,
        default_args=defaults,
        user_defined_filters={"stage_run_id": slug},
        user_defined_macros={"live_hour": live_hour},
        **{
            "catchup": False,
            "max_active_runs": 1,
            "start_date": datetime(1990, 1, 1, tzinfo=UTC),
            "dagrun_timeout": timedelta(hours=12),
            "is_paused_upon_creation": False,
            **more,
        },
    )


def batch_schedule(settings: ScheduleSettings) -> dict[str, Any]:
    """Schedule, start and catchup of the batch pipeline."""
    if settings.schedule == "manual":
        return {"schedule": None}
    from ticklake_airflow.timetable import SessionTimetable

    timed: dict[str, Any] = {"schedule": SessionTimetable(settings.calendar, settings.schedule_delay_minutes)}
    if settings.schedule_catchup_from is not None:
        first = settings.schedule_catchup_from
        timed |= {"catchup": True, "start_date": datetime(first.year, first.month, first.day, tzinfo=UTC)}
    return timed


def hourly(settings: ScheduleSettings) -> dict[str, Any]:
    """Ten minutes after each full hour, for that hour: late ticks and the archive's open objects have come in."""
    timed = CronTriggerTimetable("10 * * * *", timezone="UTC", interval=timedelta(hours=1))
    return {"schedule": timed if settings.schedule_live == "hourly" else None}


def daily(settings: ScheduleSettings) -> dict[str, Any]:
    """At 02:30 UTC."""
    timed = CronTriggerTimetable("30 2 * * *", timezone="UTC")
    return {"schedule": timed if settings.schedule_housekeeping == "daily" else None}


def live_hour(dag_run: Any, params: Any) -> datetime:
    """The hour (UTC) that a run of the live archive's DAG works for.

    What `params` name goes first; then the scheduled or backfilled interval; a run by hand takes the last full hour.
    """
    automated = dag_run.run_type in ("scheduled", "backfill") and dag_run.data_interval_start is not None
    own = dag_run.data_interval_start if automated else dag_run.run_after - timedelta(hours=1)
    hour: datetime = own.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if params.get("date"):
        hour = datetime.combine(datetime.fromisoformat(params["date"]).date(), hour.timetz())
    return hour if params.get("hour") is None else hour.replace(hour=params["hour"])
