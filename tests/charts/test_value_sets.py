"""What each set of values promises."""

import json
from collections.abc import Callable

import pytest
from chart_objects import Manifest, find

Rendered = Callable[[str], list[Manifest]]


def _pools(objects: list[Manifest]) -> dict[str, tuple[int, list[str]]]:
    return {
        each["metadata"]["name"]: (each["spec"]["replicas"], each["spec"]["roles"])
        for each in objects if each["kind"] == "KafkaNodePool"
    }  # fmt: skip


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
        "topology.kubernetes.io/zone", "kubernetes.io/hostname",
    }  # fmt: skip


def test_what_the_bucket_must_have(rendered: Rendered) -> None:
    days = {"backups/": 30, "checks/": 1}
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
    assert not made & {"Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser", "Tenant", "Job"}
    names = {each["metadata"]["name"] for each in rendered("external") if each["kind"] == "Secret"}
    assert names == {"ticklake-airflow-credentials"}
