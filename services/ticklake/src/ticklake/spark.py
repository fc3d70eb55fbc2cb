"""Spark sessions of the applications. Needs PySpark, which only their images and the local platform have."""

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from ticklake.errors import ConfigurationError, StageError
from ticklake.settings import CatalogSettings, KafkaSettings, StoreSettings, settings_config
from ticklake.spark_jvm import SparkJvm
from ticklake.tables import CATALOG, Column

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

_END_SECONDS = 2.0

_OBJECT = re.compile(r"s3a://[^\s,;'\"()]+")

_jvm: SparkJvm | None = None
"""The JVM that this process started; PySpark knows one per process too."""


class SparkSettings(BaseSettings):
    """How an application starts Spark itself (`TICKLAKE_SPARK_…`); under spark-submit the session is there already."""

    model_config = SettingsConfigDict(**settings_config("TICKLAKE_SPARK_"), populate_by_name=True)

    master: str | None = None
    """`local[2]` on one machine; unset leaves it to spark-submit."""
    jars_dir: Path | None = None
    """Folder with the Kafka and S3A jars; unset where the image has them in Spark's own folder."""
    java_home: Path | None = Field(
        default=None, validation_alias=AliasChoices("TICKLAKE_SPARK_JAVA_HOME", "JAVA_HOME", "java_home")
    )
    """Unset means `java` on the PATH."""
    java_options: str = ""
    """Further JVM options of the driver."""
    memory: str = Field(default="1g", pattern=r"^[1-9][0-9]*[kmgKMG]$")
    """Heap of a JVM that the application starts itself."""
    class_archive_dir: Path | None = None
    """Where to keep archives of loaded classes, which halve the start of Spark; unset means none."""
    log_level: str = Field(default="OFF", pattern=r"(?i)^(OFF|ERROR|WARN|INFO|DEBUG)$")
    """Level of Spark's own log on stderr."""
    ui: bool = False
    """Whether to serve Spark's web page."""


def start_jvm(app_name: str, spark: SparkSettings, options: Sequence[str] = ()) -> None:
    """Start the JVM that `build_session` will use, and return at once.

    Worth calling before anything else, as the JVM then starts while Python goes on loading. Does nothing under
    spark-submit, or where this process has a JVM already.

    Args:
        options: JVM options that suit the application; those of the settings override them.
    """
    global _jvm
    if spark.master is None or (_jvm is not None and _jvm.alive):
        return
    _jvm = SparkJvm(
        java_home=spark.java_home,
        jars_dir=spark.jars_dir,
        memory=spark.memory,
        log_level=spark.log_level.upper(),
        options=[*options, *spark.java_options.split()],
        archive_dir=spark.class_archive_dir,
        archive_name=app_name,
    )


def build_session(app_name: str, spark: SparkSettings, store: StoreSettings, **conf: str) -> "SparkSession":
    """A session that reads and writes the lake through S3A; the one that is there already where there is one.

    Args:
        conf: further Spark configuration, `_` in a name meaning `.`; overrides the defaults here.
    """
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    builder = SparkSession.Builder().appName(app_name)
    if SparkContext._active_spark_context is not None:
        return _same_store(builder.getOrCreate(), store)
    options = {
        "spark.ui.enabled": str(spark.ui).lower(),
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        # Each column expression would otherwise ask the JVM several times where in the code it was written.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        **s3a_options(store),
        **{key.replace("_", "."): value for key, value in conf.items()},
    }
    # Python workers run what this process runs; PySpark takes its word from there only.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    waiting: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if spark.master:
        builder = builder.master(spark.master)
        if spark.master.startswith("local"):
            # No look-up of this machine's name, which takes long or fails on some.
            options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        start_jvm(app_name, spark)
        if _jvm is not None and SparkContext._gateway is None:
            waiting = _jvm.offered()
    for key, value in options.items():
        builder = builder.config(key, value)
    logging.getLogger().addFilter(_not_of_py4j)
    # Where the JVM has ended, meant or not, that is the error at hand or none at all.
    warnings.filterwarnings("ignore", "Unable to cleanly shutdown Spark JVM process", RuntimeWarning)
    with waiting:
        session = builder.getOrCreate()
    if (server := getattr(session.sparkContext, "_accumulatorServer", None)) is not None:
        # It would print a traceback where the JVM's end, meant or not, cuts its connection.
        server.handle_error = lambda *_: None
    return session


def _not_of_py4j(record: logging.LogRecord) -> bool:
    # It logs a lost connection with a traceback straight to the root logger; the error itself comes as an exception.
    return "py4j" not in record.pathname


def _same_store(session: "SparkSession", store: StoreSettings) -> "SparkSession":
    # A session keeps the store that it was made for, whatever it is given later.
    theirs = session.sparkContext.getConf().get("spark.hadoop.fs.s3a.endpoint")
    if theirs != store.endpoint:
        raise ConfigurationError(f"the running Spark session works with the store at {theirs}: restart it")
    return session


