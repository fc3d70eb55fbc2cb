"""The chart's own manifests, under each set of values, with what the DAGs add to them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "charts"))

from chart_objects import VALUE_SETS, find, render
from chart_schemas import NoDefinitions, api_errors, custom_errors, definitions_folder
from helm_program import HelmMissing, find_helm


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives the folder as Airflow's pods have it under a named set of values."""
    try:
        helm = find_helm()
    except HelmMissing as error:
        pytest.fail(str(error))
    made: dict[str, Path] = {}

    def folder(values: str) -> Path:
        if values not in made:
            made[values] = tmp_path_factory.mktemp("tasks")
            for name, text in find(render(helm, *VALUE_SETS[values]), "ConfigMap", "ticklake-tasks")["data"].items():
                (made[values] / name).write_text(text)
        return made[values]

    return folder


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_task_is_taken_by_the_api(
    values: str, templates: Callable[[str], Path], bag: Callable[..., Any], context: dict[str, Any]
) -> None:
    from kubernetes.client import ApiClient

    dags = bag(TASKS_RUN_IN="kubernetes", TASKS_NAMESPACE="ticklake", TASKS_TEMPLATES=str(templates(values))).dags
    errors: dict[str, list[str]] = {}
    for dag in dags.values():
        for task in dag.tasks:
            if not hasattr(task, "arguments"):
                continue  # a choice, made by Airflow itself
            task.render_template_fields(context, dag.get_template_env())
            if hasattr(task, "manifest"):
                try:
                    errors[task.task_id] = custom_errors(task.template_body["spark"], definitions_folder())
                except NoDefinitions as missing:
                    pytest.skip(str(missing))
                continue
            pod = ApiClient().sanitize_for_serialization(task.build_pod_request_obj(dry_run=True))
            errors[task.task_id] = api_errors(pod)
            for container in pod["spec"]["containers"]:
                assert container["securityContext"]["readOnlyRootFilesystem"], (task.task_id, container["name"])
                assert container["resources"]["limits"]["memory"], (task.task_id, container["name"])
    assert len(errors) == 14
    assert {name: found for name, found in errors.items() if found} == {}
