"""Wrong values are refused before anything is installed, with a message that says what to change."""

from pathlib import Path

import pytest
from chart_objects import SNOWFLAKE, HelmFailed, render

LIVE = ("--api-versions", "apiregistration.k8s.io/v1")
"""What only a real API server knows: with it, helm renders as for an installation."""
STRIMZI = ("--api-versions", "kafka.strimzi.io/v1/KafkaNodePool")
MINIO = ("--api-versions", "minio.min.io/v2/Tenant")
SPARK = ("--api-versions", "sparkoperator.k8s.io/v1beta2/SparkApplication")


def _refusal(helm: Path, *arguments: str) -> str:
    with pytest.raises(HelmFailed) as failed:
        render(helm, *arguments)
    return failed.value.said


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
    assert OUT_OF_RANGE[value] in _refusal(helm, *SNOWFLAKE, "--set", value)


UNKNOWN = {
    "kafak.replicas=3": "at '': additional properties 'kafak' not allowed",
    "kafka.replica=3": "at '/kafka': additional properties 'replica' not allowed",
    "stages.fetch.env.A=1": "at '/stages': additional properties 'fetch' not allowed",
    "kafka.topics.ticks.partitions=1": "at '/kafka/topics': additional properties 'ticks' not allowed",
    "store.expireDays.raw/realtime/=7": "raw/realtime/",
}


@pytest.mark.parametrize("value", UNKNOWN)
def test_an_unknown_key(helm: Path, value: str) -> None:
    assert UNKNOWN[value] in _refusal(helm, *SNOWFLAKE, "--set", value)


TOGETHER = {
    "kafka.external.enabled=true": "kafka.external.bootstrapServers: kafka.external.enabled needs the address",
    "kafka.external.enabled=true,kafka.external.bootstrapServers=k:9093":
        "kafka.external.existingSecret: SASL_SSL needs",
    "kafka.replicas=1": "kafka.replicationFactor: 3 replicas of each partition need as many brokers",
    "kafka.replicationFactor=1": "kafka.minInSyncReplicas: 2 is more than the 1 replicas",
    "store.tenant.volumesPerServer=2": "store.tenant: 1 servers with 2 volumes each are 2 drives; MinIO takes 1, or 4",
    "stages.archive-ticks.autoscaling.enabled=true,stages.archive-ticks.autoscaling.maxReplicas=5":
        "autoscaling.maxReplicas: 5 replicas, but the live topic has 4 partitions",
    "stages.archive-ticks.autoscaling.enabled=true,stages.archive-ticks.autoscaling.minReplicas=5":
        "stages.archive-ticks.autoscaling: minReplicas is above maxReplicas",
    "images.minio.tag=latest": "images.minio.tag: latest is another image every day",
    "stages.stream-ticks.env.TICKLAKE_ALPHA_VANTAGE_API_KEY=abc": "a secret does not belong into values",
}  # fmt: skip


@pytest.mark.parametrize("values", TOGETHER)
def test_values_that_contradict_each_other(helm: Path, values: str) -> None:
    assert TOGETHER[values] in _refusal(helm, *SNOWFLAKE, "--set", values)


def test_no_warehouse(helm: Path) -> None:
    assert "warehouse: set warehouse.account to your Snowflake account" in _refusal(helm)


def test_a_snowflake_account_without_a_key(helm: Path) -> None:
    assert "warehouse.existingSecret: name the Secret" in _refusal(helm, "--set", "warehouse.account=acme-prod")


MISSING = {
    "Strimzi": (*MINIO, *SPARK),
    "MinIO operator": (*STRIMZI, *SPARK),
    "Spark operator": (*STRIMZI, *MINIO),
}


@pytest.mark.parametrize("operator", MISSING)
def test_an_operator_that_is_not_installed(helm: Path, operator: str) -> None:
    said = _refusal(helm, *SNOWFLAKE, *LIVE, *MISSING[operator])
    assert "this cluster lacks" in said
    assert [name for name in MISSING if name in said] == [operator]


def test_all_operators_are_there(helm: Path) -> None:
    assert render(helm, *SNOWFLAKE, *LIVE, *STRIMZI, *MINIO, *SPARK)


def test_operators_of_external_parts_are_not_needed(helm: Path) -> None:
    external = "kafka.external.enabled=true,kafka.external.bootstrapServers=k:9092,kafka.external.securityProtocol=SSL"
    assert render(helm, *SNOWFLAKE, *LIVE, *SPARK, "--set", external, "--set", "store.external.enabled=true")


def test_the_check_for_operators_can_be_switched_off(helm: Path) -> None:
    assert render(helm, *SNOWFLAKE, *LIVE, "--set", "checks.operators=false")
