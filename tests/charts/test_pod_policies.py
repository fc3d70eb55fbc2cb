"""Policies over every pod, and the proof that each of them can fail."""

import base64
import copy
from collections.abc import Callable
from typing import Any

import pytest
from chart_objects import Manifest, PodTemplate, pods
from chart_policies import (
    POLICIES,
    Policy,
    limits,
    no_capabilities,
    no_plain_secret,
    no_token,
    non_root,
    own_node,
    pinned,
    probes,
    read_only,
)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
def test_every_pod_keeps_the_policy(objects: list[Manifest], policy: Policy) -> None:
    wrong = [f"{pod.where}: {line}" for pod in pods(objects) for line in policy(pod)]
    assert not wrong


def test_all_kinds_of_pods_are_looked_at(rendered: Callable[[str], list[Manifest]]) -> None:
    found = {pod.where for pod in pods(rendered("production"))}
    assert {
        "Deployment/ticklake-archive-ticks",
        "Deployment/ticklake-stream-ticks",
        "Deployment/ticklake-spark-history",
        "Deployment/ticklake-dashboard",
        "Deployment/ticklake-market-alerts",
        "SparkApplication/ticklake-stream-analytics driver",
        "SparkApplication/ticklake-stream-analytics executor",
        "task fetch-historical",
        "task reconcile-run",
        "task daily-analytics driver",
        "task daily-analytics executor",
        "task rebuild-windows driver",
        "task rebuild-windows executor",
        "CronJob/ticklake-airflow-backup",
        "Pod/ticklake-check-platform",
        "Job/ticklake-provision-store-1",
        "StatefulSet/ticklake-catalog",
    } <= found


def _container(change: dict[str, Any]) -> Callable[[PodTemplate], None]:
    def apply(pod: PodTemplate) -> None:
        for key, value in change.items():
            target = pod.spec["containers"][0]
            *path, last = key.split(".")
            for part in path:
                target = target[part]
            if value is None:
                del target[last]
            else:
                target[last] = value

    return apply


def _spec(**change: Any) -> Callable[[PodTemplate], None]:
    return lambda pod: pod.spec.update(change)


BAD = [
    (non_root, _spec(securityContext={"seccompProfile": {"type": "RuntimeDefault"}})),
    (non_root, lambda pod: pod.spec["securityContext"].update(runAsUser=0)),
    (non_root, _container({"securityContext.allowPrivilegeEscalation": None})),
    (non_root, _container({"securityContext.privileged": True})),
    (read_only, _container({"securityContext.readOnlyRootFilesystem": False})),
    (read_only, _container({"volumeMounts": []})),
    (no_capabilities, _container({"securityContext.capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}})),
    (no_capabilities, _container({"securityContext.capabilities": None})),
    (no_capabilities, lambda pod: pod.spec["securityContext"].pop("seccompProfile")),
    (limits, _container({"resources.limits": {"cpu": "1"}})),
    (limits, _container({"resources": None})),
    (probes, _container({"readinessProbe": None})),
    (probes, _container({"livenessProbe": None})),
    (pinned, _container({"image": "ticklake/archive-ticks"})),
    (pinned, _container({"image": "registry:5000/ticklake/archive-ticks"})),
    (pinned, _container({"image": "ticklake/archive-ticks:latest"})),
    (no_plain_secret, _container({"env": [{"name": "TICKLAKE_STORE_SECRET_KEY", "value": "x"}]})),
    (no_token, _spec(automountServiceAccountToken=True)),
    (no_token, lambda pod: pod.spec.pop("automountServiceAccountToken")),
    (no_token, _spec(serviceAccountName="default")),
    (own_node, _spec(hostNetwork=True)),
    (own_node, _spec(volumes=[{"name": "docker", "hostPath": {"path": "/var/run"}}])),
]


@pytest.mark.parametrize(("policy", "spoil"), BAD, ids=[f"{policy.__name__}-{n}" for n, (policy, _) in enumerate(BAD)])
def test_a_bad_pod_breaks_the_policy(
    policy: Policy, spoil: Callable[[PodTemplate], None], rendered: Callable[[str], list[Manifest]]
) -> None:
    good = next(pod for pod in pods(rendered("kind")) if pod.where == "Deployment/ticklake-archive-ticks")
    bad = copy.deepcopy(good)
    spoil(bad)
    assert not list(policy(good))
    assert list(policy(bad))


def test_a_spark_pod_without_a_limit_breaks_the_policy(rendered: Callable[[str], list[Manifest]]) -> None:
    good = next(pod for pod in pods(rendered("kind")) if pod.where == "task daily-analytics driver")
    bad = copy.deepcopy(good)
    del bad.sized["spark-kubernetes-driver"]["coreLimit"]
    assert not list(limits(good))
    assert list(limits(bad)) == ["spark-kubernetes-driver lacks coreLimit"]


def test_an_init_container_is_looked_at(rendered: Callable[[str], list[Manifest]]) -> None:
    good = next(pod for pod in pods(rendered("production")) if pod.where == "CronJob/ticklake-airflow-backup")
    bad = copy.deepcopy(good)
    bad.spec["initContainers"][0]["image"] = "postgres"
    assert [*pinned(bad)] == ["dump runs postgres, which names no version"]


def test_no_object_but_a_secret_holds_one(objects: list[Manifest]) -> None:
    """What was generated is in Secrets only: not in a ConfigMap, an argument or an annotation."""
    texts = [
        base64.b64decode(value).decode()
        for each in objects
        if each["kind"] == "Secret"
        for key, value in each["data"].items()
        if key not in ("access-key", "username")
    ]
    lines = [line for text in texts for line in text.splitlines() if not line.startswith("export MINIO_ROOT_USER")]
    values = {line.removeprefix("export MINIO_ROOT_PASSWORD=") for line in lines}
    text = "\n".join(str(each) for each in objects if each["kind"] != "Secret")
    assert values
    assert not [value for value in values if value in text]


def test_a_driver_that_must_be_ready_first_breaks_the_policy(rendered: Callable[[str], list[Manifest]]) -> None:
    driver = next(
        pod for pod in pods(rendered("kind")) if pod.where == "SparkApplication/ticklake-stream-analytics driver"
    )
    assert list(probes(driver)) == []
    driver = copy.deepcopy(driver)
    driver.spec["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/readyz", "port": "metrics"}}
    (message,) = probes(driver)
    assert "executors would never find it" in message
