"""What the Spark task submits, and what it makes of a driver that has ended."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import quick_yaml
from jsonschema import Draft202012Validator
from kube_api import Api, executed

BESIDE = Path(__file__).parents[4] / "shared" / "crds"
APPLICATIONS = "/apis/sparkoperator.k8s.io/v1beta2/namespaces/ticklake/sparkapplications"
DRIVER = "spark-kubernetes-driver"

Task = Callable[..., Any]


@pytest.fixture
def task(bag: Callable[..., Any], context: dict[str, Any]) -> Task:
    """A function that gives the task with its templates filled in."""

    def render(task_id: str = "process_data", dag_id: str = "stock_market_pipeline", **settings: str) -> Any:
        dag = bag(TASKS_RUN_IN="kubernetes", TASKS_NAMESPACE="ticklake", **settings).dags[dag_id]
        found = dag.get_task(task_id)
        found.render_template_fields(context, dag.get_template_env())
        return found

    return render


def application(task: Any) -> dict[str, Any]:
    body: dict[str, Any] = task.template_body["spark"]
    return body


def test_the_application_is_the_charts_with_this_runs_arguments(task: Task) -> None:
    found = task()
    body = application(found)
    given = quick_yaml.load(found.manifest.read_text())
    arguments = body["spec"].pop("arguments")
    assert arguments[:3] == ["--date", "2024-07-05", "--run-id"]
    assert arguments[3].startswith("backfill__2024-07-05T20-30-00-00-00-")
    assert body["metadata"].pop("annotations") == {"ticklake/run-id": arguments[3]}
    assert body == given


def test_windows_are_rebuilt_for_the_span_that_was_asked_for(task: Task) -> None:
    arguments = application(task("rebuild_windows", "rebuild_windows"))["spec"]["arguments"]
    assert arguments[:5] == ["--from", "2024-07-05T13:30:00Z", "--to", "2024-07-05T20:00:00Z", "--run-id"]
    assert arguments[5].startswith("backfill__2024-07-05T20-30-00-00-00-")


def test_the_application_is_valid_by_its_definition(task: Task) -> None:
    folder = Path(os.environ.get("TICKLAKE_CRDS") or BESIDE)
    if not folder.is_dir():
        pytest.skip("set TICKLAKE_CRDS to a folder with the Spark operator's CustomResourceDefinitions")
    schemas = [
        version["schema"]["openAPIV3Schema"]
        for file in folder.glob("*.yaml")
        for each in quick_yaml.load_all(file.read_text())
        if each and each["kind"] == "CustomResourceDefinition" and each["spec"]["names"]["kind"] == "SparkApplication"
        for version in each["spec"]["versions"]
        if version["name"] == "v1beta2"
    ]
    assert len(schemas) == 1
    errors = list(Draft202012Validator(schemas[0]).iter_errors(application(task())))
    assert errors == []
    broken = application(task())
    broken["spec"]["type"] = "Snake"
    assert list(Draft202012Validator(schemas[0]).iter_errors(broken))


def ended(task: Any, context: dict[str, Any], api: Api, code: int, message: str) -> dict[str, Any]:
    """Run the task where an earlier attempt's driver has ended; returns what it pushed."""
    api.put_pod("daily-analytics-x1-driver", DRIVER, code, message)
    return executed(task, context)[1].pushed


def test_the_result_comes_from_the_drivers_termination_message(task: Task, context: dict[str, Any], api: Api) -> None:
    pushed = ended(task(), context, api, 0, json.dumps({"rows_out": 2510}))
    assert pushed["return_value"] == {"rows_out": 2510}
    assert api.deleted == ["daily-analytics-x1"]


def test_a_result_that_was_cut_is_kept_as_it_is(task: Task, context: dict[str, Any], api: Api) -> None:
    pushed = ended(task(), context, api, 0, '_out": 2510}')
    assert pushed["return_value"] == {"cut": '_out": 2510}'}


@pytest.mark.parametrize(("code", "final"), [(1, False), (2, True)])
def test_how_a_failed_driver_is_judged(task: Task, context: dict[str, Any], api: Api, code: int, final: bool) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    with pytest.raises(AirflowException) as raised:
        ended(task(), context, api, code, "daily-analytics: why\n")
    assert isinstance(raised.value, AirflowFailException) is final
    assert f"exit code {code}" in str(raised.value)
    assert str(raised.value).endswith("daily-analytics: why")
    assert api.deleted == ["daily-analytics-x1"]


def test_an_application_is_kept_where_asked(task: Task, context: dict[str, Any], api: Api) -> None:
    ended(task(TASKS_ON_FINISH="keep_pod"), context, api, 0, "{}")
    assert api.deleted == []


def test_a_cluster_without_the_operator_is_reported_at_once(task: Task, context: dict[str, Any], api: Api) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="is the Spark operator installed"):
        executed(task(), context)


@pytest.mark.parametrize(("code", "final"), [(1, False), (2, True)])
def test_a_driver_that_ends_before_it_was_seen_to_run(
    task: Task, context: dict[str, Any], api: Api, code: int, final: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong setting ends it within a second of its start."""
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    found = task()
    monkeypatch.setattr(found, "random_name_suffix", False)
    api.objects[APPLICATIONS] = {}
    api.objects[f"{APPLICATIONS}/daily-analytics/status"] = {"status": {"applicationState": {"state": "FAILED"}}}
    api.put_pod("daily-analytics-driver", DRIVER, code, "daily-analytics: TICKLAKE_SPARK_MEMORY: why")
    api.listed = []
    with pytest.raises(AirflowException) as raised:
        executed(found, context)
    assert isinstance(raised.value, AirflowFailException) is final
    assert str(raised.value).endswith("TICKLAKE_SPARK_MEMORY: why")
    assert api.created[0]["spec"]["arguments"][1] == "2024-07-05"
    assert api.deleted == ["daily-analytics"]


def test_an_application_that_nobody_starts_is_removed_and_reported(
    task: Task, context: dict[str, Any], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    found = task()
    monkeypatch.setattr(found, "startup_timeout_seconds", 0)
    monkeypatch.setattr(found, "random_name_suffix", False)
    api.objects[APPLICATIONS] = {}
    api.objects[f"{APPLICATIONS}/daily-analytics/status"] = {"status": {}}
    with pytest.raises(AirflowException, match="does the Spark operator watch the namespace ticklake") as raised:
        executed(found, context)
    assert not isinstance(raised.value, AirflowFailException)
    assert api.deleted == ["daily-analytics"]
