"""Wrong values are rejected before anything is installed, with a message that says what to change."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from chart_objects import SNOWFLAKE, HelmFailed, Manifest, render
from kubernetes_server import Kinds, discovery
from pydantic_settings import BaseSettings

Rendered = Callable[[str], list[Manifest]]

LIVE = ("--api-versions", "apiregistration.k8s.io/v1")
"""What only a real API server knows: with it, helm renders as for an installation."""
STRIMZI = ("--api-versions", "kafka.strimzi.io/v1/KafkaNodePool")
MINIO = ("--api-versions", "minio.min.io/v2/Tenant")
SPARK = ("--api-versions", "sparkoperator.k8s.io/v1beta2/SparkApplication")


def _rejection(helm: Path, *arguments: str) -> str:
    with pytest.raises(HelmFailed) as failed:
        render(helm, *arguments)
    return failed.value.output


OUT_OF_RANGE = {
    "kafka.topics.live.partitions=0": "at '/kafka/topics/live/partitions': minimum: got 0, want 1",
    "kafka.topics.batch.partitions=2000": "at '/kafka/topics/batch/partitions': maximum: got 2,000, want 1,000",
    "kafka.topics.live.partitions=many": "at '/kafka/topics/live/partitions': got string, want integer",
    "kafka.version=3.9.0": "at '/kafka/version': value must be one of",
    "kafka.tls=yes-please": "at '/kafka/tls': got string, want boolean",
    "settings.logLevel=LOUD": "at '/settings/logLevel': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'",
    "settings.liveNamespace=Not_A_Label": "at '/settings/liveNamespace'",
    "store.tenant.size=lots": "at '/store/tenant/size'",
    "store.bucket=Not_A_Bucket": "at '/store/bucket'",
    "store.external.endpoint=minio:9000": "at '/store/external/endpoint'",
    "kafka.external.bootstrapServers=kafka": "at '/kafka/external/bootstrapServers'",
    "catalog.external.uri=postgresql://me:word@host/catalog": "at '/catalog/external/uri'",
    "catalog.external.uri=postgresql://host": "at '/catalog/external/uri'",
    "catalog.external.uri=sqlite:///catalog.db": "at '/catalog/external/uri'",
    "catalog.storage.size=lots": "at '/catalog/storage/size'",
    "warehouse.host=https://x": "at '/warehouse/host'",
    "warehouse.port=70000": "at '/warehouse/port': maximum",
    "images.minio.digest=sha256:abc": "at '/images/minio/digest'",
    "airflow.schedule=hourly": "at '/airflow/schedule': value must be one of 'manual', 'sessions'",
    "airflow.backup.schedule=daily": "at '/airflow/backup/schedule'",
    "stages.archive-ticks.replicas=-1": "at '/stages/archive-ticks/replicas': minimum",
    "stages.daily-analytics.executor.memory=2Gi": "at '/stages/daily-analytics/executor/memory'",
    "networkPolicy.apiServer.addresses[0]=here": "at '/networkPolicy/apiServer/addresses/0'",
}


@pytest.mark.parametrize("value", OUT_OF_RANGE)
def test_a_value_out_of_range(helm: Path, value: str) -> None:
    assert OUT_OF_RANGE[value] in _rejection(helm, *SNOWFLAKE, "--set", value)


UNKNOWN = {
    "kafak.replicas=3": "at '': additional properties 'kafak' not allowed",
    "kafka.replica=3": "at '/kafka': additional properties 'replica' not allowed",
    "stages.fetch.env.A=1": "stages.fetch: there is no such stage. There are: airflow-backup, apply-retention, archive",
    "kafka.topics.ticks.partitions=1": "at '/kafka/topics': additional properties 'ticks' not allowed",
    "store.expireDays.raw/realtime/=7": "raw/realtime/",
    "store.expireDays.tables/=7": "tables/",
    "catalog.external.existingSecret=x": "at '/catalog/external': additional properties 'existingSecret' not allowed",
}


@pytest.mark.parametrize("value", UNKNOWN)
def test_an_unknown_key(helm: Path, value: str) -> None:
    assert UNKNOWN[value] in _rejection(helm, *SNOWFLAKE, "--set", value)


TOGETHER = {
    "kafka.external.enabled=true": "kafka.external.bootstrapServers: kafka.external.enabled needs the address",
    "kafka.external.enabled=true,kafka.external.bootstrapServers=k:9093": (
        "kafka.external.existingSecret: SASL_SSL needs"
    ),
    "catalog.external.enabled=true": "catalog.external.uri: catalog.external.enabled needs the address",
    "catalog.external.enabled=true,catalog.external.uri=postgresql://host/catalog": (
        "catalog.external.existingSecrets.writer: PostgreSQL needs a user"
    ),
    "catalog.external.enabled=true,catalog.external.uri=postgresql://h/c,"
    "catalog.external.existingSecrets.writer=w": "catalog.external.existingSecrets.reader: PostgreSQL needs a user",
    "kafka.replicas=1": "kafka.replicationFactor: 3 replicas of each partition need as many brokers",
    "kafka.replicationFactor=1": "kafka.minInSyncReplicas: 2 is more than the 1 replicas",
    "store.tenant.volumesPerServer=2": "store.tenant: 1 servers with 2 volumes each are 2 drives; MinIO takes 1, or 4",
    "stages.archive-ticks.autoscaling.enabled=true,stages.archive-ticks.autoscaling.maxReplicas=5": (
        "autoscaling.maxReplicas: 5 replicas, but the live topic has 4 partitions"
    ),
    "stages.archive-ticks.autoscaling.enabled=true,stages.archive-ticks.autoscaling.minReplicas=5": (
        "stages.archive-ticks.autoscaling: minReplicas is above maxReplicas"
    ),
    "images.minio.tag=latest": "images.minio.tag: latest is another image every day",
    "warehouse.local.enabled=true": "warehouse.local.enabled: a local warehouse and another one",
}


@pytest.mark.parametrize("values", TOGETHER)
def test_values_that_contradict_each_other(helm: Path, values: str) -> None:
    assert TOGETHER[values] in _rejection(helm, *SNOWFLAKE, "--set", values)


def test_no_warehouse(helm: Path) -> None:
    message = _rejection(helm)
    assert "warehouse: set warehouse.account to your Snowflake account" in message
    assert "warehouse.local.enabled=true" in message


@pytest.mark.parametrize("value", ["account=acme-prod", "host=warehouse.example.com"])
def test_a_warehouse_without_a_sign_in(helm: Path, value: str) -> None:
    assert "warehouse.existingSecret: name the Secret" in _rejection(helm, "--set", f"warehouse.{value}")


def _secret_variables() -> list[str]:
    """The variables of all programs' settings that are secret."""
    found = set()
    for package in ("ticklake", "stream_ticks", "market_alerts", "dashboard", "ticklake_airflow"):
        for each in vars(importlib.import_module(f"{package}.settings")).values():
            if isinstance(each, type) and issubclass(each, BaseSettings):
                prefix = each.model_config.get("env_prefix", "")
                fields = each.model_fields.items()
                found |= {f"{prefix}{name}".upper() for name, field in fields if "SecretStr" in str(field.annotation)}
    return sorted(found)


