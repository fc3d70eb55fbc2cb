"""What a task hands to Kubernetes, and what it makes of a pod that has ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kube_api import Api, executed

from ticklake.pipeline import BATCH_STAGES, Kind

PIPELINE_PODS = [stage.task_id for stage in BATCH_STAGES if stage.kind is Kind.POD]
RUN_ID = "backfill__2024-07-05T20-30-00-00-00-"

Rendered = Callable[..., tuple[Any, dict[str, Any]]]


@pytest.fixture
def rendered(bag: Callable[..., Any], context: dict[str, Any]) -> Rendered:
    """A function that gives a task with its templates filled in, and the pod it asks for as JSON."""

    def render(task_id: str, dag_id: str = "stock_market_pipeline", **params: Any) -> tuple[Any, dict[str, Any]]:
        from kubernetes.client import ApiClient

        context["params"] |= params
        dag = bag(TASKS_RUN_IN="kubernetes", TASKS_NAMESPACE="ticklake").dags[dag_id]
        task = dag.get_task(task_id)
        task.render_template_fields(context, dag.get_template_env())
        return task, ApiClient().sanitize_for_serialization(task.build_pod_request_obj(dry_run=True))

    return render


def base_of(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = [each for each in pod["spec"]["containers"] if each["name"] == "base"]
    return dict(found)


@pytest.mark.parametrize("task_id", PIPELINE_PODS)
def test_a_stages_pod(rendered: Rendered, task_id: str) -> None:
    task, pod = rendered(task_id)
    kubernetes_validate.validate(pod, "1.34.0", strict=True)
    program = Path(task.pod_template_file).stem
    assert pod["metadata"]["namespace"] == "ticklake"
    assert pod["metadata"]["name"].startswith(f"{program}-")
    base = base_of(pod)
    assert base["command"] == [program]
    assert base["args"][:3] == ["--date", "2024-07-05", "--run-id"]
    assert base["args"][3].startswith(RUN_ID)
    assert pod["metadata"]["annotations"]["ticklake/run-id"] == base["args"][3]
    assert pod["metadata"]["labels"].items() >= {"app.kubernetes.io/name": program, "ticklake/program": program}.items()
    assert base["terminationMessagePolicy"] == "FallbackToLogsOnError"
    # All that the chart's manifest says is kept.
    given = yaml.safe_load(Path(task.pod_template_file).read_text())["spec"]
    assert pod["spec"]["serviceAccountName"] == given["serviceAccountName"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["securityContext"] == given["securityContext"]
    assert pod["spec"]["restartPolicy"] == "Never"
    for field in ("image", "imagePullPolicy", "resources", "securityContext", "env", "envFrom"):
        assert base[field] == given["containers"][0][field], field


def test_the_result_container_is_as_tight_as_the_stage_and_needs_no_other_image(rendered: Rendered) -> None:
    _, pod = rendered("fetch_historical_data")
    (sidecar,) = [each for each in pod["spec"]["containers"] if each["name"] != "base"]
    assert sidecar["image"] == base_of(pod)["image"]
    assert sidecar["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert set(sidecar["resources"]) == {"requests", "limits"}
    assert {"name": "xcom", "mountPath": "/airflow/xcom"} in base_of(pod)["volumeMounts"]


def test_overrides_of_a_run_go_before_the_charts_values(rendered: Rendered) -> None:
    _, pod = rendered("fetch_historical_data", source="replay")
    variables = {each["name"]: each.get("value") for each in base_of(pod)["env"]}
    assert variables["TICKLAKE_SOURCE"] == "replay"
    assert "TICKLAKE_SYMBOLS" not in variables


def test_only_the_fetch_gets_overrides(rendered: Rendered) -> None:
    _, pod = rendered("consume_historical_data", source="replay", symbols="IBM")
    assert {each["name"]: each.get("value") for each in base_of(pod)["env"]}["TICKLAKE_SOURCE"] == "simulated"


@pytest.mark.parametrize(
    ("dag_id", "task_id", "args"),
    [
        ("live_archive_hourly", "make_tick_bars", ["--date", "2024-07-05", "--hour", "0", "--run-id"]),
        ("live_archive_hourly", "load_live", ["--run-id"]),
        ("housekeeping", "apply_retention", ["--date", "2024-07-05", "--run-id"]),
        ("housekeeping", "maintain_tables", ["--date", "2024-07-05", "--run-id"]),
        ("housekeeping", "clean_airflow_metadata", ["--date", "2024-07-05", "--days", "90"]),
    ],
)
def test_pods_of_the_other_dags(rendered: Rendered, dag_id: str, task_id: str, args: list[str]) -> None:
    _, pod = rendered(task_id, dag_id)
    kubernetes_validate.validate(pod, "1.34.0", strict=True)
    assert base_of(pod)["args"][: len(args)] == args


def test_two_attempts_have_pods_of_their_own_for_the_same_run(rendered: Rendered) -> None:
    (_, first), (_, second) = rendered("load_to_snowflake"), rendered("load_to_snowflake")
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert base_of(first)["args"] == base_of(second)["args"]


@pytest.mark.parametrize(
    ("code", "message", "final"),
    [
        (1, "fetch-historical: the broker does not answer\n", False),
        (2, '{"event": "start"}\nfetch-historical: TICKLAKE_SYMBOLS: no such symbol\n', True),
        (137, "", False),
    ],
)
def test_how_a_failed_pod_is_judged(
    rendered: Rendered, context: dict[str, Any], api: Api, code: int, message: str, final: bool
) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    task, _ = rendered("fetch_historical_data")
    task.extract_xcom = lambda pod: None  # comes by exec, which takes a cluster
    api.put_pod("fetch-historical-x1", "base", code, message)
    with pytest.raises(AirflowException) as raised:
        executed(task, context)
    assert isinstance(raised.value, AirflowFailException) is final
    assert f"exit code {code}" in str(raised.value)
    if message:
        assert str(raised.value).endswith(message.strip().splitlines()[-1])
    assert api.deleted == ["fetch-historical-x1"]


def test_a_pod_that_is_done_is_removed(rendered: Rendered, context: dict[str, Any], api: Api) -> None:
    task, _ = rendered("fetch_historical_data")
    task.extract_xcom = lambda pod: None
    api.put_pod("fetch-historical-x1", "base", 0, "")
    executed(task, context)
    assert api.created == []
    assert api.deleted == ["fetch-historical-x1"]


def test_a_pod_of_an_earlier_attempt_that_has_ended_gives_its_result(
    rendered: Rendered, context: dict[str, Any], api: Api
) -> None:
    task, _ = rendered("validate_loaded_data")
    api.put_pod("validate-loaded-x1", "base", 0, "")
    task.extract_xcom = lambda pod: {"rows_in": 1, "pod": pod.metadata.name}  # comes by exec, which takes a cluster
    result, _ = executed(task, context)
    assert result == {"rows_in": 1, "pod": "validate-loaded-x1"}
    assert api.created == []
    assert api.deleted == ["validate-loaded-x1"]
