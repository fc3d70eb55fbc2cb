"""A session with Snowflake, or with a server that speaks its protocol: sign-in, statements, one transaction, errors."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from load_warehouse.errors import explain, explain_sign_in
from load_warehouse.private_key import private_key
from ticklake.errors import ConfigurationError
from ticklake.settings import WarehouseSettings

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

LOCK_WAIT_SECONDS = 600
"""How long a statement waits for a lock that another session holds; Snowflake's own default is twelve hours."""

_SNOWFLAKE_HOSTS = (".snowflakecomputing.com", ".snowflakecomputing.cn")


class Session:
    """An open session. Every method raises `ConfigurationError` or `StageError` with one clear line."""

    def __init__(self, settings: WarehouseSettings, tag: str) -> None:
        """Sign in.

        Args:
            tag: recorded with every statement in the warehouse's query history.
        """
        connector = _connector()
        self.settings = settings
        self.where = settings.host or f"account {settings.account}"
        with explain_sign_in(settings, connector.errors.Error):
            self._connection: SnowflakeConnection = connector.connect(**connection_arguments(settings, tag))
        self._errors = connector.errors.Error

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_snowflake(self) -> bool:
        """Whether the server is Snowflake itself."""
        return is_snowflake(self._connection.host)

    @property
    def database(self) -> str:
        """Name of the database, in upper case as the warehouse keeps it."""
        return self.settings.database.upper()

    def run(self, sql: str, parameters: Sequence[Any] | None = None, *, body: IO[bytes] | None = None) -> "Answer":
        """Run one statement; `%s` in it are replaced by `parameters`, `body` is what a PUT uploads."""
        with explain(self.settings, self._errors):
            cursor = self._connection.cursor()
            # A percent sign is the connector's own only where there are parameters.
            cursor.execute(sql, parameters, file_stream=body)
            return Answer([column.name.lower() for column in cursor.description or ()], cursor.fetchall())

    def rows(self, sql: str, parameters: Sequence[Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one, held in memory no more than a chunk of the answer at a time."""
        with explain(self.settings, self._errors):
            cursor = self._connection.cursor()
            cursor.execute(sql, parameters)
            yield from cursor

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What runs in the block takes effect together at its end, or not at all."""
        # The transaction begins with its first change. (BEGIN would do on Snowflake; the local server makes a MERGE's
        # helper tables in between, which it can only outside an explicit transaction.)
        with explain(self.settings, self._errors):
            self._connection.autocommit(False)
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with suppress(Exception):
                self.run("ROLLBACK")
            raise
        finally:
            with suppress(Exception):
                self._connection.autocommit(True)

    def close(self) -> None:
        """Sign out."""
        with suppress(Exception):
            self._connection.close()


def is_snowflake(host: str) -> bool:
    """Whether a server is Snowflake itself, by its address: others answer CURRENT_VERSION as if they were."""
    return host.lower().endswith(_SNOWFLAKE_HOSTS)


class Answer:
    """A statement's whole answer: column names in lower case, and rows."""

    def __init__(self, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
        self.columns = columns
        self.rows = rows

    def column(self, name: str) -> list[Any]:
        """The values of one column; empty where the answer has no such column."""
        if name not in self.columns:
            return []
        position = self.columns.index(name)
        return [row[position] for row in self.rows]

    def number(self, name: str) -> int:
        """The sum of a column of counts."""
        return sum(int(value) for value in self.column(name))


def _connector() -> Any:
    """snowflake.connector, without what only its data-frame functions need."""
    # The connector loads pandas wherever it is installed, a third of its time to start. Nothing here uses it.
    hidden = "pandas" not in sys.modules and "snowflake.connector" not in sys.modules
    if hidden:
        sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        import snowflake.connector
        import snowflake.connector.errors
    finally:
        if hidden:
            del sys.modules["pandas"]
    # What it logs of a failure comes back as an exception, which says it better.
    logging.getLogger("snowflake").setLevel(logging.CRITICAL)
    return snowflake.connector


def connection_arguments(settings: WarehouseSettings, tag: str) -> dict[str, Any]:
    """What `snowflake.connector.connect` takes to sign in by `settings`.

    Raises:
        ConfigurationError: there is neither key nor password, or the key cannot be read.
    """
    # At sign-in the connector would ask the metadata addresses of three clouds where it runs, and wait for them.
    os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
    arguments: dict[str, Any] = {
        "account": settings.account,
        "user": settings.user,
        "role": settings.role,
        "warehouse": settings.warehouse,
        "protocol": settings.protocol,
        "port": settings.port,
        "application": "ticklake",
        "login_timeout": settings.timeout_seconds,
        "network_timeout": settings.timeout_seconds,
        "validate_default_parameters": True,
        "log_imported_packages_in_telemetry": False,
        # Certificates cannot be revoked where there are none.
        "disable_ocsp_checks": settings.protocol == "http",
        "session_parameters": {
            "CLIENT_TELEMETRY_ENABLED": False,
            "LOCK_TIMEOUT": LOCK_WAIT_SECONDS,
            "QUERY_TAG": tag,
            "TIMEZONE": "UTC",
        },
    }
    if settings.host:
        arguments["host"] = settings.host
    if settings.private_key_file is not None:
        key = private_key(settings.private_key_file, settings.private_key_passphrase)
        return arguments | {"authenticator": "SNOWFLAKE_JWT", "private_key": key}
    if settings.password is None:
        raise ConfigurationError(
            "no way to sign in to the warehouse: set TICKLAKE_WAREHOUSE_PRIVATE_KEY_FILE or TICKLAKE_WAREHOUSE_PASSWORD"
        )
    return arguments | {"password": settings.password.get_secret_value()}
