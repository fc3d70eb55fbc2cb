"""# Held symbols

A symbol whose answer failed a check is held: nothing of that answer is used until a person decides. The page's
platform view names what is held, by which run and why.

**Release** sends the stored answer through the stages of `stock_market_pipeline`, as a run of its own whose id follows
from the held run's. **Drop** sets it aside for good; the next run asks the source again. The decision is kept in the
lake with who made it and when, and is final: the same one a second time does nothing more, another one is rejected.

**Run it** with *Trigger*: action, symbol and, where several runs hold the symbol, the run.
"""

from typing import Any

from airflow.sdk import Param, chain, task

from ticklake.pipeline import BATCH_STAGES, FETCH, HELD_SYMBOL
from ticklake.settings import load
from ticklake_airflow.dags import stage_dag
from ticklake_airflow.settings import TaskSettings
from ticklake_airflow.stage_tasks import retried, stage_task

tasks = load(TaskSettings)

DECIDED = "ti.xcom_pull(task_ids='decide')"
SENT = {
    "TICKLAKE_RELEASED_FROM": f"{{{{ {DECIDED}['held_by'] }}}}",
    "TICKLAKE_SYMBOLS": f"{{{{ {DECIDED}['symbol'] }}}}",
}

PARAMS = {
    "action": Param(
        type="string",
        enum=["release", "drop"],
        title="Action",
        description="release: the stored answer goes through the stages; drop: it is set aside for good",
    ),
    "symbol": Param(
        type="string", pattern=r"^[A-Za-z0-9^][A-Za-z0-9.^=&-]*$", title="Symbol", description="One ticker"
    ),
    "run": Param(
        None,
        type=["null", "string"],
        maxLength=250,
        title="Run",
        description="The run that holds it; empty: the newest",
    ),
}


@task.short_circuit(**retried(tasks))
def anything_to_send(decided: dict[str, Any]) -> bool:
    """Whether a release is still to be done; what is dropped, or released already, needs no stage."""
    return not decided["done"]


with stage_dag(
    "held_symbols",
    doc=__doc__,
    description="Release or drop the stored answer of a held symbol",
    params=PARAMS,
    tags=["ticklake", "batch"],
    schedule=None,
) as dag:
    decide = stage_task(
        HELD_SYMBOL,
        tasks,
        arguments=(
            "{{ params.action }}",
            "{{ params.symbol }}",
            "--run",
            "{{ params.run | stage_run_id if params.run else '' }}",
            "--by",
            "{{ dag_run.triggering_user_name or 'airflow' }}",
        ),
    )
    batch = ("--date", f"{{{{ {DECIDED}['batch_date'] }}}}", "--run-id", f"{{{{ {DECIDED}['release_run_id'] }}}}")
    stages = (
        stage_task(stage, tasks, arguments=batch, overrides=SENT if stage is FETCH else None) for stage in BATCH_STAGES
    )
    chain(decide, anything_to_send(decide.output), *stages)
