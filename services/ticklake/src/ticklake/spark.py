"""Spark sessions of the applications. Needs PySpark, which only their images and the one-box runner have."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_settings import BaseSettings

from ticklake.settings import KafkaSettings, StoreSettings, settings_config

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkSettings(BaseSettings):
    """How an application starts Spark itself (`TICKLAKE_SPARK_…`); under spark-submit the session is there already."""

    model_config = settings_config("TICKLAKE_SPARK_")

    master: str | None = None
    """`local[2]` on one machine; unset leaves it to spark-submit."""
    jars_dir: Path | None = None
    """Folder with the Kafka and S3A jars; unset where the image has them in Spark's own folder."""
    java_options: str = ""
    """Further JVM options of the driver."""
    ui: bool = False
    """Whether to serve Spark's web page."""


def build_session(app_name: str, spark: SparkSettings, store: StoreSettings, **conf: str) -> "SparkSession":
    """A session that reads and writes the lake through S3A.

    Args:
        conf: further Spark configuration, `_` in a name standing for `.`; goes before the defaults here.
    """
    from pyspark.sql import SparkSession

    builder = SparkSession.Builder().appName(app_name)
    if spark.master:
        builder = builder.master(spark.master)
    if spark.jars_dir:
        builder = builder.config("spark.driver.extraClassPath", f"{spark.jars_dir}/*")
    options = {
        "spark.ui.enabled": str(spark.ui).lower(),
        "spark.driver.extraJavaOptions": f"-Duser.timezone=UTC {spark.java_options}".strip(),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
        **s3a_options(store),
        **{key.replace("_", "."): value for key, value in conf.items()},
    }
    for key, value in options.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def s3a_options(store: StoreSettings) -> dict[str, str]:
    """Spark configuration for `s3a://` with the magic committer, which needs no rename and so is safe on S3."""
    prefix = "spark.hadoop.fs.s3a"
    options = {
        f"{prefix}.endpoint.region": store.region,
        f"{prefix}.path.style.access": "true",
        f"{prefix}.committer.name": "magic",
        f"{prefix}.change.detection.mode": "none",
        "spark.sql.sources.commitProtocolClass": "org.apache.spark.internal.io.cloud.PathOutputCommitProtocol",
        "spark.sql.parquet.output.committer.class": "org.apache.spark.internal.io.cloud.BindingParquetOutputCommitter",
    }
    if store.endpoint:
        options[f"{prefix}.endpoint"] = store.endpoint
        options[f"{prefix}.connection.ssl.enabled"] = str(store.endpoint.startswith("https")).lower()
    if store.access_key and store.secret_key:
        options[f"{prefix}.access.key"] = store.access_key.get_secret_value()
        options[f"{prefix}.secret.key"] = store.secret_key.get_secret_value()
    return options


def kafka_options(settings: KafkaSettings) -> dict[str, str]:
    """Options of Spark's Kafka source and sink."""
    options = {
        "kafka.bootstrap.servers": settings.bootstrap_servers,
        "kafka.security.protocol": settings.security_protocol,
    }
    if settings.security_protocol.startswith("SASL") and settings.username and settings.password:
        module = (
            "org.apache.kafka.common.security.plain.PlainLoginModule"
            if settings.sasl_mechanism == "PLAIN"
            else "org.apache.kafka.common.security.scram.ScramLoginModule"
        )
        password = settings.password.get_secret_value().replace("\\", "\\\\").replace('"', '\\"')
        options["kafka.sasl.mechanism"] = settings.sasl_mechanism
        options["kafka.sasl.jaas.config"] = f'{module} required username="{settings.username}" password="{password}";'
    if settings.ca_file:
        options["kafka.ssl.truststore.type"] = "PEM"
        options["kafka.ssl.truststore.location"] = str(settings.ca_file)
    return options
