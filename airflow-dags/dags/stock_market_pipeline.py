"""# The daily batch

Daily bars from the source through Kafka into the lake, indicators in Spark, rows in the warehouse, and the proof that
none was lost, doubled or changed. Each task is one stage program; the stages and their order are those of
`ticklake.pipeline`.

**Run it** by hand with *Trigger* (nothing needs to be filled in), or on the exchange's sessions with
`TICKLAKE_SCHEDULE=sessions`. Past sessions:
`airflow backfill create --dag-id stock_market_pipeline --from-date … --to-date … --max-active-runs 1`.

**When a task fails**, its last log line says why. Exit code 1 was tried again by itself; clear the task to try once
more: attempts of one DAG run make the same messages, objects and rows. Exit code 2 needs a person first.

**Results** are each task's XCom `return_value` (rows in, out, quarantined) and, whole, in the lake under
`lineage/run_id=…/`.
"""

from airflow.sdk import chain

from ticklake.pipeline import BATCH_STAGES, FETCH
from ticklake.settings import load
from ticklake_airflow.dags import DATE, SOURCE, SYMBOLS, batch_schedule, stage_dag
from ticklake_airflow.settings import ScheduleSettings, TaskSettings
from ticklake_airflow.stage_tasks import stage_task

tasks = load(TaskSettings)

# What is asked for is passed to the source; later stages follow what it sent.
ASKED = {"TICKLAKE_SOURCE": "{{ params.source or '' }}", "TICKLAKE_SYMBOLS": "{{ params.symbols or '' }}"}

with stage_dag(
    "stock_market_pipeline",
    doc=__doc__,
    description="Daily bars from the source to the warehouse",
    params={"date": DATE, "source": SOURCE, "symbols": SYMBOLS},
    tags=["ticklake", "batch"],
    **batch_schedule(load(ScheduleSettings)),
) as dag:
    chain(*(stage_task(stage, tasks, overrides=ASKED if stage is FETCH else None) for stage in BATCH_STAGES))