@pytest.mark.parametrize("variable", _secret_variables())
def test_every_secret_of_our_programs_is_known_as_one(helm: Path, variable: str) -> None:
    message = _rejection(helm, *SNOWFLAKE, "--set", f"stages.dashboard.env.{variable}=abc")
    assert f"stages.dashboard.env.{variable}: a secret does not belong into values" in message


def test_there_are_secrets_to_know() -> None:
    assert {"TICKLAKE_STORE_SECRET_KEY", "TICKLAKE_ALERTS_SLACK_WEBHOOK"} <= set(_secret_variables())


SECRETS = {
    "stages.stream-ticks.env.TICKLAKE_ALPHA_VANTAGE_API_KEY=abc": "stages.stream-ticks.secretEnv",
    "stages.market-alerts.env.TICKLAKE_ALERTS_WEBHOOK=https://example.com/a": "stages.market-alerts.secretEnv",
    "stages.fetch-historical.env.HTTPS_PROXY=http://me:word@proxy:3128": "stages.fetch-historical.secretEnv",
    "airflow.env.AIRFLOW_CONN_SMTP_DEFAULT=smtp": "the Secret ticklake-airflow-env",
    "airflow.env.TICKLAKE_NOTIFY_SLACK_WEBHOOK=https://hooks.example.com/a": "the Secret ticklake-airflow-env",
    "airflow.env.AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=sqlite": "the Secret ticklake-airflow-env",
    "airflow.env.AIRFLOW__CORE__FERNET_KEY=abc": "the Secret ticklake-airflow-env",
    "airflow.env.AIRFLOW__SMTP__SMTP_PASSWORD=abc": "the Secret ticklake-airflow-env",
    "airflow.env.MY_DATABASE=postgresql://me:word@host/db": "the Secret ticklake-airflow-env",
    r"spark.conf.spark\.hadoop\.fs\.s3a\.secret\.key=abc": "a Secret",
    r"stages.daily-analytics.sparkConf.spark\.hadoop\.fs\.s3a\.access\.key=abc": "stages.daily-analytics.secretEnv",
    r"stages.stream-analytics.sparkConf.spark\.ssl\.keyPassword=abc": "stages.stream-analytics.secretEnv",
    "stages.daily-analytics.driver.javaOptions=-Dhttp.proxyPassword=abc": "stages.daily-analytics.secretEnv",
    r"kafka.config.ssl\.keystore\.password=abc": "a Secret",
}


