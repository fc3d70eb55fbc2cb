"""# Bars of the live archive, hour by hour

Minute and hour bars by event time from the archived ticks of one hour, written to `processed/realtime/`, with the
archive's validation and freshness checked on the way. An hour that is run again gives the same objects.

**Run it** by hand for the last full hour, or with `date` and `hour` (UTC) for another one. By itself it runs ten
minutes after each full hour unless `TICKLAKE_SCHEDULE_LIVE=manual`.
"""

from ticklake.pipeline import Stage
from ticklake.settings import load
from ticklake_airflow.dags import DATE, HOUR, hourly, stage_dag
from ticklake_airflow.settings import ScheduleSettings, TaskSettings
from ticklake_airflow.stages import RUN_ID, stage_task

HOUR_OF_RUN = "live_hour(dag_run, params)"

with stage_dag(
    "live_archive_hourly",
    doc=__doc__,
    description="Minute and hour bars of the archived ticks",
    params={"date": DATE, "hour": HOUR},
    tags=["ticklake", "live"],
    **hourly(load(ScheduleSettings)),
) as dag:
    stage_task(
        Stage("make_tick_bars", "archive-ticks", "tick-bars"),
        load(TaskSettings),
        arguments=(
            "--date", f"{{{{ {HOUR_OF_RUN}.date() }}}}", "--hour", f"{{{{ {HOUR_OF_RUN}.hour }}}}", "--run-id", RUN_ID,
        ),
    )  # fmt: skip
