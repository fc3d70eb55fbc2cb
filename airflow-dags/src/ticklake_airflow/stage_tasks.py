"""One stage as one task. Where it runs is a setting; the DAG's text is the same."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator

from ticklake.pipeline import Kind, Stage
from ticklake_airflow.settings import TaskSettings

BATCH_DATE = "{{ params.date or ds | default(dag_run.run_after | ds) }}"
"""A run by hand that names no date has no `ds`: then the day it was asked for (UTC)."""
RUN_ID = "{{ run_id | stage_run_id }}"
"""The same for every attempt of one DAG run, so that a retry finds what the attempt before it left."""


def stage_task(
    stage: Stage,
    settings: TaskSettings,
    *,
    arguments: Sequence[str] = ("--date", BATCH_DATE, "--run-id", RUN_ID),
    overrides: Mapping[str, str] | None = None,
) -> BaseOperator:
    """The task of `stage`, in the DAG whose `with` block is open.

    Args:
        arguments: of the program (templated).
        overrides: variables (templated) that override those that the stage finds; an empty value gives way to them.
    """
    common: dict[str, Any] = {"task_id": stage.task_id, "arguments": list(arguments), **retried(settings)}
    if settings.run_in == "local":
        from ticklake_airflow.local_tasks import LocalStageOperator

        return LocalStageOperator(program=stage.program, environment=overrides, **common)
    return _in_kubernetes(stage, settings, overrides, common)


def retried(settings: TaskSettings) -> dict[str, Any]:
    """How often and how a task is tried again, and how long one attempt may take."""
    return {
        "retries": settings.retries,
        "retry_delay": timedelta(seconds=settings.retry_seconds),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(seconds=settings.retry_cap_seconds),
        "execution_timeout": timedelta(minutes=settings.timeout_minutes),
    }


def _in_kubernetes(
    stage: Stage, settings: TaskSettings, overrides: Mapping[str, str] | None, common: dict[str, Any]
) -> BaseOperator:
    # Imported here: the client takes a second, and where tasks run locally it need not even be installed.
    from ticklake_airflow.pod_tasks import StagePodOperator
    from ticklake_airflow.spark_tasks import StageSparkOperator

    manifest: Path = settings.templates / f"{stage.program}.yaml"
    common |= {
        "name": stage.program,
        "namespace": settings.namespace,
        "env_vars": dict(overrides or {}),
        "annotations": {"ticklake/run-id": RUN_ID},
        # Airflow fails a deferred task whose trigger fires before its scheduler has noted the deferral (apache/airflow
        # issues 71580 and 72716), as short pods do: the task itself waits.
        "deferrable": False,
        "startup_timeout_seconds": settings.startup_seconds,
        "random_name_suffix": True,
        "get_logs": True,
        "log_events_on_failure": True,
    }
    if stage.kind is Kind.SPARK:
        return StageSparkOperator(manifest=manifest, delete_on_termination=settings.on_finish != "keep_pod", **common)
    return StagePodOperator(
        pod_template_file=str(manifest),
        labels={"ticklake/program": stage.program},
        do_xcom_push=True,
        on_finish_action=settings.on_finish,
        termination_message_policy="FallbackToLogsOnError",
        **common,
    )
