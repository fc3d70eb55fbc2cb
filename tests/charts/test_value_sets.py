"""What each set of values promises."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from chart_objects import SNOWFLAKE, Manifest, find, render, tasks, users

Rendered = Callable[[str], list[Manifest]]


def _pools(objects: list[Manifest]) -> dict[str, tuple[int, list[str]]]:
    return {
        each["metadata"]["name"]: (each["spec"]["replicas"], each["spec"]["roles"])
        for each in objects
        if each["kind"] == "KafkaNodePool"
    }


def test_kafka_in_production(rendered: Rendered) -> None:
    objects = rendered("production")
    assert _pools(objects) == {"broker": (3, ["broker"]), "controller": (3, ["controller"])}
    kafka = find(objects, "Kafka", "ticklake")["spec"]["kafka"]
    assert kafka["version"] == "4.3.1"
    assert kafka["rack"]["topologyKey"] == "topology.kubernetes.io/zone"
    (listener,) = kafka["listeners"]
    assert (listener["tls"], listener["authentication"]) == (True, {"type": "scram-sha-512"})
    assert kafka["authorization"] == {"type": "simple"}
    assert kafka["config"]["min.insync.replicas"] == 2
    for name in ("default.replication.factor", "offsets.topic.replication.factor"):
        assert kafka["config"][name] == 3
    assert kafka["config"]["auto.create.topics.enable"] == "false"


def test_kafka_on_one_node(rendered: Rendered) -> None:
    objects = rendered("kind")
    assert _pools(objects) == {"broker": (1, ["controller", "broker"])}
    config = find(objects, "Kafka", "ticklake")["spec"]["kafka"]["config"]
    names = [name for name in config if "replic" in name or "isr" in name]
    assert len(names) == 5
    assert {config[name] for name in names} == {1}


@pytest.mark.parametrize("name", ["default", "kind", "production"])
def test_data_outlives_the_release(rendered: Rendered, name: str) -> None:
    objects = rendered(name)
    volumes = [
        volume for each in objects if each["kind"] == "KafkaNodePool" for volume in each["spec"]["storage"]["volumes"]
    ]
    assert volumes
    assert not any(volume["deleteClaim"] for volume in volumes)
    kept = find(objects, "StatefulSet", "ticklake-catalog")["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert kept["whenDeleted"] == "Retain"
    kept = [each for each in objects if each["kind"] == "Secret"]
    assert kept
    assert all(each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for each in kept)


def test_the_store_in_production(rendered: Rendered) -> None:
    spec = find(rendered("production"), "Tenant", "ticklake-store")["spec"]
    (pool,) = spec["pools"]
    assert (pool["servers"], pool["volumesPerServer"]) == (4, 2)
    assert {"name": "MINIO_STORAGE_CLASS_STANDARD", "value": "EC:4"} in spec["env"]
    assert spec["requestAutoCert"] is True
    assert {each["topologyKey"] for each in pool["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }


def test_what_the_bucket_must_have(rendered: Rendered) -> None:
    days = {"backups/": 30, "checks/": 1, "quarantine/": 180, "raw/source/": 90}
    for name, folders in (("default", []), ("production", ["spark-events/"])):
        data = find(rendered(name), "ConfigMap", "ticklake-store-policies")["data"]
        assert json.loads(data["bucket.json"]) == {"expire_days": days, "folders": folders}


@pytest.mark.parametrize("name", ["default", "kind", "production"])
def test_nobody_of_ours_administers_the_store(rendered: Rendered, name: str) -> None:
    """A tenant's `users` get the policy consoleAdmin, so it has none."""
    assert "users" not in find(rendered(name), "Tenant", "ticklake-store")["spec"]


