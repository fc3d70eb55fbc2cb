"""Monitors find every pod that exports metrics, alerts and dashboards reach Prometheus and Grafana as they are."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_flows import Endpoint, flows, selects
from chart_objects import CHART, SNOWFLAKE, VALUE_SETS, HelmFailed, Manifest, find, pods, render

from batch_exporter.settings import BatchSettings

Rendered = Callable[[str], list[Manifest]]
ON = (*SNOWFLAKE, "--set", "monitoring.enabled=true")
KINDS = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
RULES = CHART / "files" / "rules"


def _alerts(objects: list[Manifest]) -> list[dict[str, Any]]:
    rules = [each["spec"]["groups"] for each in objects if each["kind"] == "PrometheusRule"]
    return [rule for groups in rules for group in groups for rule in group["rules"] if "alert" in rule]


def _components(objects: list[Manifest]) -> set[str]:
    return {rule["labels"]["component"] for rule in _alerts(objects)}


@pytest.mark.parametrize("name", ["default", "kind", "external"])
def test_nothing_of_it_without_being_asked_for(rendered: Rendered, name: str) -> None:
    objects = rendered(name)
    assert not [each for each in objects if each["kind"] in KINDS or "exporter" in each["metadata"]["name"]]
    if name != "external":
        assert "metricsConfig" not in find(objects, "Kafka", "ticklake")["spec"]["kafka"]
        tenant = find(objects, "Tenant", "ticklake-store")["spec"]
        assert "MINIO_PROMETHEUS_AUTH_TYPE" not in {each["name"] for each in tenant["env"]}


def test_every_pod_with_metrics_is_a_target_and_no_other(rendered: Rendered) -> None:
    objects = rendered("production")
    selector = find(objects, "PodMonitor", "ticklake-services")["spec"]["selector"]
    found = {
        pod.labels["app.kubernetes.io/component"]: selects(selector, pod.labels)
        for pod in pods(objects)
        if any(port["name"] == "metrics" for each in pod.spec["containers"] for port in each.get("ports", ()))
    }
    assert found == dict.fromkeys(
        ("archive-ticks", "batch-exporter", "dashboard", "market-alerts", "stream-analytics", "stream-ticks"), True
    )


def test_a_targets_job_is_what_alerts_go_by(rendered: Rendered) -> None:
    objects = rendered("production")
    jobs = set()
    for each in objects:
        spec = each["spec"] if each["kind"] in ("PodMonitor", "ServiceMonitor") else {}
        for endpoint in (*spec.get("podMetricsEndpoints", ()), *spec.get("endpoints", ())):
            (job,) = [rule for rule in endpoint["relabelings"] if rule["targetLabel"] == "job"]
            if "sourceLabels" not in job:
                jobs.add(job["replacement"])
                continue
            assert job["sourceLabels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
            for component in spec["selector"]["matchExpressions"][0]["values"]:
                jobs.add(job["replacement"].replace("$1", component))
    missing = {rule["expr"] for rule in _alerts(objects) if rule["alert"] == "TicklakeTargetMissing"}
    assert missing == {f'absent(up{{job="{job}"}})' for job in jobs if job.startswith("ticklake-")}
    assert {"ticklake-kafka", "ticklake-store", "spark-stream-analytics"} <= jobs


def test_the_stores_metrics_are_asked_for_as_it_serves_them(rendered: Rendered, helm: Path) -> None:
    objects = rendered("production")
    tenant = find(objects, "Tenant", "ticklake-store")["spec"]
    assert {"name": "MINIO_PROMETHEUS_AUTH_TYPE", "value": "public"} in tenant["env"]
    monitor = find(objects, "ServiceMonitor", "ticklake-store")["spec"]
    assert selects(monitor["selector"], tenant["serviceMetadata"]["minioServiceLabels"])
    assert {each["port"] for each in monitor["endpoints"]} == {"https-minio"}
    assert {each["scheme"] for each in monitor["endpoints"]} == {"https"}
    plain = find(render(helm, *ON), "ServiceMonitor", "ticklake-store")["spec"]["endpoints"]
    assert [(each["port"], "tlsConfig" in each) for each in plain] == [("http-minio", False)] * 2


def test_the_rules_are_those_of_the_files(rendered: Rendered, tmp_path: Path) -> None:
    objects = rendered("production")
    for path in RULES.glob("*.yaml"):
        assert find(objects, "PrometheusRule", f"ticklake-{path.stem}")["spec"] == yaml.safe_load(path.read_text())
    if promtool := shutil.which("promtool"):
        for each in objects:
            if each["kind"] == "PrometheusRule":
                (tmp_path / each["metadata"]["name"]).write_text(yaml.safe_dump(each["spec"]))
        done = subprocess.run([promtool, "check", "rules", *tmp_path.iterdir()], capture_output=True, check=False)
        assert done.returncode == 0, done.stdout


def test_alerts_are_only_about_what_there_is(helm: Path) -> None:
    everything = _components(render(helm, *ON))
    assert everything == {
        "archive-ticks",
        "batch",
        "batch-exporter",
        "dashboard",
        "disks",
        "kafka",
        "market-alerts",
        "platform",
        "store",
        "stream-analytics",
        "stream-ticks",
        "volumes",
    }
    external = _components(render(helm, *VALUE_SETS["external"], "--set", "monitoring.enabled=true"))
    assert everything - external == {"kafka", "store"}
    fewer = _components(render(helm, *ON, "--set", "stages.dashboard.enabled=false"))
    assert everything - fewer == {"dashboard"}


def test_alerts_as_values_want_them(helm: Path) -> None:
    objects = render(
        helm,
        *ON,
        "--set",
        "monitoring.rules.disabled={TicklakeNoTicks,TicklakeLateTicks}",
        "--set",
        "monitoring.rules.labels.team=data",
        "--set",
        "monitoring.rules.runbookBase=https://example.com/",
        "--set",
        "monitoring.thresholds.lag_messages=50000",
        "--set",
        "monitoring.thresholds.free_ratio=0.2",
        "--set",
        "monitoring.labels.release=prom",
    )
    names = {rule["alert"] for rule in _alerts(objects)}
    assert "TicklakeWindowsLate" in names
    assert not names & {"TicklakeNoTicks", "TicklakeLateTicks"}
    assert {rule["labels"]["team"] for rule in _alerts(objects)} == {"data"}
    assert all(
        rule["annotations"]["runbook_url"].startswith("https://example.com/charts/") for rule in _alerts(objects)
    )
    thresholds = find(objects, "PrometheusRule", "ticklake-thresholds")
    assert thresholds["metadata"]["labels"]["release"] == "prom"
    values = {rule["record"].rpartition(":")[2]: rule["expr"] for rule in thresholds["spec"]["groups"][0]["rules"]}
    assert (values["lag_messages"], values["free_ratio"], values["no_tick_seconds"]) == (
        "vector(50000)",
        "vector(0.2)",
        "vector(30)",
    )


def test_dashboards_reach_grafana_as_they_are(rendered: Rendered) -> None:
    objects = rendered("production")
    for path in (CHART / "files" / "dashboards").glob("*.json"):
        found = find(objects, "ConfigMap", f"ticklake-dashboard-{path.stem}")
        assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert json.loads(found["data"][f"ticklake-{path.name}"]) == json.loads(path.read_text())


def test_the_exporter_knows_what_is_due(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = find(rendered("production"), "Deployment", "ticklake-batch-exporter")["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "secret"))
    settings = BatchSettings()
    assert (settings.schedule, settings.grace_seconds, settings.source) == ("sessions", 7200, "yahoo")


def test_sparks_metrics_have_names_that_stay(rendered: Rendered) -> None:
    spec = find(rendered("production"), "SparkApplication", "ticklake-stream-analytics")["spec"]
    conf = spec["sparkConf"]
    assert conf["spark.metrics.namespace"] == "stream_analytics"
    assert conf["spark.metrics.conf.*.sink.prometheusServlet.class"].endswith("PrometheusServlet")
    monitor = find(rendered("production"), "PodMonitor", "ticklake-spark")["spec"]
    paths = {each["path"] for each in monitor["podMetricsEndpoints"]}
    assert paths == {conf["spark.metrics.conf.*.sink.prometheusServlet.path"], "/metrics/executors/prometheus"}
    environment = {
        each["name"]: each.get("value") for each in spec["driver"]["template"]["spec"]["containers"][0]["env"]
    }
    assert environment["TICKLAKE_SPARK_UI"] == "true"


def test_prometheus_reaches_its_targets_and_a_stranger_does_not(rendered: Rendered) -> None:
    objects = rendered("production")
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    broker = {"strimzi.io/cluster": "ticklake", "strimzi.io/name": "ticklake-kafka"}
    endpoints = {
        "prometheus": Endpoint({}, "monitoring"),
        "stranger": Endpoint({}, "default"),
        "broker": Endpoint(broker),
        "store": Endpoint({"v1.min.io/tenant": "ticklake-store"}),
    }
    endpoints |= {
        f"{pod.labels['app.kubernetes.io/component']} {pod.labels.get('spark-role', '')}".strip(): Endpoint(pod.labels)
        for pod in pods(objects)
    }
    found = flows(policies, endpoints, [("TCP", port) for port in (4040, 7078, 9000, 9090, 9093, 9100, 9404)])
    assert {flow for flow in found if flow[0] == "prometheus"} == {
        ("prometheus", "broker", "TCP/9404"),
        ("prometheus", "store", "TCP/9000"),
        ("prometheus", "daily-analytics driver", "TCP/4040"),
        ("prometheus", "stream-analytics driver", "TCP/4040"),
        ("prometheus", "rebuild-windows driver", "TCP/4040"),
        *(
            ("prometheus", name, "TCP/9100")
            for name in (
                "archive-ticks",
                "batch-exporter",
                "dashboard",
                "market-alerts",
                "stream-analytics driver",
                "stream-ticks",
            )
        ),
    }
    assert not [flow for flow in found if flow[0] == "stranger"]


def test_a_cluster_without_the_operator_is_reported(helm: Path) -> None:
    there = [
        argument
        for kind in (
            "kafka.strimzi.io/v1/KafkaNodePool",
            "minio.min.io/v2/Tenant",
            "apiregistration.k8s.io/v1",
            "sparkoperator.k8s.io/v1beta2/SparkApplication",
        )
        for argument in ("--api-versions", kind)
    ]
    with pytest.raises(HelmFailed, match="this cluster lacks the Prometheus operator"):
        render(helm, *ON, *there)
    assert render(helm, *ON, *there, "--api-versions", "monitoring.coreos.com/v1/PodMonitor")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("monitoring.interval=often", "at '/monitoring/interval'"),
        ("monitoring.thresholds.no_tick_second=1", "additional properties 'no_tick_second' not allowed"),
        ("monitoring.rules.disabled={NoTicks}", "at '/monitoring/rules/disabled/0'"),
    ],
)
def test_wrong_values(helm: Path, value: str, message: str) -> None:
    with pytest.raises(HelmFailed) as failed:
        render(helm, *ON, "--set", value)
    assert message in failed.value.output
