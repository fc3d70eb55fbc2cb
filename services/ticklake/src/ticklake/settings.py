"""Typed settings from `TICKLAKE_…` variables. Only an entry point creates them; the rest is handed what it needs."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ticklake import keys, topics
from ticklake.errors import ConfigurationError
from ticklake.records import SYMBOL, Symbol

S = TypeVar("S", bound=BaseSettings)


def settings_config(prefix: str) -> SettingsConfigDict:
    """How a settings class reads its variables, which all start with `prefix`."""
    # An empty variable counts as unset: charts and shells set what they have no value for to "".
    return SettingsConfigDict(env_prefix=prefix, env_ignore_empty=True, extra="ignore", frozen=True)


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    given = [part.strip() for part in value.split(",") if part.strip()]
    # Some other letters have a capital of A to Z: a long s would become another symbol's S.
    if rejected := [part for part in given if not part.isascii() or not re.fullmatch(SYMBOL, part.upper())]:
        raise ValueError(f"no symbol in Yahoo's notation (pattern {SYMBOL}): {', '.join(map(repr, rejected))}")
    return tuple(dict.fromkeys(part.upper() for part in given))


Symbols = Annotated[tuple[Symbol, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
"""Tickers, comma-separated in a variable; one that is there again counts once."""


class KafkaSettings(BaseSettings):
    """How to reach Kafka (`TICKLAKE_KAFKA_…`)."""

    model_config = settings_config("TICKLAKE_KAFKA_")

    bootstrap_servers: str = "localhost:9092"
    """Comma-separated `host:port`."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None
    """Certificate authority of the brokers (PEM)."""
    timeout_seconds: float = Field(default=30, gt=0)
    """How long to wait for a broker to answer, and for one delivery to be confirmed."""


def _without_user(address: str) -> str:
    # Addresses are shown in messages and logs.
    if not address.startswith("sqlite:") and "@" in urlsplit(address).netloc:
        raise ValueError("has a user in it: user and password have variables of their own")
    return address


Address = Annotated[str, AfterValidator(_without_user)]
"""An address without user and password, so that it can be shown."""


class StoreSettings(BaseSettings):
    """How to reach the lake, any S3 (`TICKLAKE_STORE_…`)."""

    model_config = settings_config("TICKLAKE_STORE_")

    endpoint: Address | None = None
    """`http(s)://host:port`; unset means Amazon S3."""
    region: str = "us-east-1"
    bucket: str = keys.BUCKET
    access_key: SecretStr | None = None
    """Unset means the environment's own credentials (instance role, web identity, …)."""
    secret_key: SecretStr | None = None
    ca_file: Path | None = None
    timeout_seconds: float = Field(default=20, gt=0)
    """Per attempt; failed attempts are repeated up to five times with back-off."""


