"""# Bars of the live archive, hour by hour

What arrived in the archive up to an hour's end becomes rows of the tables `ticks`, `bars` and `tick_gaps`, each tick
once; bars whose ticks came late are recomputed. Then new and changed bars and closed windows go to the warehouse. An
hour that is run again changes nothing, and an hour that was missed is made up for by the next.

**Run it** by hand for the last full hour, or with `date` and `hour` (UTC) for another one. By itself it runs ten
minutes after each full hour unless `TICKLAKE_SCHEDULE_LIVE=manual`.
"""

from ticklake.pipeline import LOAD_LIVE, TICK_BARS
from ticklake.settings import load
from ticklake_airflow.dags import DATE, HOUR, hourly, stage_dag
from ticklake_airflow.settings import ScheduleSettings, TaskSettings
from ticklake_airflow.stage_tasks import RUN_ID, stage_task

HOUR_OF_RUN = "live_hour(dag_run, params)"

with stage_dag(
    "live_archive_hourly",
    doc=__doc__,
    description="Bars of the archived ticks, then bars and windows to the warehouse",
    params={"date": DATE, "hour": HOUR},
    tags=["ticklake", "live"],
    **hourly(load(ScheduleSettings)),
) as dag:
    settings = load(TaskSettings)
    bars = stage_task(
        TICK_BARS,
        settings,
        arguments=(
            "--date",
            f"{{{{ {HOUR_OF_RUN}.date() }}}}",
            "--hour",
            f"{{{{ {HOUR_OF_RUN}.hour }}}}",
            "--run-id",
            RUN_ID,
        ),
    )
    bars >> stage_task(LOAD_LIVE, settings, arguments=("--run-id", RUN_ID))
