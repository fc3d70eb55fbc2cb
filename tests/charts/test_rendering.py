"""Every set of values: lint, rendering, and each object as Kubernetes and the operators' definitions want it."""

import copy
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from chart_objects import CHART, VALUE_SETS, Manifest, find, pods, tasks
from chart_schemas import NoDefinitions, api_errors, custom_errors, definitions_folder, is_custom


@pytest.fixture(scope="session")
def definitions() -> Path:
    """The folder with the operators' definitions."""
    try:
        return definitions_folder()
    except NoDefinitions as missing:
        pytest.skip(str(missing))


def _everything(objects: list[Manifest]) -> list[tuple[str, Manifest]]:
    """What is applied, and what Airflow applies later."""
    found = [(f"{each['kind']}/{each['metadata']['name']}", each) for each in objects]
    found += [(f"task {name}", each) for name, each in tasks(find(objects, "ConfigMap", "ticklake-tasks")).items()]
    return found


@pytest.mark.parametrize("name", VALUE_SETS)
def test_lint(helm: Path, name: str) -> None:
    done = subprocess.run(
        [helm, "lint", CHART, "--strict", *VALUE_SETS[name]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_built_in_kinds_are_valid(objects: list[Manifest]) -> None:
    wrong = {
        where: found for where, each in _everything(objects) if not is_custom(each) and (found := api_errors(each))
    }
    assert not wrong


def test_pods_in_spark_applications_are_valid(objects: list[Manifest]) -> None:
    # A template may leave out what the operator and Spark add.
    wrong = {
        pod.where: found
        for pod in pods(objects)
        if pod.sized
        and (found := api_errors({"apiVersion": "v1", "kind": "Pod", "metadata": pod.metadata, "spec": pod.spec}))
    }
    assert not wrong


def test_operators_kinds_are_valid(objects: list[Manifest], definitions: Path) -> None:
    custom = [(where, each) for where, each in _everything(objects) if is_custom(each)]
    wrong = {where: found for where, each in custom if (found := custom_errors(each, definitions))}
    assert not wrong
    assert {"SparkApplication"} <= {each["kind"] for _, each in custom}


def test_a_wrong_object_is_found(rendered: Callable[[str], list[Manifest]], definitions: Path) -> None:
    deployment = copy.deepcopy(find(rendered("kind"), "Deployment", "ticklake-archive-ticks"))
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    assert api_errors(deployment)
    topic = copy.deepcopy(find(rendered("kind"), "KafkaTopic", "ticklake-stock-market-batch"))
    assert not custom_errors(topic, definitions)
    for key, value in {"partitions": "three", "topicname": "x"}.items():
        assert custom_errors(topic | {"spec": topic["spec"] | {key: value}}, definitions)
    assert custom_errors(topic | {"apiVersion": "kafka.strimzi.io/v1beta2"}, definitions)


def test_names_are_unique_and_short(objects: list[Manifest]) -> None:
    names = Counter((each["kind"], each["metadata"]["name"]) for each in objects)
    assert not [name for name, count in names.items() if count > 1]
    assert not [name for _, name in names if len(name) > 63]


def test_every_reference_leads_somewhere(objects: list[Manifest]) -> None:
    """ConfigMaps, Secrets and service accounts that pods name are rendered, or made by an operator, or the user's."""
    there = {(each["kind"], each["metadata"]["name"]) for each in objects}
    there |= {("Secret", each["metadata"]["name"]) for each in objects if each["kind"] == "KafkaUser"}
    there |= {("Secret", "ticklake-cluster-ca-cert"), ("ConfigMap", "kube-root-ca.crt")}
    theirs = ("snowflake", "kafka-user", "kafka-ca", "s3-user", "s3-ca", "catalog-writer", "catalog-reader")
    there |= {("Secret", name) for name in theirs}
    wanted = {(pod.where, "ServiceAccount", pod.spec["serviceAccountName"]) for pod in pods(objects)}
    for pod in pods(objects):
        wanted |= {(pod.where, *reference) for reference in _references(pod.spec)}
    assert not sorted(each for each in wanted if each[1:] not in there)


def _references(spec: Manifest) -> set[tuple[str, str]]:
    found = set()
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        found |= {("ConfigMap", each["configMapRef"]["name"]) for each in container.get("envFrom", ())}
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                found.add(("Secret", reference["name"]))
    for volume in spec.get("volumes", ()):
        for source in [volume, *volume.get("projected", {}).get("sources", ())]:
            if "configMap" in source:
                found.add(("ConfigMap", source["configMap"]["name"]))
            if "secret" in source:
                found.add(("Secret", source["secret"].get("secretName") or source["secret"]["name"]))
    return found


def test_every_mount_has_its_volume(objects: list[Manifest]) -> None:
    for pod in pods(objects):
        claims = find(objects, *pod.where.split("/"))["spec"] if pod.kind == "StatefulSet" else {}
        volumes = {each["name"] for each in pod.spec.get("volumes", ())}
        volumes |= {each["metadata"]["name"] for each in claims.get("volumeClaimTemplates", ())}
        mounts = {mount["name"] for each in pod.containers for mount in each.get("volumeMounts", ())}
        assert mounts <= volumes, pod.where


@pytest.fixture(scope="session")
def api_server() -> tuple[str, ...]:
    """kubectl for a cluster that knows the operators' kinds."""
    if not os.environ.get("KUBECONFIG") or not shutil.which("kubectl"):
        pytest.skip(
            "no API server: KUBECONFIG is not set or there is no kubectl; the schemas were checked all the same"
        )
    kubectl = ("kubectl", "--request-timeout=20s")
    done = subprocess.run([*kubectl, "api-resources", "-o", "name"], capture_output=True, text=True, check=False)
    missing = {"kafkas.kafka.strimzi.io", "tenants.minio.min.io", "sparkapplications.sparkoperator.k8s.io"} - set(
        done.stdout.split()
    )
    if missing:
        pytest.skip(f"the API server of KUBECONFIG does not answer or lacks {', '.join(sorted(missing))}")
    return kubectl


def test_a_real_api_server_takes_everything(objects: list[Manifest], api_server: tuple[str, ...]) -> None:
    everything = [copy.deepcopy(each) for _, each in _everything(objects)]
    for each in everything:
        each["metadata"].pop("namespace", None)
        each["metadata"].setdefault("name", "task")
        if each["kind"] == "Pod":
            # Its own account is among what is only tried here.
            each["spec"]["serviceAccountName"] = "default"
    done = subprocess.run(
        [*api_server, "apply", "--dry-run=server", "--validate=strict", "--namespace", "default", "-f", "-"],
        input=yaml.safe_dump_all(everything),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(everything)
