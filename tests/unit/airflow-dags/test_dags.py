"""The DAGs as the real Airflow loads them, with tasks in both places."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from dag_policies import POLICIES

DAGS = Path(__file__).parents[3] / "airflow-dags" / "dags"
PLACES = ("local", "kubernetes")
ORDER = [
    "fetch_historical_data",
    "consume_historical_data",
    "validate_raw_data",
    "process_data",
    "load_to_snowflake",
    "validate_loaded_data",
    "pipeline_success",
]
HEAVY = ("exchange_calendars", "pandas", "pyarrow", "pyspark", "boto3", "kafka", "kubernetes", "snowflake.connector")

Bag = Callable[..., Any]


def chain_of(dag: Any) -> list[str]:
    """The tasks in order; fails where they are no single chain."""
    (task,) = dag.roots
    found = [task]
    while task.downstream_list:
        (task,) = task.downstream_list
        found.append(task)
    assert len(found) == len(dag.tasks)
    return [task.task_id for task in found]


@pytest.fixture(params=PLACES)
def dags(bag: Bag, request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded = bag(TASKS_RUN_IN=request.param, SCHEDULE="sessions")
    assert loaded.import_errors == {}
    return dict(loaded.dags)


def test_the_dags_are_there(dags: dict[str, Any]) -> None:
    assert sorted(dags) == [
        "held_symbols",
        "housekeeping",
        "live_archive_hourly",
        "rebuild_windows",
        "stock_market_pipeline",
    ]
    assert chain_of(dags["rebuild_windows"]) == ["rebuild_windows", "load_live"]
    assert chain_of(dags["live_archive_hourly"]) == ["make_tick_bars", "load_live"]
    assert {task.task_id for task in dags["housekeeping"].tasks} == {
        "apply_retention",
        "maintain_tables",
        "clean_airflow_metadata",
    }


def test_the_pipelines_order(dags: dict[str, Any]) -> None:
    assert chain_of(dags["stock_market_pipeline"]) == ORDER
    assert chain_of(dags["held_symbols"]) == ["decide", "anything_to_send", *ORDER]


def test_the_order_is_the_librarys(bag: Bag, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written once: the DAG follows what the library says, whatever that is."""
    from ticklake import pipeline

    monkeypatch.setattr(pipeline, "BATCH_STAGES", (pipeline.SUCCESS, pipeline.PROCESS, pipeline.FETCH))
    found = bag(TASKS_RUN_IN="local").dags["stock_market_pipeline"]
    assert chain_of(found) == ["pipeline_success", "process_data", "fetch_historical_data"]


def test_each_task_runs_its_program_where_the_setting_says(bag: Bag) -> None:
    local = bag(TASKS_RUN_IN="local").dags
    programs = [local["stock_market_pipeline"].get_task(name).program for name in ORDER]
    assert programs == [
        "fetch-historical",
        "consume-historical",
        "validate-raw",
        "daily-analytics",
        "load-warehouse",
        "validate-loaded",
        "reconcile-run",
    ]
    cluster = bag(TASKS_RUN_IN="kubernetes").dags["stock_market_pipeline"]
    kinds = {name: type(cluster.get_task(name)).__name__ for name in ORDER}
    assert kinds == dict.fromkeys(ORDER, "StagePodOperator") | {"process_data": "StageSparkOperator"}
    assert not any(task.deferrable for task in cluster.tasks)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
def test_every_dag_keeps_the_policies(dags: dict[str, Any], policy: Callable[[Any], Any]) -> None:
    assert {name: found for name, dag in dags.items() if (found := list(policy(dag)))} == {}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
def test_a_plain_dag_breaks_every_policy(policy: Callable[[Any], Any]) -> None:
    """Airflow's own defaults keep none of them, so each can fail."""
    from airflow.sdk import DAG, BaseOperator

    with DAG("plain", catchup=True, start_date=None, schedule=None) as dag:
        BaseOperator(task_id="task")
    assert list(policy(dag))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("TASKS_RUN_IN", "moon", "TICKLAKE_TASKS_RUN_IN"),
        ("TASKS_RETRIES", "-1", "TICKLAKE_TASKS_RETRIES"),
        ("SCHEDULE", "hourly", "TICKLAKE_SCHEDULE"),
        ("SCHEDULE_DELAY_MINUTES", "soon", "TICKLAKE_SCHEDULE_DELAY_MINUTES"),
        ("SCHEDULE_LIVE", "daily", "TICKLAKE_SCHEDULE_LIVE"),
    ],
)
def test_a_wrong_setting_is_named_in_the_import_error(bag: Bag, setting: str, value: str, message: str) -> None:
    errors = bag(**{"TASKS_RUN_IN": "local", setting: value}).import_errors
    assert errors
    assert all(f"{message}: " in error.splitlines()[-1] for error in errors.values())


