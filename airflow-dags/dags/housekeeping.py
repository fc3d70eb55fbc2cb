"""# Housekeeping

Removes what has served its time, day by day: whole flows of accelerated event time and, where days are set for them,
archived ticks (`apply-retention`, `TICKLAKE_KEEP_…`), and Airflow's records of runs older than
`TICKLAKE_TASKS_METADATA_DAYS`. Keeps the lake's tables small and quick beside their writers: small files become few,
old snapshots but month ends go, and files that no snapshot names (`maintain-tables`). Running it twice does no harm.

By itself it runs at 02:30 UTC unless `TICKLAKE_SCHEDULE_HOUSEKEEPING=manual`.
"""

from ticklake.pipeline import APPLY_RETENTION, CLEAN_METADATA, MAINTAIN_TABLES
from ticklake.settings import load
from ticklake_airflow.dags import DATE, daily, stage_dag
from ticklake_airflow.settings import ScheduleSettings, TaskSettings
from ticklake_airflow.stage_tasks import BATCH_DATE, stage_task

tasks = load(TaskSettings)

with stage_dag(
    "housekeeping",
    doc=__doc__,
    description="Expired objects of the lake, its tables' files and snapshots, Airflow's old records",
    params={"date": DATE},
    tags=["ticklake", "maintenance"],
    **daily(load(ScheduleSettings)),
) as dag:
    stage_task(APPLY_RETENTION, tasks)
    stage_task(MAINTAIN_TABLES, tasks)
    stage_task(CLEAN_METADATA, tasks, arguments=("--date", BATCH_DATE, "--days", str(tasks.metadata_days)))
