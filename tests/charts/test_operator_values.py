"""The values files beside the chart: versions as pinned, nothing secret, names as our chart makes them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from chart_objects import CHART, Manifest

CHARTS = CHART.parent
PINNED = {
    "values-strimzi.yaml": "STRIMZI_CHART_VERSION",
    "values-minio-operator.yaml": "MINIO_OPERATOR_CHART_VERSION",
    "values-spark-operator.yaml": "SPARK_OPERATOR_CHART_VERSION",
    "values-airflow.yaml": "AIRFLOW_CHART_VERSION",
}


def _versions() -> dict[str, str]:
    lines = (CHARTS.parent / "skaffold.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("file", PINNED)
def test_commands_name_the_pinned_version(file: str) -> None:
    wanted = _versions()[PINNED[file]]
    text = (CHARTS / file).read_text()
    assert re.findall(r"--version (\S+)", text) == [wanted]
    assert f" {wanted} of https://" in text


def test_commands_elsewhere_name_the_pinned_versions() -> None:
    for file in (CHART / "README.md", CHART / "templates" / "NOTES.txt"):
        for version in re.findall(r"--version (\S+)", file.read_text()):
            assert version in {_versions()[name] for name in PINNED.values()}, (file, version)


@pytest.mark.parametrize("file", [*PINNED, "ticklake/values.yaml"])
def test_nothing_secret_is_in_git(file: str) -> None:
    def walk(value: object, path: str) -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                walk(each, f"{path}.{key}")
        elif isinstance(value, list):
            for each in value:
                walk(each, path)
        elif isinstance(value, str) and value:
            last = path.rpartition(".")[2]
            naming = re.search(r"(?i)(secret(name)?|existingsecret)$", last)
            assert naming or not re.search(r"(?i)password|passphrase|token|secretkey|fernetkey$", last), path

    walk(yaml.safe_load((CHARTS / file).read_text()), "")


def test_airflow_takes_what_our_chart_makes(rendered: Callable[[str], list[Manifest]]) -> None:
    values = yaml.safe_load((CHARTS / "values-airflow.yaml").read_text())
    there = {(each["kind"], each["metadata"]["name"]): each for each in rendered("default")}
    sources = yaml.safe_load(values["extraEnvFrom"])
    assert ("ConfigMap", sources[0]["configMapRef"]["name"]) in there
    assert sources[1]["secretRef"]["optional"] is True
    assert ("ConfigMap", values["volumes"][0]["configMap"]["name"]) in there
    assert values["volumeMounts"][0]["mountPath"] == "/opt/airflow/tasks"
    keys = set(there["Secret", values["fernetKeySecretName"]]["data"])
    assert {"fernet-key", "api-secret-key", "jwt-secret", "connection", "postgres-password", "admin-password"} == keys
    assert (
        {values[name] for name in ("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName")}
        == {values["data"]["metadataSecretName"], values["postgresql"]["auth"]["existingSecret"]}
        == {values["apiServer"]["env"][0]["valueFrom"]["secretKeyRef"]["name"]}
    )
    image = values["images"]["airflow"]
    own = yaml.safe_load((CHART / "values.yaml").read_text())["images"]["airflow-dags"]
    assert (image["repository"], image["tag"]) == (own["repository"], own["tag"])


def test_an_upgrade_of_airflow_changes_no_job() -> None:
    """A Job cannot be changed, and one that is gone by its time-out is waited for in vain by Helm 4."""
    values = yaml.safe_load((CHARTS / "values-airflow.yaml").read_text())
    assert [values[name]["enabled"] for name in ("migrateDatabaseJob", "createUserJob", "triggerer")] == [False] * 3
    assert values["apiServer"]["waitForMigrations"]["enabled"] is False
    start = values["apiServer"]["args"][-1]
    steps = [
        "airflow db check",
        "airflow db migrate",
        "airflow users create",
        "reset-password",
        "exec airflow api-server",
    ]
    assert sorted(steps, key=start.index) == steps


def test_the_connection_has_the_databases_password(rendered: Callable[[str], list[Manifest]]) -> None:
    import base64

    secret = next(each for each in rendered("default") if each["metadata"]["name"] == "ticklake-airflow-credentials")
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data["connection"] == (
        f"postgresql://postgres:{data['postgres-password']}@airflow-postgresql.ticklake:5432/postgres"
    )
    assert len(base64.urlsafe_b64decode(data["fernet-key"])) == 32


def test_airflows_version_is_the_locks() -> None:
    values = yaml.safe_load((CHARTS / "values-airflow.yaml").read_text())
    lock = (CHARTS.parent / "requirements.lock").read_text()
    assert f"\napache-airflow=={values['airflowVersion']} " in lock


def test_the_tasks_folder_is_where_dags_look() -> None:
    folder = Path("/opt/airflow/tasks")
    values = yaml.safe_load((CHARTS / "values-airflow.yaml").read_text())
    assert values["volumeMounts"] == [{"name": "tasks", "mountPath": str(folder), "readOnly": True}]
