"""What the chart and the code must say alike: topics, stages, programs, images, versions, settings."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_objects import CHART, VALUE_SETS, Manifest, find, pods, render, tasks, users

from market_alerts.rules import KINDS
from ticklake import keys, topics
from ticklake.pipeline import BATCH_STAGES, FURTHER_STAGES, Kind
from ticklake.settings import CatalogSettings, KafkaSettings, StoreSettings, WarehouseSettings

ROOT = CHART.parents[1]
LIVE = ("stream-ticks", "archive-ticks", "market-alerts", "dashboard")


def _topics(objects: list[Manifest]) -> dict[str, tuple[int, dict[str, str]]]:
    found = {}
    for each in objects:
        if each["kind"] == "KafkaTopic":
            config = {key: str(value) for key, value in each["spec"]["config"].items()}
            config.pop("min.insync.replicas")
            found[each["spec"]["topicName"]] = (each["spec"]["partitions"], config)
    return found


@pytest.mark.parametrize("namespace", ["", "trial"])
def test_topics_are_those_of_the_code(helm: Path, namespace: str) -> None:
    objects = render(helm, *VALUE_SETS["default"], "--set", f"settings.liveNamespace={namespace}")
    wanted = {
        spec.name: (spec.partitions, spec.config)
        for spec in (
            *topics.batch_topics(),
            *topics.live_topics(topics.live_names(namespace)),
            *topics.check_topics(),
        )
    }
    assert _topics(objects) == wanted


@pytest.mark.parametrize("name", ["kind", "production"])
def test_value_sets_keep_the_topics_configuration(rendered: Callable[[str], list[Manifest]], name: str) -> None:
    default, other = _topics(rendered("default")), _topics(rendered(name))
    assert {topic: config for topic, (_, config) in other.items()} == {
        topic: config for topic, (_, config) in default.items()
    }
    assert all(other[topic][0] >= default[topic][0] for topic in default)


def test_replicas_of_topics(rendered: Callable[[str], list[Manifest]]) -> None:
    for name, replicas, in_sync in (("kind", 1, 1), ("default", 3, 2), ("production", 3, 2)):
        for each in rendered(name):
            if each["kind"] == "KafkaTopic":
                assert each["spec"]["replicas"] == replicas
                assert each["spec"]["config"]["min.insync.replicas"] == in_sync


def test_tasks_are_the_pipelines_stages(objects: list[Manifest]) -> None:
    found = tasks(find(objects, "ConfigMap", "ticklake-tasks"))
    stages = (*BATCH_STAGES, *FURTHER_STAGES)
    assert set(found) == {stage.program for stage in stages}
    for stage in stages:
        manifest = found[stage.program]
        if stage.kind is Kind.SPARK:
            assert manifest["kind"] == "SparkApplication"
            assert manifest["spec"]["image"] == "ticklake/spark-apps:0.1.0"
            assert "arguments" not in manifest["spec"]
        else:
            assert manifest["kind"] == "Pod"
            (container,) = manifest["spec"]["containers"]
            assert container["name"] == "base"
            assert container["image"] == f"ticklake/{stage.image}:0.1.0"
            assert container["command"] == [stage.program]
            assert "args" not in container


def test_programs_are_in_their_images(objects: list[Manifest]) -> None:
    """Every command is a console script of the package that the image is built from."""
    for pod in pods(objects):
        for each in pod.spec["containers"]:
            image = each["image"].partition(":")[0].removeprefix("ticklake/")
            if each.get("command", ["/"])[0].startswith(("/", "python")):
                continue
            folder = {"airflow-dags": ROOT / "airflow-dags", "local-servers": ROOT / "services/ticklake-local"}.get(
                image, ROOT / "services" / image
            )
            scripts = tomllib.loads((folder / "pyproject.toml").read_text())["project"].get("scripts", {})
            assert each["command"][0] in scripts, (pod.where, image)


def test_kinds_of_alert_rules_are_those_of_the_code() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    rule = schema["properties"]["stages"]["properties"]["market-alerts"]["properties"]["rules"]["items"]
    assert rule["properties"]["kind"]["enum"] == list(KINDS)


def test_spark_applications_run_the_images_scripts(rendered: Callable[[str], list[Manifest]]) -> None:
    objects = rendered("default")
    stream = find(objects, "SparkApplication", "ticklake-stream-analytics")["spec"]
    submitted = tasks(find(objects, "ConfigMap", "ticklake-tasks"))
    daily, rebuild = (submitted[program]["spec"] for program in ("daily-analytics", "rebuild-windows"))
    assert stream["mainApplicationFile"] == "local:///opt/ticklake/run_stream_analytics.py"
    assert daily["mainApplicationFile"] == "local:///opt/ticklake/run_daily_analytics.py"
    # The operator multiplies the intervals by all starts before, and never starts over.
    assert stream["restartPolicy"] == {
        "type": "Always",
        "onFailureRetryInterval": 1,
        "onSubmissionFailureRetryInterval": 1,
    }
    assert rebuild["mainApplicationFile"] == "local:///opt/ticklake/run_rebuild_windows.py"
    for spec in (stream, daily, rebuild):
        script = Path(spec["mainApplicationFile"].removeprefix("local://")).name
        assert (ROOT / "spark-apps" / script).is_file()
        version = next(line for line in _lock() if line.startswith("pyspark=="))
        assert spec["restartPolicy"]["type"] == ("Always" if spec is stream else "Never")
        assert spec["sparkVersion"] == version.removeprefix("pyspark==").split()[0]


def test_windows_are_rebuilt_with_the_streams_settings(helm: Path) -> None:
    slides = "stages.stream-analytics.env.TICKLAKE_WINDOWS_SLIDE_15M_SECONDS=30"
    own = "stages.rebuild-windows.env.TICKLAKE_REBUILD_LATE_HOURS=48"
    objects = render(helm, *VALUE_SETS["default"], "--set-string", f"{slides},{own}")
    spec = tasks(find(objects, "ConfigMap", "ticklake-tasks"))["rebuild-windows"]["spec"]
    variables = {each["name"]: each.get("value") for each in spec["driver"]["template"]["spec"]["containers"][0]["env"]}
    assert (variables["TICKLAKE_WINDOWS_SLIDE_15M_SECONDS"], variables["TICKLAKE_REBUILD_LATE_HOURS"]) == ("30", "48")


def _lock() -> list[str]:
    return (ROOT / "requirements.lock").read_text().splitlines()


def test_versions_are_the_projects(rendered: Callable[[str], list[Manifest]]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    for pod in pods(rendered("production")):
        for each in pod.containers:
            if each["image"].startswith("ticklake/"):
                assert each["image"].endswith(f":{version}")


def _environment(objects: list[Manifest], container: Manifest) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        found |= find(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container.get("env", ()):
        found[variable["name"]] = variable.get("value", "secret")
    return found


def _base(objects: list[Manifest], program: str) -> dict[str, str]:
    manifest: dict[str, Any] = tasks(find(objects, "ConfigMap", "ticklake-tasks"))[program]
    return _environment(objects, manifest["spec"]["containers"][0])


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, objects: list[Manifest]) -> Callable[[str, type], Any]:
    """The settings that a program would load from its pod's environment."""

    def load(program: str, settings: type) -> Any:
        for key, value in _base(objects, program).items():
            monkeypatch.setenv(key, value)
        return settings()

    return load