def test_nothing_is_scheduled_unless_asked(bag: Bag) -> None:
    dags = bag(TASKS_RUN_IN="local", SCHEDULE_LIVE="manual", SCHEDULE_HOUSEKEEPING="manual").dags
    assert [dag.timetable.can_be_scheduled for dag in dags.values()] == [False] * 5
    dags = bag(TASKS_RUN_IN="local", SCHEDULE_LIVE="hourly", SCHEDULE_HOUSEKEEPING="daily").dags
    scheduled = {name: dag.timetable.can_be_scheduled for name, dag in dags.items()}
    assert scheduled == {
        "stock_market_pipeline": False,
        "live_archive_hourly": True,
        "housekeeping": True,
        "rebuild_windows": False,
        "held_symbols": False,
    }


def test_catching_up_has_to_be_asked_for(bag: Bag) -> None:
    dag = bag(TASKS_RUN_IN="local", SCHEDULE="sessions", SCHEDULE_CATCHUP_FROM="2024-07-01").dags[
        "stock_market_pipeline"
    ]
    assert dag.catchup
    assert dag.start_date.isoformat() == "2024-07-01T00:00:00+00:00"


def test_the_schedule_survives_airflows_database(bag: Bag) -> None:
    """As the scheduler gets it: serialized, and deserialized again."""
    from airflow import settings
    from airflow.serialization.serialized_objects import DagSerialization

    settings.configure_vars()  # where plugins are

    dag = bag(TASKS_RUN_IN="local", SCHEDULE="sessions", SCHEDULE_DELAY_MINUTES="45", CALENDAR="XLON").dags[
        "stock_market_pipeline"
    ]
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert again.timetable.summary == "XLON close + 45 min"
    assert again.timetable.serialize() == {"calendar_code": "XLON", "delay_minutes": 45}


def test_a_release_runs_the_stages_as_a_run_of_its_own(bag: Bag, context: dict[str, Any]) -> None:
    dag = bag(TASKS_RUN_IN="local").dags["held_symbols"]
    for task in dag.tasks:
        if hasattr(task, "arguments"):
            task.render_template_fields(context, dag.get_template_env())
    decide = dag.get_task("decide")
    assert (decide.program, decide.arguments) == ("held-symbol", ["release", "AAPL", "--run", "", "--by", "kim"])
    of_run = ["--date", "2024-07-05", "--run-id", "scheduled__2024-07-05.release-AAPL"]
    assert [dag.get_task(name).arguments for name in ORDER] == [of_run] * len(ORDER)
    sent = {"TICKLAKE_RELEASED_FROM": "scheduled__2024-07-05", "TICKLAKE_SYMBOLS": "AAPL"}
    assert [dag.get_task(name).environment for name in ORDER] == [sent] + [{}] * (len(ORDER) - 1)
    go_on = dag.get_task("anything_to_send").python_callable
    assert (go_on({"done": False}), go_on({"done": True})) == (True, False)


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"action": "release", "symbol": "^GSPC"}, True),
        ({"action": "drop", "symbol": "BRK-B", "run": "manual__2024-07-05T20-30-00-00-00-1a2b3c4d"}, True),
        ({"action": "drop"}, False),
        ({"symbol": "AAPL"}, False),
        ({"action": "keep", "symbol": "AAPL"}, False),
        ({"action": "drop", "symbol": "AAPL MSFT"}, False),
    ],
)
def test_what_can_be_decided(bag: Bag, given: dict[str, str], allowed: bool) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    params = bag(TASKS_RUN_IN="local").dags["held_symbols"].params
    with nullcontext() if allowed else pytest.raises(ParamValidationError):
        _given(params, given)


def _given(params: Any, given: dict[str, str]) -> None:
    params.update(given)
    params.validate()


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({}, True),
        ({"date": "2024-07-05", "source": "simulated", "symbols": "AAPL, BRK-B,^GSPC"}, True),
        ({"date": "yesterday"}, False),
        ({"source": "rumour"}, False),
        ({"symbols": "AAPL;rm"}, False),
    ],
)
def test_what_a_run_may_be_asked_for(bag: Bag, given: dict[str, str], allowed: bool) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    params = bag(TASKS_RUN_IN="local").dags["stock_market_pipeline"].params
    if allowed:
        params.update(given)
        params.validate()
    else:
        with pytest.raises(ParamValidationError):
            params.update(given)


def test_reading_the_files_loads_nothing_heavy() -> None:
    """The scheduler reads them repeatedly; what a task needs, the task loads."""
    code = (
        "import runpy, sys\n"
        "import airflow.sdk\n"
        "before = set(sys.modules)\n"
        f"for file in {[str(path) for path in sorted(DAGS.glob('*.py'))]!r}: runpy.run_path(file)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules and name not in before])\n"
    )
    environment = os.environ | {"TICKLAKE_TASKS_RUN_IN": "local", "TICKLAKE_SCHEDULE": "sessions"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines()[-1] == "[]"