@pytest.mark.parametrize("value", SECRETS)
def test_a_secret_among_plain_values(helm: Path, value: str) -> None:
    message = _rejection(helm, *SNOWFLAKE, "--set", value)
    assert f"{value.partition('=')[0].replace(chr(92), '')}: a secret does not belong into values" in message
    assert f"put it {'into ' if SECRETS[value] != 'a Secret' else ''}" in message
    assert SECRETS[value] in message


NO_SECRETS = (
    "airflow.env.TICKLAKE_TASKS_RETRIES=1",
    "airflow.env.TICKLAKE_NOTIFY_SMTP_CONNECTION=smtp_default",
    "airflow.env.AIRFLOW__CORE__FERNET_KEY_SECRET=airflow/fernet",
    "airflow.env.AIRFLOW__SECRETS__BACKEND=airflow.providers.hashicorp.secrets.vault.VaultBackend",
    "stages.load-warehouse.env.TICKLAKE_WAREHOUSE_PRIVATE_KEY_FILE=/etc/key",
    "stages.fetch-historical.env.HTTPS_PROXY=http://proxy:3128",
    r"spark.conf.spark\.kubernetes\.driver\.secretKeyRef\.AWS_SECRET_ACCESS_KEY=name:key",
    r"spark.conf.spark\.kubernetes\.driver\.secrets\.certificates=/etc/certificates",
    "stages.daily-analytics.driver.javaOptions=-Duser.timezone=UTC",
)


@pytest.mark.parametrize("value", NO_SECRETS)
def test_what_only_sounds_like_a_secret(helm: Path, value: str) -> None:
    assert render(helm, *SNOWFLAKE, "--set", value)


MISSING = {
    "Strimzi": (*MINIO, *SPARK),
    "MinIO operator": (*STRIMZI, *SPARK),
    "Spark operator": (*STRIMZI, *MINIO),
}


@pytest.mark.parametrize("operator", MISSING)
def test_an_operator_that_is_not_installed(helm: Path, operator: str) -> None:
    message = _rejection(helm, *SNOWFLAKE, *LIVE, *MISSING[operator])
    assert "this cluster lacks" in message
    assert [name for name in MISSING if name in message] == [operator]


ASKED = ("--dry-run=server", "--disable-openapi-validation", "--kube-apiserver")


def _kinds(objects: list[Manifest], *, without: str = "") -> Kinds:
    """What an API server knows that takes these objects, less one group and version."""
    found: Kinds = {"v1": {"Secret": "secrets"}, "apiregistration.k8s.io/v1": {"APIService": "apiservices"}}
    for each in objects:
        found.setdefault(each["apiVersion"], {})[each["kind"]] = f"{each['kind'].lower()}s"
    return {version: kinds for version, kinds in found.items() if version != without}


@pytest.mark.parametrize("older", [True, False])
def test_a_cluster_without_strimzi_is_reported(helm: Path, rendered: Rendered, older: bool) -> None:
    """Also where templates look for objects of its kinds, which the API server does not know."""
    kinds = _kinds(rendered("default"), without="kafka.strimzi.io/v1")
    if older:
        kinds["kafka.strimzi.io/v1beta2"] = {"Kafka": "kafkas", "KafkaTopic": "kafkatopics"}
    with discovery(kinds) as address:
        message = _rejection(helm, *SNOWFLAKE, *ASKED, address)
    assert "this cluster lacks Strimzi 1.x (kafka.strimzi.io/v1;" in message


def test_a_cluster_with_all_operators_is_asked_for_what_is_there(helm: Path, rendered: Rendered) -> None:
    with discovery(_kinds(rendered("default"))) as address:
        assert render(helm, *SNOWFLAKE, *ASKED, address)


def test_all_operators_are_there(helm: Path) -> None:
    assert render(helm, *SNOWFLAKE, *LIVE, *STRIMZI, *MINIO, *SPARK)


def test_operators_of_external_parts_are_not_needed(helm: Path) -> None:
    external = "kafka.external.enabled=true,kafka.external.bootstrapServers=k:9092,kafka.external.securityProtocol=SSL"
    assert render(helm, *SNOWFLAKE, *LIVE, *SPARK, "--set", external, "--set", "store.external.enabled=true")


def test_the_check_for_operators_can_be_switched_off(helm: Path) -> None:
    assert render(helm, *SNOWFLAKE, *LIVE, "--set", "checks.operators=false")
