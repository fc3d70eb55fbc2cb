"""What every DAG has to have; each policy names what is wrong, and nothing where all is well."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any


def has_an_owner(dag: Any) -> Iterator[str]:
    for task in dag.tasks:
        if task.owner != "ticklake":
            yield f"{task.task_id} belongs to {task.owner!r}"


def is_documented(dag: Any) -> Iterator[str]:
    if not (dag.doc_md or "").startswith("# ") or not dag.description:
        yield "no title, doc_md or description"


def is_tagged(dag: Any) -> Iterator[str]:
    if "ticklake" not in dag.tags or len(dag.tags) < 2:
        yield f"tags are {sorted(dag.tags)}"


def retries_with_back_off(dag: Any) -> Iterator[str]:
    for task in dag.tasks:
        if task.retries < 1:
            yield f"{task.task_id} is not tried again"
        if not task.retry_exponential_backoff or not task.max_retry_delay:
            yield f"{task.task_id} has no back-off, or one without end"


def ends(dag: Any) -> Iterator[str]:
    if not dag.dagrun_timeout:
        yield "a run may take forever"
    for task in dag.tasks:
        if not task.execution_timeout or task.execution_timeout > timedelta(hours=6):
            yield f"{task.task_id} may take {task.execution_timeout or 'forever'}"


def notifies_of_failures(dag: Any) -> Iterator[str]:
    from ticklake_airflow.notifications import notify_failure

    for task in dag.tasks:
        found = task.on_failure_callback
        if notify_failure not in (found if isinstance(found, list | tuple) else [found]):
            yield f"{task.task_id} fails in silence"


def runs_one_at_a_time(dag: Any) -> Iterator[str]:
    if dag.max_active_runs != 1:
        yield f"{dag.max_active_runs} runs at a time"
    if dag.catchup:
        yield "catches up unasked"
    for task in dag.tasks:
        if task.max_active_tis_per_dag != 1:
            yield f"{task.task_id} may run more than once at a time"
        if task.depends_on_past:
            yield f"{task.task_id} waits for the run before"


POLICIES: tuple[Callable[[Any], Iterator[str]], ...] = (
    has_an_owner,
    is_documented,
    is_tagged,
    retries_with_back_off,
    ends,
    notifies_of_failures,
    runs_one_at_a_time,
)