def test_the_archive_in_production(rendered: Rendered) -> None:
    objects = rendered("production")
    scaler = find(objects, "HorizontalPodAutoscaler", "ticklake-archive-ticks")["spec"]
    deployment = find(objects, "Deployment", "ticklake-archive-ticks")["spec"]
    live = find(objects, "KafkaTopic", "ticklake-stock-market-realtime")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "ticklake-archive-ticks"
    assert 1 < scaler["minReplicas"] < scaler["maxReplicas"] <= live["partitions"]
    assert "replicas" not in deployment
    assert deployment["template"]["spec"]["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "DoNotSchedule"
    budgets = {each["metadata"]["name"] for each in objects if each["kind"] == "PodDisruptionBudget"}
    assert budgets == {"ticklake-archive-ticks", "ticklake-store"}


@pytest.mark.parametrize("name", ["default", "kind", "production"])
def test_a_second_installation_goes_on_with_kafkas_volumes(rendered: Rendered, name: str) -> None:
    """Topics stay, and the volumes get the cluster id that they were formatted with."""
    objects = rendered(name)
    topics = [each for each in objects if each["kind"] == "KafkaTopic"]
    assert topics
    assert all(each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for each in topics)
    kafka = find(objects, "Kafka", "ticklake")
    assert kafka["metadata"]["annotations"] == {"strimzi.io/pause-reconciliation": "true"}
    secret = find(objects, "Secret", "ticklake-kafka-cluster-id")
    made = base64.b64decode(secret["data"]["cluster-id"]).decode()
    assert len(base64.urlsafe_b64decode(f"{made}==")) == 16
    assert not made.startswith("-")
    (container,) = find(objects, "Job", "ticklake-kafka-cluster-id-1")["spec"]["template"]["spec"]["containers"]
    names = {each["name"]: each.get("value") or each["valueFrom"]["secretKeyRef"] for each in container["env"]}
    assert names["TICKLAKE_KAFKA_OBJECT"] == "ticklake"
    assert names["TICKLAKE_KAFKA_CLUSTER_ID"] == {"name": "ticklake-kafka-cluster-id", "key": "cluster-id"}


def test_restored_volumes_bring_their_cluster_id(helm: Path) -> None:
    own = "XP9FP2P-RByvEy0W4cOEUA"
    objects = render(helm, *SNOWFLAKE, "--set", f"kafka.clusterId={own}")
    secret = find(objects, "Secret", "ticklake-kafka-cluster-id")
    assert base64.b64decode(secret["data"]["cluster-id"]).decode() == own


def test_kind_brings_a_warehouse_with_a_sign_in(rendered: Rendered) -> None:
    """Nothing that the first run needs is left to be made by hand."""
    objects = rendered("kind")
    password = base64.b64decode(find(objects, "Secret", "ticklake-warehouse")["data"]["password"])
    assert len(password) == 32
    settings = find(objects, "ConfigMap", "ticklake-settings")["data"]
    assert settings["TICKLAKE_WAREHOUSE_HOST"] == "ticklake-warehouse.ticklake.svc"
    service = find(objects, "Service", "ticklake-warehouse")["spec"]
    assert str(service["ports"][0]["port"]) == settings["TICKLAKE_WAREHOUSE_PORT"]
    served = find(objects, "Deployment", "ticklake-warehouse")["spec"]
    assert service["selector"].items() <= served["template"]["metadata"]["labels"].items()
    secret = {"name": "ticklake-warehouse", "key": "password"}
    assert _variable(served["template"]["spec"], "TICKLAKE_WAREHOUSE_PASSWORD") == secret
    programs = tasks(find(objects, "ConfigMap", "ticklake-tasks"))
    for program in (*users("warehouse"), "load-live"):
        assert _variable(programs[program]["spec"], "TICKLAKE_WAREHOUSE_PASSWORD") == secret
    for name in ("default", "production", "external"):
        assert not [
            each
            for each in rendered(name)
            if each["metadata"]["name"] == "ticklake-warehouse" and each["kind"] != "NetworkPolicy"
        ]


def _variable(spec: Manifest, name: str) -> Manifest:
    (found,) = [each for each in spec["containers"][0]["env"] if each["name"] == name]
    reference: Manifest = found["valueFrom"]["secretKeyRef"]
    return reference


def test_executors_reach_a_keyless_store_as_their_stage(helm: Path) -> None:
    """A cloud gives a pod its role by the annotation of its account."""
    role = "eks\\.amazonaws\\.com/role-arn"
    stages = ("daily-analytics", "stream-analytics")
    annotations = [f"stages.{stage}.serviceAccountAnnotations.{role}=arn:aws:iam::1:role/{stage}" for stage in stages]
    objects = render(helm, *SNOWFLAKE, "--set", "store.external.enabled=true", "--set", ",".join(annotations))
    daily = tasks(find(objects, "ConfigMap", "ticklake-tasks"))["daily-analytics"]["spec"]
    stream = find(objects, "SparkApplication", "ticklake-stream-analytics")["spec"]
    for stage, spec in zip(stages, (daily, stream), strict=True):
        account = find(objects, "ServiceAccount", f"ticklake-{stage}")
        assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": f"arn:aws:iam::1:role/{stage}"}
        for part in ("driver", "executor"):
            assert spec[part]["serviceAccount"] == f"ticklake-{stage}"
        assert spec["executor"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_one_source_of_ticks_at_a_time(rendered: Rendered) -> None:
    spec = find(rendered("production"), "Deployment", "ticklake-stream-ticks")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_stores_authority_reaches_java(rendered: Rendered) -> None:
    spec = find(rendered("production"), "SparkApplication", "ticklake-stream-analytics")["spec"]
    for role in ("driver", "executor"):
        (init,) = spec[role]["template"]["spec"]["initContainers"]
        target = init["command"][init["command"].index("-keystore") + 1]
        assert f"-Djavax.net.ssl.trustStore={target}" in spec["sparkConf"][f"spark.{role}.defaultJavaOptions"]


def test_external_parts_are_not_made(rendered: Rendered) -> None:
    made = {each["kind"] for each in rendered("external")}
    assert not made & {"Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser", "Tenant", "Job", "StatefulSet"}
    names = {each["metadata"]["name"] for each in rendered("external") if each["kind"] == "Secret"}
    assert names == {"ticklake-airflow-credentials"}
