"""# Windows from the archive

Closed windows that start in a span are computed again from the archived ticks and take the place of those in the
table `windows`: windows that a new checkpoint found partial, that were lost, or that lack ticks that came late. Then
the warehouse gets what changed. It may run beside the stream, and a second run of the same span changes nothing.

**Run it** with *Trigger*: the span's start and its end (excluded), by the start of the windows.
"""

from airflow.sdk import Param

from ticklake.pipeline import LOAD_LIVE, REBUILD_WINDOWS
from ticklake.settings import load
from ticklake_airflow.dags import stage_dag
from ticklake_airflow.settings import TaskSettings
from ticklake_airflow.stage_tasks import RUN_ID, stage_task


def _moment(title: str) -> Param:
    return Param(type="string", format="date-time", title=title, description="e.g. 2026-01-30T14:30:00Z")


with stage_dag(
    "rebuild_windows",
    doc=__doc__,
    description="Closed windows of a span from the archive, then to the warehouse",
    params={"from": _moment("From"), "to": _moment("To")},
    tags=["ticklake", "live"],
    schedule=None,
) as dag:
    settings = load(TaskSettings)
    span = ("--from", "{{ params['from'] }}", "--to", "{{ params.to }}")
    rebuild = stage_task(REBUILD_WINDOWS, settings, arguments=(*span, "--run-id", RUN_ID))
    rebuild >> stage_task(LOAD_LIVE, settings, arguments=("--run-id", RUN_ID))
