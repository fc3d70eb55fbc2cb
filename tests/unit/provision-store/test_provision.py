"""How MinIO's failures are told apart."""

import pytest
from minio.error import MinioAdminException
from pydantic import SecretStr

from provision_store.provision import _explained
from provision_store.store_plan import User
from ticklake.errors import ExitCode

USER = User("load-warehouse", "key", SecretStr("secret"), {})
NUMBER = '{"Code":"XMinioServerNotInitialized","RequestID":"18A4030F403D403A"}'


@pytest.mark.parametrize(
    ("status", "body", "code", "line"),
    [
        ("503", NUMBER, ExitCode.FAILED, "the store failed to make user load-warehouse"),
        ("403", "", ExitCode.UNUSABLE, "the store lets these keys make no users"),
        ("400", '{"Code":"AccessDenied"}', ExitCode.UNUSABLE, "the store lets these keys make no users"),
        ("400", '{"Code":"XMinioMalformedIAMPolicy"}', ExitCode.UNUSABLE, "the store rejects the policy of user"),
    ],
)
def test_a_failure_is_a_denial_only_where_the_store_says_so(status: str, body: str, code: ExitCode, line: str) -> None:
    found = _explained(USER, MinioAdminException(status, body))
    assert found.exit_code == code
    assert str(found).startswith(line)