@contextlib.contextmanager
def translated_errors(action: str) -> Iterator[None]:
    """Turn Spark's errors into the stage's, with one line that names the cause.

    Raises:
        ConfigurationError: the store rejects the key.
        StageError: anything else that Spark failed with.
    """
    from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError
    from pyspark.errors import PySparkException

    try:
        yield
    except Py4JNetworkError as error:
        raise _lost(action) from error
    except Py4JJavaError as error:
        raise _explained(action, _root_cause(error.java_exception)) from error
    except PySparkException as error:
        origin = getattr(error, "_origin", None)
        raise _explained(action, _root_cause(origin) if origin is not None else str(error)) from error
    except (Py4JError, ConnectionError) as error:
        if _jvm is None or _jvm.ends_within(_END_SECONDS):
            raise _lost(action) from error
        raise _explained(action, str(error)) from error


def _lost(action: str) -> StageError:
    return StageError(f"Spark's JVM ended while it was to {action}: was there enough memory (TICKLAKE_SPARK_MEMORY)?")


def _explained(action: str, cause: str) -> StageError:
    line = " ".join(cause.split())[:500]
    if any(word in cause for word in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")):
        return ConfigurationError(f"the store denies Spark permission to {action}: check its key and rights ({line})")
    return StageError(f"Spark failed to {action}: {line}")


def _root_cause(exception: Any) -> str:
    """The innermost exception's class and message, and the object that an outer one names."""
    from py4j.protocol import Py4JError

    chain = []
    try:
        while exception is not None:
            chain.append(str(exception.toString()))
            exception = exception.getCause()
    except Py4JError:
        chain.append("its JVM ended")
    named = next((found[0].rstrip(".") for text in chain if (found := _OBJECT.search(text))), "")
    return chain[-1] if named in chain[-1] else f"{chain[-1]} ({named})"


def close_session(session: "SparkSession") -> None:
    """Stop the session, and the JVM if this process started it."""
    session.stop()
    close_jvm()


def close_jvm(*, keep_archive: bool = True) -> None:
    """End the JVM that this process started, whatever it does; a session in it is gone. Does nothing without one.

    Args:
        keep_archive: whether the JVM has done all that an archive of its classes is to speed up; see `SparkJvm`.
    """
    if _jvm is None:
        return
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    gateway = SparkContext._gateway
    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None
    _jvm.close(keep_archive=keep_archive)
    # Only after the JVM: `foreachBatch` and listeners make it hold connections to this process, and closing one that
    # a thread here reads from waits until its other end is gone.
    if gateway is not None:
        gateway.close()


def s3a_options(store: StoreSettings) -> dict[str, str]:
    """Spark configuration for `s3a://` with the magic committer, which needs no rename and so is safe on S3."""
    prefix = "spark.hadoop.fs.s3a"
    options = {
        f"{prefix}.endpoint.region": store.region,
        f"{prefix}.path.style.access": "true",
        f"{prefix}.committer.name": "magic",
        f"{prefix}.change.detection.mode": "none",
        # A task's uploads are listed in its own memory until it commits, not in an object each.
        f"{prefix}.committer.magic.track.commits.in.memory.enabled": "true",
        # Names of new files are never used twice, so nothing needs to be looked for before one is written.
        f"{prefix}.create.performance": "true",
        # A store that is away is an error within half a minute, not a quarter of an hour.
        f"{prefix}.attempts.maximum": "2",
        f"{prefix}.retry.limit": "5",
        f"{prefix}.retry.interval": "500ms",
        # Nothing looks for `_SUCCESS`.
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
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


def with_catalog(session: "SparkSession", catalog: CatalogSettings, store: StoreSettings) -> "SparkSession":
    """A session of the same application that knows the lake's tables as `ticklake.NAMESPACE.TABLE`.

    A session keeps a catalog that it has opened, whatever it is given later, so each call makes one of its own.
    """
    found = session.newSession()
    prefix = f"spark.sql.catalog.{CATALOG}"
    options = {
        prefix: "org.apache.iceberg.spark.SparkCatalog",
        f"{prefix}.io-impl": "org.apache.iceberg.hadoop.HadoopFileIO",
        f"{prefix}.warehouse": f"s3a://{store.bucket}/{catalog.location}",
        f"{prefix}.cache-enabled": "false",
        # A column that is computed counts as nullable; the table itself rejects a null where it must not have one.
        "spark.sql.iceberg.check-nullability": "false",
        **{f"{prefix}.{name}": value for name, value in _catalog_options(catalog).items()},
    }
    for key, value in options.items():
        found.conf.set(key, value)
    return found


def _catalog_options(catalog: CatalogSettings) -> dict[str, str]:
    if catalog.uri.startswith("http"):
        return catalog.rest_properties()
    options = {"type": "jdbc", "jdbc.schema-version": "V1"}
    if catalog.uri.startswith("sqlite:"):
        return options | {"uri": f"jdbc:sqlite:{catalog.uri.removeprefix('sqlite:///')}"}
    options["uri"] = f"jdbc:postgresql://{catalog.database()}"
    if catalog.user:
        options["jdbc.user"] = catalog.user
    if catalog.password is not None:
        options["jdbc.password"] = catalog.password.get_secret_value()
    return options


def spark_schema(columns: Iterable[Column]) -> "StructType":
    """`columns` in Spark's types."""
    from pyspark.sql import types

    kinds = {
        "string": types.StringType(),
        "date": types.DateType(),
        "timestamp": types.TimestampType(),
        "double": types.DoubleType(),
        "bigint": types.LongType(),
        "int": types.IntegerType(),
        "boolean": types.BooleanType(),
    }
    return types.StructType([types.StructField(column.name, kinds[column.type], column.nullable) for column in columns])


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