def test_settings_load_from_the_environment(
    objects: list[Manifest], loaded: Callable[[str, type], Any], request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["objects"]
    wanted = {
        "default": ("SASL_SSL", "ticklake-kafka-bootstrap.ticklake.svc:9093", "http://minio.ticklake.svc"),
        "kind": ("SASL_PLAINTEXT", "ticklake-kafka-bootstrap.ticklake.svc:9092", "http://minio.ticklake.svc"),
        "production": ("SASL_SSL", "ticklake-kafka-bootstrap.ticklake.svc:9093", "https://minio.ticklake.svc"),
        "external": ("SASL_SSL", "k1.example.com:9094,k2.example.com:9094", "https://s3.example.com:8443"),
    }[name]
    kafka, store = loaded("fetch-historical", KafkaSettings), loaded("fetch-historical", StoreSettings)
    assert (kafka.security_protocol, kafka.bootstrap_servers, store.endpoint) == wanted
    assert kafka.password
    assert store.secret_key
    assert (kafka.ca_file is not None) == (kafka.security_protocol == "SASL_SSL")
    assert (store.ca_file is not None) == store.endpoint.startswith("https")
    assert store.bucket == keys.BUCKET
    catalog = loaded("validate-raw", CatalogSettings)
    host = "catalog.example.com" if name == "external" else "ticklake-catalog.ticklake.svc:5432"
    assert catalog.uri == f"postgresql://{host}/catalog"
    assert catalog.user
    assert catalog.password
    warehouse = loaded("load-warehouse", WarehouseSettings)
    if name in ("kind", "external"):
        assert (warehouse.protocol, warehouse.port, warehouse.private_key_file) == ("http", 8080, None)
        assert warehouse.password
    else:
        assert (warehouse.account, warehouse.host) == ("acme-prod", None)
        assert str(warehouse.private_key_file) == "/etc/ticklake/warehouse/private-key"


def test_only_stages_that_need_it_know_a_secret(objects: list[Manifest]) -> None:
    secret = {
        "TICKLAKE_KAFKA_PASSWORD": set(),
        "TICKLAKE_STORE_SECRET_KEY": set(),
        "TICKLAKE_METADATA_CONNECTION": set(),
        "TICKLAKE_CATALOG_PASSWORD": set(),
    }
    for program in tasks(find(objects, "ConfigMap", "ticklake-tasks")):
        if program not in ("daily-analytics", "rebuild-windows"):
            known = _base(objects, program)
            for variable, found in secret.items():
                if variable in known:
                    found.add(program)
    assert secret["TICKLAKE_KAFKA_PASSWORD"] == users("topic")
    # A SparkApplication's pods are left out here.
    tables = {user for user in users("table") if " " not in user}
    assert secret["TICKLAKE_CATALOG_PASSWORD"] == tables | {"load-live", "tick-bars", "maintain-tables"}
    assert secret["TICKLAKE_METADATA_CONNECTION"] == {"clean-metadata"}
    assert "clean-metadata" not in secret["TICKLAKE_STORE_SECRET_KEY"]


def test_airflow_knows_where_tasks_run(objects: list[Manifest]) -> None:
    data = find(objects, "ConfigMap", "ticklake-airflow")["data"]
    assert data["TICKLAKE_TASKS_RUN_IN"] == "kubernetes"
    assert data["TICKLAKE_TASKS_TEMPLATES"] == "/opt/airflow/tasks"
    assert data["TICKLAKE_TASKS_NAMESPACE"] == "ticklake"
    assert data["TICKLAKE_SCHEDULE"] in ("manual", "sessions")
