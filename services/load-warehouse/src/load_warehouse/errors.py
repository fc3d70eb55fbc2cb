"""The warehouse's errors as one line each: what is wrong, what to do, and whether a retry can help."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ticklake.errors import ConfigurationError, StageError
from ticklake.settings import WarehouseSettings

# Error numbers: docs.snowflake.com, "Python connector API", and the messages of the service.
_NO_RIGHTS = 3001
_ABSENT = frozenset({2003, 2043})
_NO_ACTIVE_WAREHOUSE = 606
_LOCK_TIMEOUT = 625
_SIGN_IN = range(390000, 391000)
_TRY_AGAIN = frozenset({390112, 390114, 390195})
_BAD_PASSWORD = frozenset({390100, 390101})
_BAD_KEY = frozenset({390144, 394300})
_BAD_ROLE = frozenset({390189})
_BAD_WAREHOUSE = frozenset({390201})


class AbsentError(ConfigurationError):
    """A database, schema, table or stage that a statement names is not there, or not for this role."""


@contextmanager
def explain_sign_in(settings: WarehouseSettings, error_type: type[Exception]) -> Iterator[None]:
    """Translate what goes wrong while signing in."""
    try:
        yield
    except error_type as error:
        raise _sign_in_error(settings, error) from error


@contextmanager
def explain(settings: WarehouseSettings, error_type: type[Exception]) -> Iterator[None]:
    """Translate what goes wrong in a statement."""
    try:
        yield
    except error_type as error:
        raise _statement_error(settings, error) from error


def _where(settings: WarehouseSettings) -> str:
    if settings.host:
        return f"the warehouse at {settings.protocol}://{settings.host}:{settings.port}"
    return f"Snowflake account {settings.account}"


def _sign_in_error(settings: WarehouseSettings, error: Any) -> StageError:
    where, number = _where(settings), int(error.errno or 0)
    if number in _BAD_PASSWORD and settings.private_key_file is None:
        return ConfigurationError(
            f"{where} rejects the sign-in of user {settings.user}: check TICKLAKE_WAREHOUSE_USER and "
            f"TICKLAKE_WAREHOUSE_PASSWORD ({number})"
        )
    if number in _BAD_KEY or number in _BAD_PASSWORD:
        return ConfigurationError(
            f"{where} rejects the key of user {settings.user}: is the public half of "
            f"{settings.private_key_file} the user's RSA_PUBLIC_KEY? ({number})"
        )
    if number in _BAD_ROLE:
        return ConfigurationError(
            f"{where}: role {settings.role} does not exist or is not granted to {settings.user}: "
            f"check TICKLAKE_WAREHOUSE_ROLE ({number})"
        )
    if number in _BAD_WAREHOUSE:
        return ConfigurationError(
            f"{where}: {_message(error)}: check TICKLAKE_WAREHOUSE_WAREHOUSE and TICKLAKE_WAREHOUSE_ROLE ({number})"
        )
    if number in _SIGN_IN and number not in _TRY_AGAIN:
        return ConfigurationError(f"{where} rejects the sign-in of user {settings.user}: {_message(error)} ({number})")
    if type(error).__name__ == "ForbiddenError":
        return ConfigurationError(
            f"{where} forbids the sign-in (HTTP 403): check TICKLAKE_WAREHOUSE_ACCOUNT and the account's network rules"
        )
    return StageError(
        f"{where} does not answer within {settings.timeout_seconds} s: is it up, and are TICKLAKE_WAREHOUSE_ACCOUNT "
        f"or TICKLAKE_WAREHOUSE_HOST and _PORT right? ({_message(error)})"
    )


def _statement_error(settings: WarehouseSettings, error: Any) -> StageError:
    where, number = _where(settings), int(error.errno or 0)
    if number in _ABSENT:
        return AbsentError(
            f"{where}: {_message(error)} ({number}): is it there, and may role {settings.role or '(default)'} use it?"
        )
    if number == _NO_RIGHTS:
        return ConfigurationError(
            f"{where}: role {settings.role or '(default)'} lacks a right, grant it: {_message(error)} ({number})"
        )
    if number == _NO_ACTIVE_WAREHOUSE:
        return ConfigurationError(
            f"{where}: no warehouse to run statements on: set TICKLAKE_WAREHOUSE_WAREHOUSE to one that "
            f"role {settings.role or '(default)'} may use"
        )
    if number == _LOCK_TIMEOUT:
        return StageError(f"{where}: another load holds the table's lock: {_message(error)}")
    return StageError(f"{where} failed a statement: {_message(error)} ({number})")


def _message(error: Any) -> str:
    text = " ".join(str(getattr(error, "raw_msg", None) or error.msg or error).split())
    return text if len(text) <= 400 else f"{text[:400]}…"