class WarehouseSettings(BaseSettings):
    """How to reach Snowflake, or a server that speaks its protocol (`TICKLAKE_WAREHOUSE_…`)."""

    model_config = settings_config("TICKLAKE_WAREHOUSE_")

    account: str = "ticklake"
    user: str = "ticklake"
    password: SecretStr | None = None
    private_key_file: Path | None = None
    """PEM (PKCS #8) for key-pair sign-in; takes precedence over the password."""
    private_key_passphrase: SecretStr | None = None
    host: str | None = None
    """Unset means the account's own address."""
    port: int = Field(default=443, ge=1, le=65535)
    protocol: Literal["http", "https"] = "https"
    role: str | None = None
    warehouse: str | None = None
    database: str = Field(default="STOCK_MARKET", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    timeout_seconds: int = Field(default=60, gt=0)


class CatalogSettings(BaseSettings):
    """How to reach the catalog of the Iceberg tables (`TICKLAKE_CATALOG_…`)."""

    model_config = settings_config("TICKLAKE_CATALOG_")

    uri: Address = Field(pattern=r"^(sqlite:///|postgresql://|https?://).+$")
    """`sqlite:///FILE`, `postgresql://HOST:PORT/DATABASE`, or the address of an Iceberg REST catalog."""
    user: str | None = None
    """Of PostgreSQL."""
    password: SecretStr | None = None
    credential: SecretStr | None = None
    """OAuth2 client of a REST catalog: `ID:SECRET`."""
    token: SecretStr | None = None
    """Bearer token of a REST catalog; takes precedence over `credential`."""
    warehouse: str | None = None
    """Name of the warehouse that a REST catalog is asked for."""
    location: str = "tables"
    """Prefix in the bucket below which new tables are created."""

    def rest_properties(self) -> dict[str, str]:
        """Of a client of a REST catalog, Python's as well as Java's."""
        given = {
            "credential": self.credential and self.credential.get_secret_value(),
            "token": self.token and self.token.get_secret_value(),
            "warehouse": self.warehouse,
        }
        return {"type": "rest", "uri": self.uri, **{name: value for name, value in given.items() if value}}

    def database(self) -> str:
        """`HOST:PORT/DATABASE?OPTIONS` of PostgreSQL."""
        return self.uri.removeprefix("postgresql://")


class StageSettings(BaseSettings):
    """What every stage has (`TICKLAKE_…`); stages add their own fields below this."""

    model_config = settings_config("TICKLAKE_")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: readable on a terminal, JSON elsewhere."""
    code_version: str = "unknown"
    """Version or commit of the running code, for lineage."""
    xcom_file: Path = Path("/airflow/xcom/return.json")
    """Where Airflow picks up a result; written when its folder exists."""
    start_wait_seconds: float = Field(default=0, ge=0)
    """How long store, Kafka and warehouse may be out of reach when a program starts; then it starts all the same."""
    calendar: str = "XNYS"
    """Exchange calendar (ISO 10383 code) that says which sessions exist."""


_FUTURE_TOLERANCE_SECONDS = 60.0


class LiveSettings(BaseSettings):
    """Which live flow a stage works for (`TICKLAKE_LIVE_…`)."""

    model_config = settings_config("TICKLAKE_LIVE_")

    namespace: str = Field(default="", max_length=60)
    """Empty for the real flow; a flow whose event time runs faster than the clock needs one."""
    future_tolerance_seconds: float | None = Field(default=None, ge=0)
    """How far a tick's event time may lie after its append time; unset is 60 in the real flow, no limit elsewhere."""

    @property
    def future_tolerance(self) -> float | None:
        """How far a tick's event time may lie after its append time, in seconds; None is any distance."""
        chosen = self.future_tolerance_seconds
        return _FUTURE_TOLERANCE_SECONDS if chosen is None and not self.namespace else chosen

    @property
    def names(self) -> topics.LiveNames:
        """Topics, prefixes and groups of this flow."""
        return topics.live_names(self.namespace)


class ServiceSettings(StageSettings):
    """What every long-running stage has besides."""

    metrics_port: int = Field(default=9100, ge=0, le=65535)
    """Port of /metrics, /livez and /readyz; 0 picks a free one."""
    credentials_wait_seconds: float = Field(default=120, ge=0)
    """How long credentials that were never accepted may be rejected: a new installation makes users after the pods."""
    credentials_rejected_seconds: float = Field(default=30, ge=0)
    """How long those that were accepted before may be: a rotation changes server and Secret one after the other."""


def load(settings_type: type[S], **values: Any) -> S:
    """Settings from the environment.

    Raises:
        ConfigurationError: a variable is wrong; the message names each one and what is wrong with it.
    """
    try:
        return settings_type(**values)
    except ValidationError as error:
        raise ConfigurationError("; ".join(_explain(error, settings_type))) from error


def _explain(error: ValidationError, settings_type: type[BaseSettings]) -> list[str]:
    # The failing class can be a nested group; pydantic names it in the title.
    known: dict[str, type[BaseSettings]] = {}
    pending: list[type[BaseSettings]] = [BaseSettings]
    while pending:
        current = pending.pop()
        known[current.__name__] = current
        pending.extend(current.__subclasses__())
    prefix = known.get(error.title, settings_type).model_config.get("env_prefix", "")
    return [
        f"{prefix}{'_'.join(str(part) for part in item['loc'][:1]).upper()}: {item['msg']}"
        # The value of a wrong secret must not reach a log: pydantic's message alone does not carry it.
        for item in error.errors(include_input=False, include_url=False)
    ]
